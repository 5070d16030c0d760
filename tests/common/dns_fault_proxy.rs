//! A TCP proxy in front of a DNS server that makes single messages go wrong. Its faults are those of `fault_proxy`, in DNS.
#![allow(dead_code)]

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
};

use crate::dns_frame;

/// What goes wrong with a message.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// This code is answered, unsigned; nothing is done.
    Rcode(u8),
    /// The question comes back as an answer that says NOERROR, unsigned; the message is delivered or not.
    Empty { applied: bool },
    /// Bytes that are no DNS message are answered; the message is delivered.
    Garbage,
    /// The connection closes without an answer; the message is delivered or not.
    Drop { applied: bool },
    /// No answer, ever; the message is delivered or not.
    Hang { applied: bool },
    /// The message waits until it is released.
    Hold,
}

struct Shared {
    upstream: SocketAddr,
    faults: Mutex<VecDeque<(bool, Fault)>>,
    updates: Mutex<usize>,
    caught: Semaphore,
    released: Semaphore,
}

/// The proxy; it stops when dropped.
pub struct DnsFaultProxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for DnsFaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl DnsFaultProxy {
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            upstream,
            faults: Mutex::default(),
            updates: Mutex::default(),
            caught: Semaphore::new(0),
            released: Semaphore::new(0),
        });
        let accepting = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, Arc::clone(&accepting)));
            }
        });
        Self { address, shared, task }
    }

    /// Makes the next query, or the next UPDATE, go wrong.
    pub fn fail_next(&self, update: bool, fault: Fault) {
        self.shared.faults.lock().expect("no panic under the lock").push_back((update, fault));
    }

    /// Forgets the faults that nobody met, and says how many there were.
    pub fn disarm(&self) -> usize {
        self.shared.faults.lock().expect("no panic under the lock").drain(..).count()
    }

    /// How many UPDATEs came since the last time.
    pub fn take_updates(&self) -> usize {
        std::mem::take(&mut self.shared.updates.lock().expect("no panic under the lock"))
    }

    /// Waits until a message is held.
    pub async fn caught(&self) {
        self.shared.caught.acquire().await.expect("it is open").forget();
    }

    /// Lets the held message go on.
    pub fn release(&self) {
        self.shared.released.add_permits(1);
    }
}

/// The header and question of a message as an unsigned answer with this code and nothing else in it (RFC 1035 §4.1.1).
fn bare_answer(message: &[u8], rcode: u8) -> Vec<u8> {
    let mut end = 12;
    while message.get(end).is_some_and(|length| *length != 0) {
        end += usize::from(message[end]) + 1;
    }
    let mut answer = message[..(end + 5).min(message.len())].to_vec();
    answer[2] |= 0x84;
    answer[3] = rcode & 0x0f;
    answer[6..12].fill(0);
    answer
}

async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let mut client = client;
    while let Some(message) = dns_frame::read(&mut client).await {
        let update = dns_frame::is_update(&message);
        if update {
            *shared.updates.lock().expect("no panic under the lock") += 1;
        }
        let fault = {
            let mut faults = shared.faults.lock().expect("no panic under the lock");
            let position = faults.iter().position(|(of_update, _)| *of_update == update);
            position.and_then(|position| faults.remove(position)).map(|(_, fault)| fault)
        };
        let carried_out = match fault {
            None | Some(Fault::Garbage) => true,
            Some(Fault::Empty { applied } | Fault::Drop { applied } | Fault::Hang { applied }) => applied,
            Some(Fault::Rcode(_) | Fault::Hold) => false,
        };
        if matches!(fault, Some(Fault::Hold)) {
            let late = Arc::clone(&shared);
            let held = message.clone();
            // Delivered even when the client is gone: that is what being late means.
            let delivery = tokio::spawn(async move {
                late.caught.add_permits(1);
                late.released.acquire().await.expect("it is open").forget();
                dns_frame::deliver(late.upstream, &held).await
            });
            let Ok(Some(answer)) = delivery.await else { return };
            if dns_frame::write(&mut client, &answer).await.is_err() {
                return;
            }
            continue;
        }
        let real = if carried_out { dns_frame::deliver(shared.upstream, &message).await } else { None };
        let answer = match fault {
            None => real,
            Some(Fault::Rcode(rcode)) => Some(bare_answer(&message, rcode)),
            Some(Fault::Empty { .. }) => Some(bare_answer(&message, 0)),
            Some(Fault::Garbage) => Some(vec![0xff; 7]),
            Some(Fault::Drop { .. }) => None,
            Some(Fault::Hang { .. } | Fault::Hold) => std::future::pending().await,
        };
        let Some(answer) = answer else { return };
        if dns_frame::write(&mut client, &answer).await.is_err() {
            return;
        }
    }
}
