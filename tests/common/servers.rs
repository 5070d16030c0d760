//! Local servers that answer well or badly.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A server on loopback that lives as long as this value.
pub struct Server {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves each connection with `handle`.
pub async fn serve<F, Fut>(handle: F) -> Server
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(stream));
        }
    });
    Server { address, task }
}

/// An address where nothing listens.
pub fn vacant() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A response to a request's head.
pub type Responder = Arc<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

/// What a server does once it has read a request's head.
#[derive(Clone)]
pub enum Behaviour {
    /// Writes these bytes and closes.
    Reply(Vec<u8>),
    /// Writes what this says of the request's head, and closes.
    ByPath(Responder),
    /// Says nothing and keeps the connection.
    Hang,
    /// Writes these bytes, then one byte each 20 ms for ever.
    Trickle(Vec<u8>),
    /// Writes these bytes, then more as fast as it can for ever.
    Flood(Vec<u8>),
    /// Closes without a word.
    Close,
}

/// An HTTP server of that behaviour.
pub async fn http(behaviour: Behaviour) -> Server {
    serve(move |stream| answer(stream, behaviour.clone())).await
}

/// Reads a head and behaves.
pub async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, behaviour: Behaviour) {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            Ok(read) if read > 0 => head.extend_from_slice(&chunk[..read]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    // What follows may fail: a prober that has seen enough closes.
    let _ = match behaviour {
        Behaviour::Reply(bytes) => end(&mut stream, &bytes).await,
        Behaviour::ByPath(reply) => end(&mut stream, &reply(&head)).await,
        Behaviour::Hang => {
            while stream.read(&mut chunk).await.is_ok_and(|read| read > 0) {}
            Ok(())
        }
        Behaviour::Trickle(bytes) => {
            let mut written = stream.write_all(&bytes).await;
            while written.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                written = stream.write_all(b"x").await;
            }
            written
        }
        Behaviour::Flood(bytes) => {
            let mut written = stream.write_all(&bytes).await;
            while written.is_ok() {
                written = stream.write_all(&[b'x'; 8192]).await;
            }
            written
        }
        Behaviour::Close => Ok(()),
    };
}

async fn end(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.shutdown().await
}

/// A whole response with a body of that type.
pub fn response(status: &str, content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}
