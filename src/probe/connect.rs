//! From a target to a TCP connection: names resolved, every address tried.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, Shared},
    stream::FuturesUnordered,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

use super::check::{Failure, Progress, Stage};
use crate::{
    core::service::Target,
    surroundings::{self, Connection},
};

/// How long an attempt has before the next address is tried beside it (RFC 8305 §5, "Connection Attempt Delay").
const HEAD_START: Duration = Duration::from_millis(250);
/// How long a name's addresses are used before the system is asked again. Short: what is probed is what users reach now.
const KEPT: Duration = Duration::from_secs(5);
/// How many names are resolved at once. The system's resolver blocks a thread for as long as it pleases.
const LOOKUPS: usize = 32;
/// How many names are remembered.
const NAMES: usize = 4096;
/// How many addresses of one name are tried.
const ADDRESSES: usize = 16;

/// The system's resolver with a short memory, so that many endpoints under one name cost one look-up, and one name that
/// hangs costs one thread.
#[derive(Debug)]
pub struct Resolver {
    names: Mutex<HashMap<String, Lookup>>,
    threads: Arc<Semaphore>,
}

#[derive(Debug, Clone)]
struct Lookup {
    since: Instant,
    result: Shared<BoxFuture<'static, Result<Vec<IpAddr>, String>>>,
}

impl Lookup {
    /// Whether its result, or that of a look-up still under way, may be used. A failure is never used again: one bad
    /// moment of the resolver must not count as several observations.
    fn is_fresh(&self, now: Instant) -> bool {
        match self.result.peek() {
            None => true,
            Some(Ok(_)) => now.duration_since(self.since) < KEPT,
            Some(Err(_)) => false,
        }
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self { names: Mutex::default(), threads: Arc::new(Semaphore::new(LOOKUPS)) }
    }
}

impl Resolver {
    /// The addresses of a target, in the system's order of preference; at least one.
    pub(super) async fn resolve(&self, target: &Target) -> Result<Vec<SocketAddr>, Failure> {
        let addresses = match target.host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => self.look_up(&target.host).result.await.map_err(Failure::Resolve)?,
        };
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, target.port)).collect())
    }

    /// The look-up of that name that is under way or fresh, else a new one.
    fn look_up(&self, host: &str) -> Lookup {
        let now = Instant::now();
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= NAMES {
            names.retain(|_, lookup| lookup.is_fresh(now));
        }
        if let Some(lookup) = names.get(host).filter(|lookup| lookup.is_fresh(now)) {
            return lookup.clone();
        }
        // A task of its own: a probe that gives up must not lose what the next one can use.
        let task = tokio::spawn(ask_system(Arc::clone(&self.threads), host.to_owned()));
        let result = task.map(|done| done.unwrap_or_else(|_| Err("the resolver failed".to_owned())));
        let lookup = Lookup { since: now, result: result.boxed().shared() };
        names.insert(host.to_owned(), lookup.clone());
        lookup
    }
}

async fn ask_system(threads: Arc<Semaphore>, host: String) -> Result<Vec<IpAddr>, String> {
    let permit = threads.acquire_owned().await.map_err(|error| error.to_string())?;
    let asked = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let found = (host.as_str(), 0).to_socket_addrs().map_err(|_| "not found".to_owned())?;
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in found.map(|found| found.ip()).take(ADDRESSES) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() { Err("it has no address".to_owned()) } else { Ok(addresses) }
    });
    asked.await.unwrap_or_else(|_| Err("the resolver failed".to_owned()))
}

/// Connects to the first address that takes the connection: each has a head start on the next, and a refusal starts the
/// next at once (RFC 8305, simplified).
pub(super) async fn connect(resolver: &Resolver, target: &Target, progress: &Progress) -> Result<Connection, Failure> {
    progress.enter(Stage::Resolving);
    let addresses = resolver.resolve(target).await?;
    progress.enter(Stage::Connecting);
    connect_first(addresses).await.map_err(Failure::Connect)
}

async fn connect_first(addresses: Vec<SocketAddr>) -> io::Result<Connection> {
    let mut addresses = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut refusal = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        let next = addresses.next();
        let more = next.is_some();
        attempts.extend(next.map(surroundings::connect));
        tokio::select! {
            Some(attempt) = attempts.next() => match attempt {
                Ok(stream) => return Ok(stream),
                Err(error) => refusal = error,
            },
            () = sleep(HEAD_START), if more => {}
            else => return Err(refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::AsyncWriteExt,
        net::{TcpListener, TcpSocket, TcpStream},
        time::timeout,
    };

    /// A listener whose queue is full, so that the next connection is never made, and what fills it.
    async fn silent() -> (TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(stream) = timeout(HEAD_START, TcpStream::connect(address)).await {
            queue.push(stream.unwrap());
        }
        (listener, queue)
    }

    #[tokio::test]
    async fn every_address_is_tried() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let well = listener.local_addr().unwrap();
        let vacant = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let (silent, _queue) = silent().await;
        let silent = silent.local_addr().unwrap();
        for addresses in [vec![well], vec![vacant, well], vec![silent, well], vec![silent, vacant, silent, well]] {
            let connected = timeout(Duration::from_secs(10), connect_first(addresses.clone())).await;
            let mut stream = connected.unwrap_or_else(|_| panic!("no connection: {addresses:?}")).unwrap();
            // Only what listens takes it.
            let (taken, _) = timeout(Duration::from_secs(10), listener.accept()).await.unwrap().unwrap();
            stream.shutdown().await.unwrap();
            drop(taken);
        }
        let refused = connect_first(vec![vacant, vacant]).await.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert!(connect_first(vec![]).await.is_err());
    }
}
