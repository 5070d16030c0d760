//! A TCP proxy in front of a DNS server that holds one UPDATE back until it is told to let go.
//!
//! It is the delayed writer of the outage that Quorate exists for: the message was signed, sent and lost sight of, and it
//! arrives after newer ones. The client's death changes nothing: the held message is delivered all the same.
#![allow(dead_code)]

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Mutex, Notify, oneshot},
};

use crate::dns_frame;

/// A message on its way.
struct Held {
    message: Vec<u8>,
    answered: oneshot::Sender<Vec<u8>>,
}

#[derive(Default)]
struct Shared {
    armed: Mutex<bool>,
    held: Mutex<Option<Held>>,
    caught: Notify,
}

/// The proxy; its task ends with the runtime.
pub struct HoldProxy {
    /// Where clients connect.
    pub address: SocketAddr,
    upstream: SocketAddr,
    shared: Arc<Shared>,
}

impl HoldProxy {
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, upstream, Arc::clone(&accepting)));
            }
        });
        Self { address, upstream, shared }
    }

    /// The next UPDATE will be held.
    pub async fn hold_next_update(&self) {
        *self.shared.armed.lock().await = true;
    }

    /// Waits until an UPDATE is held.
    pub async fn caught(&self) {
        while self.shared.held.lock().await.is_none() {
            self.shared.caught.notified().await;
        }
    }

    /// Delivers the held UPDATE now and returns the server's rcode (RFC 2136 §2.2).
    pub async fn release(&self) -> u8 {
        let held = self.shared.held.lock().await.take().expect("a held update");
        let answer = dns_frame::deliver(self.upstream, &held.message).await.expect("an answer");
        let rcode = answer[3] & 0x0f;
        // The client may be gone; that is the point.
        let _ = held.answered.send(answer);
        rcode
    }
}

async fn serve(mut client: TcpStream, upstream: SocketAddr, shared: Arc<Shared>) {
    while let Some(message) = dns_frame::read(&mut client).await {
        let hold = dns_frame::is_update(&message) && std::mem::take(&mut *shared.armed.lock().await);
        let answer = if hold {
            let (answered, wait) = oneshot::channel();
            *shared.held.lock().await = Some(Held { message, answered });
            shared.caught.notify_waiters();
            shared.caught.notify_one();
            match wait.await {
                Ok(answer) => answer,
                Err(_) => return,
            }
        } else {
            dns_frame::deliver(upstream, &message).await.expect("an answer")
        };
        if dns_frame::write(&mut client, &answer).await.is_err() {
            return;
        }
    }
}
