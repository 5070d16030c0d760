//! A TCP proxy in front of a DNS server that holds one UPDATE back until it is told to let go.
//!
//! It is the delayed writer of the outage that Quorate exists for: the message was signed, sent and lost sight of, and it
//! arrives after newer ones. The client's death changes nothing: the held message is delivered all the same.
#![allow(dead_code)]

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Mutex, Notify, oneshot},
};

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
        let answer = deliver(self.upstream, &held.message).await;
        let rcode = answer[3] & 0x0f;
        // The client may be gone; that is the point.
        let _ = held.answered.send(answer);
        rcode
    }
}

async fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let length = stream.read_u16().await.ok()?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await.ok()?;
    Some(message)
}

async fn write_frame(stream: &mut TcpStream, message: &[u8]) -> std::io::Result<()> {
    let mut frame = u16::try_from(message.len()).expect("a DNS message").to_be_bytes().to_vec();
    frame.extend_from_slice(message);
    stream.write_all(&frame).await
}

async fn deliver(upstream: SocketAddr, message: &[u8]) -> Vec<u8> {
    let mut server = TcpStream::connect(upstream).await.expect("the server");
    write_frame(&mut server, message).await.expect("to send");
    read_frame(&mut server).await.expect("an answer")
}

async fn serve(mut client: TcpStream, upstream: SocketAddr, shared: Arc<Shared>) {
    while let Some(message) = read_frame(&mut client).await {
        let update = message.get(2).is_some_and(|flags| (flags >> 3) & 0x0f == 5);
        let hold = update && std::mem::take(&mut *shared.armed.lock().await);
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
            deliver(upstream, &message).await
        };
        if write_frame(&mut client, &answer).await.is_err() {
            return;
        }
    }
}
