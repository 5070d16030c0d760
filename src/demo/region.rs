//! A region of the demo: an HTTP server on loopback that answers `/health`, and that can be killed and revived.
//!
//! It notes when the first probe after its death arrived, so that the demo can measure what no failover can beat.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// Connections beyond this many are closed at once.
const CONNECTIONS_LIMIT: usize = 256;
/// A client that does not send its request within this is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// How a region is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Up,
    /// It takes connections and requests and never answers, on connections old and new.
    BlackHole,
    /// It cuts its connections and resets new ones.
    Closed,
}

#[derive(Debug, Clone, Copy)]
struct Condition {
    health: Health,
    /// When the first probe met the region in this condition.
    first_probe: Option<Instant>,
}

/// The server. It stops when it is dropped.
#[derive(Debug)]
pub struct Region {
    name: String,
    address: SocketAddr,
    condition: Arc<watch::Sender<Condition>>,
    server: JoinHandle<()>,
}

impl Region {
    /// Serves on a free port of `ip`, a loopback address.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(name: &str, ip: Ipv4Addr) -> io::Result<Self> {
        let listener = TcpListener::bind((ip, 0)).await?;
        let address = listener.local_addr()?;
        let condition = Arc::new(watch::Sender::new(Condition { health: Health::Up, first_probe: None }));
        let server = tokio::spawn(serve(listener, name.to_owned(), condition.clone()));
        Ok(Self { name: name.to_owned(), address, condition, server })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills or revives it; returns the instant just before.
    pub fn set(&self, health: Health) -> Instant {
        let now = Instant::now();
        self.condition.send_replace(Condition { health, first_probe: None });
        now
    }

    /// When the first probe since the last [`Region::set`] arrived, if one did.
    pub fn first_probe(&self) -> Option<Instant> {
        self.condition.borrow().first_probe
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, name: String, condition: Arc<watch::Sender<Condition>>) {
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
        };
        if condition.borrow().health == Health::Closed {
            note_probe(&condition);
            reset(&stream);
        } else if connections.len() < CONNECTIONS_LIMIT {
            connections.spawn(connection(stream, name.clone(), condition.clone()));
        }
    }
}

/// Has the kernel send RST instead of FIN when the stream is dropped.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

fn note_probe(condition: &watch::Sender<Condition>) {
    condition.send_if_modified(|condition| {
        let first = condition.first_probe.is_none();
        condition.first_probe.get_or_insert_with(Instant::now);
        first
    });
}

async fn connection(stream: TcpStream, name: String, condition: Arc<watch::Sender<Condition>>) {
    let mut closed = condition.subscribe();
    let answer = service_fn(|request| answer(request, &name, &condition));
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), answer);
    tokio::select! {
        // A client that hangs up is no news.
        _ = http => {}
        _ = closed.wait_for(|condition| condition.health == Health::Closed) => {}
    }
}

/// A request that comes while the region is a black hole stays without an answer, even when the region comes back.
async fn answer(
    request: Request<Incoming>,
    name: &str,
    condition: &watch::Sender<Condition>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    note_probe(condition);
    if condition.borrow().health != Health::Up {
        std::future::pending::<()>().await;
    }
    let mut response = if request.uri().path() == "/health" {
        let body = serde_json::json!({ "status": "UP", "dependencies": { "dynamodb": "UP" }, "region": name });
        Response::new(Full::from(body.to_string()))
    } else {
        let mut response = Response::new(Full::from("{\"message\":\"no such path\"}"));
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    };
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    Ok(response)
}
