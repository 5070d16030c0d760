//! A TCP relay in front of DynamoDB that can fail in the ways that a network does.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};

/// What becomes of a connection made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It gets through.
    Open,
    /// It gets through after a while.
    Slow(Duration),
    /// It is taken, and nothing is ever answered.
    Hung,
    /// It is closed at once.
    Cut,
}

/// The relay; its tasks end with the runtime.
pub struct Relay {
    pub address: SocketAddr,
    way: watch::Sender<Way>,
}

impl Relay {
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (way, now) = watch::channel(Way::Open);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, target, *now.borrow()));
            }
        });
        Self { address, way }
    }

    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn carry(mut client: TcpStream, target: SocketAddr, way: Way) {
    match way {
        Way::Open => {}
        Way::Slow(pause) => sleep(pause).await,
        Way::Hung => std::future::pending().await,
        Way::Cut => return,
    }
    if let Ok(mut server) = TcpStream::connect(target).await {
        // Either side may go away at any time.
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}
