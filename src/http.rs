//! The plain HTTP side: `/metrics`, `/livez`, `/readyz`, `/v1/verdicts`. Reads only, without certificates, so it belongs on
//! loopback or a private network; the configuration puts it on loopback.
//!
//! Everything is bounded: how many connections, how long each lives, how large a request's head is. Bodies are not read.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{Request, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, warn};

/// How many connections are served at once; more wait to be accepted.
const CONNECTIONS: usize = 64;
/// How long a connection lives, whatever it does.
const LIFETIME: Duration = Duration::from_secs(60);
/// How long a request's head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest head, in bytes.
const HEAD_LIMIT: usize = 16 * 1024;
/// How many headers a request may have.
const HEADERS: usize = 64;
/// How long to wait before accepting again when the system has no more sockets.
const BACKOFF: Duration = Duration::from_millis(200);
/// The text format of Prometheus.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is shown.
pub trait Shown: Send + Sync + 'static {
    /// Whether this node can answer for the cluster.
    ///
    /// # Errors
    /// Why not, in words.
    fn ready(&self) -> Result<(), String>;

    /// `/v1/verdicts`.
    fn verdicts(&self) -> serde_json::Value;

    /// `/metrics`, in the text format of Prometheus.
    fn metrics(&self) -> String;
}

/// Serves until `stop`; open connections are dropped then.
///
/// # Errors
/// Never while it can listen: a connection that fails is that connection's matter.
pub async fn serve(listener: TcpListener, shown: Arc<dyn Shown>, stop: CancellationToken) -> io::Result<()> {
    let router = router(shown);
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = free.clone().acquire_owned().await else { return Ok(()) };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return Ok(()),
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let serving = connection(stream, router.clone());
                connections.spawn(async move {
                    let _ = timeout(LIFETIME, serving).await;
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept an HTTP connection");
                sleep(BACKOFF).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router) {
    let service = router.map_request(|request: Request<Incoming>| request.map(Body::new));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_LIMIT)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .await;
    if let Err(error) = served {
        debug!(%error, "HTTP connection");
    }
}

fn router(shown: Arc<dyn Shown>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/v1/verdicts", get(verdicts))
        .with_state(shown)
}

async fn metrics(State(shown): State<Arc<dyn Shown>>) -> Response {
    ([(header::CONTENT_TYPE, PROMETHEUS)], shown.metrics()).into_response()
}

async fn readyz(State(shown): State<Arc<dyn Shown>>) -> Response {
    match shown.ready() {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn verdicts(State(shown): State<Arc<dyn Shown>>) -> Response {
    Json(shown.verdicts()).into_response()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct Fake(Result<(), String>);

    impl Shown for Fake {
        fn ready(&self) -> Result<(), String> {
            self.0.clone()
        }

        fn verdicts(&self) -> serde_json::Value {
            serde_json::json!({ "verdicts": [] })
        }

        fn metrics(&self) -> String {
            "quorate_term 3\n".into()
        }
    }

    async fn started(ready: Result<(), String>) -> (SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        tokio::spawn(serve(listener, Arc::new(Fake(ready)), stop.clone()));
        (address, stop)
    }

    /// Sends raw bytes and reads until the server closes.
    async fn asked(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![];
        // A server that refuses a flood may reset the connection; what came before counts.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    fn get(path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    }

    #[tokio::test]
    async fn shows_what_it_is_given() {
        let (address, stop) = started(Err("no leader".into())).await;
        let of = async |path: &str| asked(address, &get(path)).await;
        assert!(of("/livez").await.starts_with("HTTP/1.1 200"));
        let unready = of("/readyz").await;
        assert!(unready.starts_with("HTTP/1.1 503") && unready.ends_with("no leader\n"), "{unready}");
        let metrics = of("/metrics").await;
        assert!(metrics.contains("version=0.0.4") && metrics.ends_with("quorate_term 3\n"), "{metrics}");
        assert!(of("/v1/verdicts").await.ends_with(r#"{"verdicts":[]}"#));
        assert!(of("/").await.starts_with("HTTP/1.1 404"));
        assert!(asked(address, "POST /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.contains(" 405 "));
        stop.cancel();
    }

    #[tokio::test]
    async fn a_large_head_is_refused() {
        let (address, stop) = started(Ok(())).await;
        let flood = format!("GET /livez HTTP/1.1\r\nHost: x\r\nX-Flood: {}\r\n\r\n", "x".repeat(HEAD_LIMIT));
        let answer = asked(address, &flood).await;
        assert!(!answer.contains(" 200 "), "{answer}");
        assert!(asked(address, &get("/readyz")).await.contains(" 200 "), "and it goes on serving others");
        stop.cancel();
    }
}
