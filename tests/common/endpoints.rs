//! Many HTTP endpoints in a process of their own, cheap enough that they do not disturb a measurement.
//!
//! One port serves them all: `/<region>/health` answers 200 with `{"status":"UP","region":"<region>"}` until a `POST
//! /<region>/down`, then 503 until a `POST /<region>/up`.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// The server's process; killed when dropped.
pub struct Endpoints {
    pub address: SocketAddr,
    child: Child,
}

impl Endpoints {
    /// Starts this very program again with the argument `endpoints`, which must make it call [`serve`].
    pub fn spawn() -> std::io::Result<Self> {
        let program = std::env::current_exe()?;
        let mut child = Command::new(program).arg("endpoints").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let read = child.stdout.take().map(BufReader::new).map(|mut out| out.read_line(&mut line));
        let address = line.trim().parse().ok().filter(|_| matches!(read, Some(Ok(_))));
        let Some(address) = address else {
            child.kill()?;
            child.wait()?;
            return Err(std::io::Error::other("the endpoints' process printed no address"));
        };
        Ok(Self { address, child })
    }
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Prints the address on the first line of stdout and serves until stdin closes, so that it never outlives its parent.
pub fn serve() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let down = Arc::new(Mutex::new(BTreeSet::new()));
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(answer(stream, Arc::clone(&down)));
        }
    })
}

async fn answer(mut stream: TcpStream, down: Arc<Mutex<BTreeSet<String>>>) -> std::io::Result<()> {
    let mut buffer = [0; 2048];
    let mut length = 0;
    // A request fits one buffer; what does not is cut off.
    while !buffer[..length].windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut buffer[length..]).await?;
        if read == 0 {
            return Ok(());
        }
        length += read;
    }
    let response = respond(&String::from_utf8_lossy(&buffer[..length]), &down);
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

fn respond(request: &str, down: &Mutex<BTreeSet<String>>) -> String {
    let path = request.split(' ').nth(1).unwrap_or_default();
    let mut parts = path.trim_matches('/').split('/');
    let (region, action) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let mut down = down.lock().unwrap();
    match action {
        "down" => drop(down.insert(region.to_owned())),
        "up" => drop(down.remove(region)),
        _ => {}
    }
    let (status, word) = if down.contains(region) { ("503 Service Unavailable", "DOWN") } else { ("200 OK", "UP") };
    let body = format!(r#"{{"status":"{word}","region":"{region}"}}"#);
    let head = "content-type: application/json\r\nconnection: close";
    format!("HTTP/1.1 {status}\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}
