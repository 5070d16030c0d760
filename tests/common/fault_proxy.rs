//! A proxy in front of an HTTP API, real or fake, that makes single calls go wrong: refused, answered with nonsense, applied
//! with the answer lost, never answered, or held back and delivered late.
//!
//! It knows no API. Which call shall go wrong is said by method and a part of the path; what a refusal looks like is the
//! provider's to say ([`Reply`]).
#![allow(dead_code)]

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request, Response, body::Incoming, header, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};

/// An answer that the proxy makes up.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

/// What goes wrong with a call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This is answered; nothing is done.
    Refuse(Reply),
    /// This is answered after the call was carried out or not.
    Answer { reply: Reply, applied: bool },
    /// The connection closes without an answer, after the call was carried out or not.
    Drop { applied: bool },
    /// No answer, ever; the call is carried out or not.
    Hang { applied: bool },
    /// The call waits until [`FaultProxy::release`], then it is carried out and answered.
    Hold,
}

impl Fault {
    /// A gateway's page.
    pub fn html(status: u16, applied: bool) -> Self {
        Self::page(status, "<html><h1>Bad gateway</h1></html>", applied)
    }

    /// 200 and bytes that are neither JSON nor XML, after the call was carried out.
    pub fn garbage() -> Self {
        Self::page(200, "\u{0}neither JSON nor XML", true)
    }

    /// 200 and a megabyte of JSON, after the call was carried out.
    pub fn flood() -> Self {
        Self::page(200, &format!("[{}1]", "1,".repeat(500_000)), true)
    }

    /// 200 without a body.
    pub fn empty(applied: bool) -> Self {
        Self::page(200, "", applied)
    }

    fn page(status: u16, body: &str, applied: bool) -> Self {
        let headers = vec![("content-type", "text/html".to_owned())];
        Self::Answer { reply: Reply { status, headers, body: body.to_owned() }, applied }
    }
}

struct Shared {
    upstream: SocketAddr,
    client: reqwest::Client,
    faults: Mutex<VecDeque<(String, String, Fault)>>,
    log: Mutex<Vec<String>>,
    /// One permit for each call that was caught and is held.
    caught: Semaphore,
    released: Semaphore,
}

/// The running proxy; it stops when dropped.
pub struct FaultProxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FaultProxy {
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        // The providers under test install it, too; whoever comes first is right.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder().no_proxy().retry(reqwest::retry::never());
        let shared = Arc::new(Shared {
            upstream,
            client: client.redirect(reqwest::redirect::Policy::none()).build().expect("a client"),
            faults: Mutex::default(),
            log: Mutex::default(),
            caught: Semaphore::new(0),
            released: Semaphore::new(0),
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { address, shared, task }
    }

    /// Makes the next call whose method and path match (`*`: any method; the path by a part of it) go wrong, once.
    pub fn fail_next(&self, (method, path): (&str, &str), fault: Fault) {
        let mut faults = self.shared.faults.lock().expect("no panic under the lock");
        faults.push_back((method.to_owned(), path.to_owned(), fault));
    }

    /// Forgets the faults that nobody met, and says how many there were.
    pub fn disarm(&self) -> usize {
        self.shared.faults.lock().expect("no panic under the lock").drain(..).count()
    }

    /// Waits until a call is held.
    pub async fn caught(&self) {
        self.shared.caught.acquire().await.expect("it is open").forget();
    }

    /// Lets the held call go on.
    pub fn release(&self) {
        self.shared.released.add_permits(1);
    }

    /// Every call since the last time: `PUT /domain/zone/…`.
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.log.lock().expect("no panic under the lock"))
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request| handle(request, Arc::clone(&shared)));
            // An error here is a connection that a fault closed, or a client that went away.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// A call as it came.
struct Call {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

async fn handle(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Full<Bytes>>, io::Error> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let call = Call { method: parts.method, path, headers: parts.headers, body };
    shared.log.lock().expect("no panic under the lock").push(format!("{} {}", call.method, call.path));
    let fault = {
        let mut faults = shared.faults.lock().expect("no panic under the lock");
        let meant = |(method, part, _): &(String, String, Fault)| {
            (method == "*" || call.method == method.as_str()) && call.path.contains(part.as_str())
        };
        let position = faults.iter().position(meant);
        position.and_then(|position| faults.remove(position)).map(|(_, _, fault)| fault)
    };
    match fault {
        None => forward(&shared, call).await,
        Some(Fault::Refuse(reply)) => Ok(respond(reply)),
        Some(Fault::Answer { reply, applied }) => {
            carry_out(&shared, call, applied).await;
            Ok(respond(reply))
        }
        Some(Fault::Drop { applied }) => {
            carry_out(&shared, call, applied).await;
            Err(io::Error::other("the connection is dropped on purpose"))
        }
        Some(Fault::Hang { applied }) => {
            carry_out(&shared, call, applied).await;
            std::future::pending().await
        }
        // Delivered even when the caller is gone: that is what being late means.
        Some(Fault::Hold) => {
            let late = tokio::spawn(async move {
                shared.caught.add_permits(1);
                shared.released.acquire().await.expect("it is open").forget();
                forward(&shared, call).await
            });
            late.await.map_err(io::Error::other)?
        }
    }
}

async fn carry_out(shared: &Shared, call: Call, applied: bool) {
    if applied {
        drop(forward(shared, call).await);
    }
}

/// Makes the call at the real server and returns its answer as it is.
async fn forward(shared: &Shared, call: Call) -> Result<Response<Full<Bytes>>, io::Error> {
    let url = format!("http://{}{}", shared.upstream, call.path);
    let mut headers = call.headers;
    // The host stays what was signed; what concerns one connection does not go over another.
    for hop in [header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH] {
        headers.remove(hop);
    }
    let request = shared.client.request(call.method, url).headers(headers).body(call.body);
    let answer = request.send().await.map_err(io::Error::other)?;
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if ![header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH].contains(name) {
            response = response.header(name, value);
        }
    }
    let body = answer.bytes().await.map_err(io::Error::other)?;
    response.body(Full::from(body)).map_err(io::Error::other)
}

fn respond(reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Full::from(reply.body)).expect("a response")
}
