//! A small HTTP server in the process of the test: what fakes of APIs are made of, with faults that are injected per call.
#![allow(dead_code)]

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinHandle};

/// What was asked.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Call {
    /// A header's text; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// A value of the query, decoded.
    pub fn query(&self, key: &str) -> Option<String> {
        let url = format!("http://x/?{}", self.query);
        let url: reqwest::Url = url.parse().ok()?;
        url.query_pairs().find(|(name, _)| name == key).map(|(_, value)| value.into_owned())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Reply {
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self { status, headers: vec![("content-type", "application/json".to_owned())], body: body.to_string() }
    }
}

/// What goes wrong with a call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This is answered; nothing is done.
    Refuse(Reply),
    /// A gateway's page with this status, after the call was carried out or not.
    Html { status: u16, applied: bool },
    /// The connection closes without an answer, after the call was carried out or not.
    Drop { applied: bool },
    /// No answer, ever; the call is carried out or not.
    Hang { applied: bool },
    /// 200 and bytes that are no JSON; the call is carried out.
    Garbage,
    /// 200 and a megabyte of JSON; the call is carried out.
    Flood,
}

/// Which calls go wrong, and which were made.
#[derive(Debug, Default)]
struct Book {
    faults: Vec<(String, String, Fault)>,
    log: Vec<String>,
}

type Handler = Arc<dyn Fn(&Call) -> Reply + Send + Sync>;

/// The running server; it stops when dropped.
pub struct FakeHttp {
    pub address: SocketAddr,
    book: Arc<Mutex<Book>>,
    task: JoinHandle<()>,
}

impl Drop for FakeHttp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeHttp {
    pub async fn start(handler: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let book = Arc::new(Mutex::new(Book::default()));
        let task = tokio::spawn(serve(listener, Arc::new(handler), Arc::clone(&book)));
        Self { address, book, task }
    }

    /// Makes the next call whose method and path match (`*`: any method; the path by a part of it) go wrong, once.
    pub fn fail_next(&self, method: &str, path: &str, fault: Fault) {
        self.book.lock().expect("no panic under the lock").faults.push((method.to_owned(), path.to_owned(), fault));
    }

    /// Every call since the last time: `PUT /domain/zone/…`.
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.book.lock().expect("no panic under the lock").log)
    }
}

async fn serve(listener: TcpListener, handler: Handler, book: Arc<Mutex<Book>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (handler, book) = (Arc::clone(&handler), Arc::clone(&book));
        tokio::spawn(async move {
            let service = service_fn(move |request| handle(request, Arc::clone(&handler), Arc::clone(&book)));
            // An error here is a connection that a fault closed, or a client that went away.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn handle(
    request: Request<Incoming>,
    handler: Handler,
    book: Arc<Mutex<Book>>,
) -> Result<Response<Full<Bytes>>, io::Error> {
    let (parts, body) = request.into_parts();
    let call = Call {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: body.collect().await.map_err(io::Error::other)?.to_bytes().to_vec(),
    };
    let fault = {
        let mut book = book.lock().expect("no panic under the lock");
        book.log.push(format!("{} {}", call.method, call.path));
        let matches = |(method, part, _): &(String, String, Fault)| {
            (method == "*" || *method == call.method) && call.path.contains(part.as_str())
        };
        book.faults.iter().position(matches).map(|position| book.faults.remove(position).2)
    };
    let carry_out = |applied: bool| {
        if applied {
            drop(handler(&call));
        }
    };
    let page = |status, body: String| {
        let reply = Reply { status, headers: vec![("content-type", "text/html".to_owned())], body };
        Ok(respond(reply))
    };
    match fault {
        None => Ok(respond(handler(&call))),
        Some(Fault::Refuse(reply)) => Ok(respond(reply)),
        Some(Fault::Html { status, applied }) => {
            carry_out(applied);
            page(status, "<html><h1>Bad gateway</h1></html>".to_owned())
        }
        Some(Fault::Drop { applied }) => {
            carry_out(applied);
            Err(io::Error::other("the connection is dropped on purpose"))
        }
        Some(Fault::Hang { applied }) => {
            carry_out(applied);
            std::future::pending().await
        }
        Some(Fault::Garbage) => {
            carry_out(true);
            page(200, "\u{0}not json".to_owned())
        }
        Some(Fault::Flood) => {
            carry_out(true);
            page(200, format!("[{}1]", "1,".repeat(500_000)))
        }
    }
}

fn respond(reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Full::from(reply.body)).expect("a response")
}

/// Hands a call on to a real server, on a connection of its own that the server is asked to close.
pub fn forward(to: SocketAddr, call: &Call) -> Reply {
    let mut stream = TcpStream::connect(to).expect("the server");
    let query = if call.query.is_empty() { String::new() } else { format!("?{}", call.query) };
    let mut request =
        format!("{} {}{query} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n", call.method, call.path);
    for (name, value) in call.headers.iter().filter(|(name, _)| *name != "host" && *name != "connection") {
        request.extend([name.as_str(), ": ", value.to_str().expect("text"), "\r\n"]);
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).expect("the head");
    stream.write_all(&call.body).expect("the body");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the answer");
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let header = |name: &'static str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| (name, value.to_owned()))
    };
    let headers = ["content-type", "x-pdns-new-serial"].into_iter().filter_map(header).collect();
    Reply { status, headers, body: body.to_owned() }
}
