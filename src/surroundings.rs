//! What a node takes from around it, besides its disk: wall time, connections, a listener.
//!
//! Outside of a simulation that is the system's, and nothing else is compiled into a release. With the feature `testing`, a
//! node that runs inside of turmoil takes turmoil's instead, so that a whole cluster runs in one thread, on a simulated
//! network and clock, and does the same again from the same seed.

use std::{io, net::SocketAddr, pin::Pin, time::Duration};

use futures::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::{Channel, Endpoint, server::TcpIncoming};

/// What both kinds of connection are.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection, wherever it leads.
pub type Connection = Box<dyn Io>;

/// The wall clock: time since 1970. For people and for phases; nothing that the cluster decides rests on it.
#[derive(Debug, Clone, Default)]
pub struct WallClock {
    #[cfg(feature = "testing")]
    simulated: simulated::Shift,
}

impl WallClock {
    /// The time since 1970.
    #[must_use]
    pub fn now(&self) -> Duration {
        #[cfg(feature = "testing")]
        if let Some(now) = self.simulated.now() {
            return now;
        }
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
    }
}

/// Connects to one address.
///
/// # Errors
/// As the system says.
pub async fn connect(address: SocketAddr) -> io::Result<Connection> {
    #[cfg(feature = "testing")]
    if turmoil::in_simulation() {
        return Ok(Box::new(turmoil::net::TcpStream::connect(address).await?));
    }
    let stream = tokio::net::TcpStream::connect(address).await?;
    // What is sent are single small messages: waiting to fill a segment only adds to the time that they take.
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}

/// Connects to `host:port`.
///
/// # Errors
/// As the system says, of the resolver too.
pub async fn connect_to(authority: &str) -> io::Result<Connection> {
    #[cfg(feature = "testing")]
    if turmoil::in_simulation() {
        return Ok(Box::new(turmoil::net::TcpStream::connect(authority).await?));
    }
    Ok(Box::new(tokio::net::TcpStream::connect(authority).await?))
}

/// A channel that connects when it is first used.
#[must_use]
pub fn channel(endpoint: &Endpoint) -> Channel {
    #[cfg(feature = "testing")]
    if turmoil::in_simulation() {
        return endpoint.connect_with_connector_lazy(tower::service_fn(simulated::dial));
    }
    endpoint.connect_lazy()
}

/// A listener.
pub enum Listener {
    /// Of the system.
    System(tokio::net::TcpListener),
    /// Of the simulation.
    #[cfg(feature = "testing")]
    Simulated(turmoil::net::TcpListener),
}

/// What a listener hands out, for tonic.
pub type Incoming = Pin<Box<dyn Stream<Item = io::Result<Accepted>> + Send>>;

impl Listener {
    /// Listens on an address.
    ///
    /// # Errors
    /// As the system says.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        #[cfg(feature = "testing")]
        if turmoil::in_simulation() {
            return Ok(Self::Simulated(turmoil::net::TcpListener::bind(address).await?));
        }
        Ok(Self::System(tokio::net::TcpListener::bind(address).await?))
    }

    /// Every connection that is made.
    #[must_use]
    pub fn incoming(self) -> Incoming {
        match self {
            // With a listener of our own, tonic's builder's `tcp_nodelay` does nothing: without this each answer, and so each
            // commit, would wait some 40 ms for a delayed acknowledgement.
            Self::System(listener) => Box::pin(TcpIncoming::from(listener).with_nodelay(Some(true)).map(|accepted| {
                accepted.map(|stream| Accepted { from: stream.peer_addr().ok(), stream: Box::new(stream) })
            })),
            #[cfg(feature = "testing")]
            Self::Simulated(listener) => Box::pin(futures::stream::unfold(listener, |listener| async {
                let accepted = listener
                    .accept()
                    .await
                    .map(|(stream, from)| Accepted { from: Some(from), stream: Box::new(stream) });
                Some((accepted, listener))
            })),
        }
    }
}

/// A connection that was accepted.
pub struct Accepted {
    from: Option<SocketAddr>,
    stream: Connection,
}

mod accepted {
    use std::{
        io,
        pin::Pin,
        task::{Context, Poll},
    };

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
    use tonic::transport::server::{Connected, TcpConnectInfo};

    use super::Accepted;

    impl Connected for Accepted {
        /// As of a TCP connection: tonic shows the caller's certificate beside this type and no other.
        type ConnectInfo = TcpConnectInfo;
        fn connect_info(&self) -> TcpConnectInfo {
            TcpConnectInfo { local_addr: None, remote_addr: self.from }
        }
    }

    impl AsyncRead for Accepted {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Accepted {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write(cx, buf)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(cx)
        }
    }
}

#[cfg(feature = "testing")]
pub mod simulated {
    //! The simulation's side of it.

    use std::{
        io,
        sync::{
            Arc,
            atomic::{AtomicI64, Ordering},
        },
        time::Duration,
    };

    use hyper_util::rt::TokioIo;
    use tonic::transport::Uri;

    use super::WallClock;

    /// How far a simulated node's wall clock is off, in ms.
    #[derive(Debug, Clone, Default)]
    pub struct Shift(Arc<AtomicI64>);

    impl Shift {
        pub(super) fn now(&self) -> Option<Duration> {
            let ms = i64::try_from(turmoil::since_epoch()?.as_millis()).unwrap_or(i64::MAX);
            let shifted = ms.saturating_add(self.0.load(Ordering::Relaxed));
            Some(Duration::from_millis(u64::try_from(shifted).unwrap_or_default()))
        }

        /// The wall clock is off by this from now on.
        pub fn set(&self, ms: i64) {
            self.0.store(ms, Ordering::Relaxed);
        }
    }

    impl WallClock {
        /// A clock that can be shifted while it runs.
        #[must_use]
        pub fn shifted(by: Shift) -> Self {
            Self { simulated: by }
        }
    }

    /// Connects as tonic asks for it.
    ///
    /// # Errors
    /// As the simulated network says.
    pub async fn dial(uri: Uri) -> io::Result<TokioIo<turmoil::net::TcpStream>> {
        let (host, port) = (uri.host().unwrap_or_default().to_owned(), uri.port_u16().unwrap_or_default());
        Ok(TokioIo::new(turmoil::net::TcpStream::connect((host, port)).await?))
    }
}
