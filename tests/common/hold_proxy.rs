//! A TCP proxy in front of a DNS server that holds UPDATEs back until it is told to let go.
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

/// What is held.
#[derive(Default)]
enum Armed {
    #[default]
    Nothing,
    NextUpdate,
    /// Every UPDATE with this text in it.
    Updates(String),
}

impl Armed {
    fn holds(&mut self, message: &[u8]) -> bool {
        match self {
            Self::Nothing => false,
            Self::NextUpdate => {
                *self = Self::Nothing;
                true
            }
            Self::Updates(text) => message.windows(text.len()).any(|part| part == text.as_bytes()),
        }
    }
}

#[derive(Default)]
struct Shared {
    armed: Mutex<Armed>,
    held: Mutex<Vec<Held>>,
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
        *self.shared.armed.lock().await = Armed::NextUpdate;
    }

    /// Every UPDATE with this text in it will be held: also those of a writer that gives one up and sends the same again.
    pub async fn hold_updates(&self, text: &str) {
        *self.shared.armed.lock().await = Armed::Updates(text.to_owned());
    }

    /// Waits until an UPDATE is held.
    pub async fn caught(&self) {
        while self.shared.held.lock().await.is_empty() {
            self.shared.caught.notified().await;
        }
    }

    /// Delivers what is held now, holds nothing more, and returns the server's last rcode (RFC 2136 §2.2).
    pub async fn release(&self) -> u8 {
        *self.shared.armed.lock().await = Armed::Nothing;
        let mut rcode = None;
        for held in std::mem::take(&mut *self.shared.held.lock().await) {
            let answer = dns_frame::deliver(self.upstream, &held.message).await.expect("an answer");
            rcode = Some(answer[3] & 0x0f);
            // The client may be gone; that is the point.
            let _ = held.answered.send(answer);
        }
        rcode.expect("a held update")
    }
}

async fn serve(mut client: TcpStream, upstream: SocketAddr, shared: Arc<Shared>) {
    while let Some(message) = dns_frame::read(&mut client).await {
        let hold = dns_frame::is_update(&message) && shared.armed.lock().await.holds(&message);
        let answer = if hold {
            let (answered, wait) = oneshot::channel();
            shared.held.lock().await.push(Held { message, answered });
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
