//! The witness: providers outside the cluster that record every request to change a record, its time and its answer.
//!
//! Grade A is BIND, another program, behind a proxy that reads each UPDATE and the answer to it. Grade C is the fake of OVH,
//! which notes each publication and who asked for it. Both misbehave when the nemesis says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, RecordType},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Mutex as AsyncMutex, Notify, watch},
};

use crate::{
    dns_frame,
    dns_server::DnsServer,
    edn::{Edn, key, map, vector},
    fake_ovh::{FakeOvh, Fault as OvhFault},
    fleet::{CLUSTER, Fleet},
    history::{History, Process, Type},
};

pub const ZONE: &str = "example.test";

/// What goes wrong at the providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Requests to change something take this long before they are carried out, the client there or not.
    Delay(Duration),
    /// They are carried out, and the answer is lost.
    DropAnswer,
    /// 429 at OVH; at the DNS server the connection is closed before anything is done.
    Busy,
    /// 500 at OVH, SERVFAIL at the DNS server; nothing is done.
    Error,
    /// The next one is held until it is let go.
    Hold,
    /// At the DNS server every question waits until the fault is over; UPDATEs pass.
    HoldQuestions,
}

/// What a request asks for.
struct Change {
    service: String,
    epoch: Option<u64>,
    values: Vec<String>,
}

/// What a record is, as the witness knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub values: Vec<String>,
    pub epoch: Option<u64>,
    pub since: Instant,
}

pub struct Witness {
    /// Where nodes send what they ask of the DNS server.
    pub proxy: SocketAddr,
    pub bind: DnsServer,
    pub ovh: FakeOvh,
    history: Arc<History>,
    fleet: OnceLock<Arc<Fleet>>,
    faults: watch::Sender<Fault>,
    /// Who was made to wait for an answer about which service.
    asking: Mutex<BTreeSet<(Option<u64>, String)>>,
    standing: Mutex<BTreeMap<String, Standing>>,
    /// How many of OVH's publications were looked at.
    ovh_told: Mutex<usize>,
    /// One UPDATE at a time, so that what is recorded is in the order in which it was carried out.
    turn: AsyncMutex<()>,
    released: Notify,
    caught: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Witness {
    /// Starts both on `ip`; `None` when BIND is missing and skipping is allowed.
    pub async fn start(ip: Ipv4Addr, history: Arc<History>) -> Option<Arc<Self>> {
        let bind = DnsServer::bind_on(ip, ZONE, &["app", "reg"])?;
        let ovh = FakeOvh::start_on(ip, ZONE).await;
        let listener = TcpListener::bind((ip, 0)).await.expect("a port");
        let witness = Arc::new(Self {
            proxy: listener.local_addr().expect("its address"),
            bind,
            ovh,
            history,
            fleet: OnceLock::new(),
            faults: watch::Sender::new(Fault::None),
            asking: Mutex::default(),
            standing: Mutex::default(),
            ovh_told: Mutex::default(),
            turn: AsyncMutex::new(()),
            released: Notify::new(),
            caught: Notify::new(),
        });
        let accepting = Arc::clone(&witness);
        tokio::spawn(async move {
            while let Ok((client, peer)) = listener.accept().await {
                tokio::spawn(Arc::clone(&accepting).serve(client, peer.ip()));
            }
        });
        Some(witness)
    }

    /// Who lives at which address.
    pub fn knows(&self, fleet: Arc<Fleet>) {
        assert!(self.fleet.set(fleet).is_ok(), "told once");
    }

    fn sender(&self, ip: IpAddr) -> Option<u64> {
        self.fleet.get()?.node_at(ip)
    }

    /// From now on.
    pub fn set(&self, fault: Fault) {
        lock(&self.asking).clear();
        self.faults.send_replace(fault);
        self.ovh.clear_faults();
        let ovh = match fault {
            Fault::None | Fault::Hold | Fault::HoldQuestions => return,
            // The fake has no clock of its own: a call that hangs for ever is what a long delay looks like.
            Fault::Delay(_) => OvhFault::Hang,
            Fault::DropAnswer => OvhFault::Drop { applied: true },
            Fault::Busy => OvhFault::Error { status: 429, code: "TOO_MANY_REQUESTS", retry_after: Some(1) },
            Fault::Error => OvhFault::Error { status: 500, code: "INTERNAL_SERVER_ERROR", retry_after: None },
        };
        for _ in 0..40 {
            self.ovh.fail_next("*", "/domain/zone", ovh.clone());
        }
    }

    /// Waits until an UPDATE is held.
    pub async fn caught(&self) {
        self.caught.notified().await;
    }

    /// Lets it go.
    pub fn release(&self) {
        self.released.notify_one();
    }

    /// What the record of a service is.
    pub fn standing(&self, service: &str) -> Option<Standing> {
        lock(&self.standing).get(service).cloned()
    }

    async fn serve(self: Arc<Self>, mut client: TcpStream, from: IpAddr) {
        while let Some(message) = dns_frame::read(&mut client).await {
            let update = dns_frame::is_update(&message);
            let answer = if update {
                // Carried out whatever becomes of the client.
                let (witness, message) = (Arc::clone(&self), message.clone());
                tokio::spawn(async move { witness.update(&message, from).await }).await.ok().flatten()
            } else {
                if self.fault() == Fault::HoldQuestions {
                    self.waits(&message, from).await;
                }
                match self.fault() {
                    Fault::Busy => None,
                    Fault::Error => Some(refusal(&message, ResponseCode::ServFail)),
                    _ => dns_frame::deliver(self.bind.address(), &message).await,
                }
            };
            let Some(answer) = answer else { return };
            if dns_frame::write(&mut client, &answer).await.is_err() {
                return;
            }
        }
    }

    /// A question waits for as long as questions do.
    async fn waits(&self, message: &[u8], from: IpAddr) {
        if let Some(service) = Message::from_vec(message).ok().and_then(|message| asked(&message)) {
            lock(&self.asking).insert((self.sender(from), service));
        }
        let mut fault = self.faults.subscribe();
        let _ = fault.wait_for(|fault| *fault != Fault::HoldQuestions).await;
    }

    /// Whether a question of this node's about this service was made to wait.
    pub fn asks(&self, node: u64, service: &str) -> bool {
        lock(&self.asking).contains(&(Some(node), service.to_owned()))
    }

    fn fault(&self) -> Fault {
        *self.faults.borrow()
    }

    /// Carries out an UPDATE, or what the fault makes of it; the answer, if there is one.
    async fn update(&self, message: &[u8], from: IpAddr) -> Option<Vec<u8>> {
        let arrived = Instant::now();
        let fault = self.fault();
        match fault {
            Fault::Busy => {
                self.note(message, from, arrived, "undelivered", None);
                return None;
            }
            Fault::Error => {
                self.note(message, from, arrived, "undelivered", None);
                return Some(refusal(message, ResponseCode::ServFail));
            }
            Fault::Delay(by) => tokio::time::sleep(by).await,
            Fault::Hold => {
                self.faults.send_replace(Fault::None);
                self.caught.notify_one();
                self.released.notified().await;
            }
            Fault::None | Fault::DropAnswer | Fault::HoldQuestions => {}
        }
        let _turn = self.turn.lock().await;
        let answer = dns_frame::deliver(self.bind.address(), message).await;
        let rcode = answer.as_ref().and_then(|answer| answer.get(3)).map(|flags| u64::from(flags & 0x0f));
        let outcome = match rcode {
            Some(0) => "taken",
            Some(_) => "refused",
            None => "undelivered",
        };
        self.note(message, from, arrived, outcome, rcode);
        answer.filter(|_| fault != Fault::DropAnswer)
    }

    fn note(&self, message: &[u8], from: IpAddr, arrived: Instant, outcome: &'static str, rcode: Option<u64>) {
        let changes = Message::from_vec(message).map(|message| changes(&message)).unwrap_or_default();
        for change in changes {
            let Change { service, epoch, values } = change;
            let value = write(&service, self.sender(from), epoch, &values, outcome, Some(self.history.time(arrived)));
            let value = with(value, "rcode", rcode.into());
            self.history.witness("write", value);
            if outcome == "taken" {
                lock(&self.standing).insert(service, Standing { values, epoch, since: Instant::now() });
            }
        }
    }

    /// Looks at what OVH published since the last time, and tells it. Called often.
    pub fn look_at_ovh(&self) {
        let mut told = lock(&self.ovh_told);
        let (sets, by) = (self.ovh.publications(), self.ovh.publishers());
        for (set, (at, from)) in sets.iter().zip(by).skip(*told) {
            *told += 1;
            let of = |kind: &str, name: &str| -> Vec<String> {
                let found = set.iter().filter(|record| record.field_type == kind && record.sub_domain == name);
                found.map(|record| record.target.trim_matches('"').to_owned()).collect()
            };
            let (values, fences) = (of("A", "shop"), of("TXT", "_quorate.shop"));
            let epoch = fences.first().and_then(|fence| epoch_of(fence));
            let mut standing = lock(&self.standing);
            let before = standing.get("shop").map(|of| (of.values.clone(), of.epoch));
            if before.as_ref() == Some(&(values.clone(), epoch)) {
                continue;
            }
            // The values go first and the fence by a publication of its own.
            let half = before.is_some_and(|(of, fence)| of != values && fence == epoch) || epoch.is_none();
            let outcome = if half { "half" } else { "taken" };
            let value = write("shop", self.sender(from), epoch, &values, outcome, None);
            self.history.add(self.history.time(at), Process::Witness, Type::Info, "write", value);
            standing.insert("shop".to_owned(), Standing { values, epoch, since: at });
        }
    }

    /// What a nameserver answers for a service's record, as the world sees it; `None` without an answer.
    pub fn ask(&self, service: &str) -> Option<Vec<String>> {
        let server = if service == "shop" { self.ovh.dns } else { self.bind.address() };
        ask(server, &format!("{service}.{ZONE}."), RecordType::A)
    }

    /// The epoch in the fence, as the world sees it.
    pub fn ask_epoch(&self, service: &str) -> Option<u64> {
        let server = if service == "shop" { self.ovh.dns } else { self.bind.address() };
        let fences = ask(server, &format!("_quorate.{service}.{ZONE}."), RecordType::TXT)?;
        fences.first().and_then(|fence| epoch_of(fence))
    }
}

fn write(
    service: &str,
    from: Option<u64>,
    epoch: Option<u64>,
    values: &[String],
    outcome: &str,
    arrived: Option<u64>,
) -> Edn {
    map([
        ("service", service.into()),
        ("from", from.into()),
        ("epoch", epoch.into()),
        ("values", vector(values.iter().map(String::as_str))),
        ("outcome", key(outcome)),
        ("arrived", arrived.into()),
    ])
}

fn with(value: Edn, name: &str, more: Edn) -> Edn {
    match value {
        Edn::Map(mut entries) => {
            entries.push((key(name), more));
            Edn::Map(entries)
        }
        other => other,
    }
}

/// The epoch of a fence of this cluster.
fn epoch_of(fence: &str) -> Option<u64> {
    let rest = fence.strip_prefix("v=1 cluster=")?.strip_prefix(CLUSTER)?;
    rest.strip_prefix(" epoch=")?.parse().ok()
}

/// The service whose record or fence a question is about.
fn asked(message: &Message) -> Option<String> {
    let name = message.queries.first()?.name().to_ascii();
    Some(name.trim_start_matches("_quorate.").split('.').next()?.to_owned())
}

/// What an UPDATE adds, by service (RFC 2136 §2.5.1: class IN adds).
fn changes(message: &Message) -> Vec<Change> {
    let mut found = BTreeMap::<String, Change>::new();
    for record in message.authorities.iter().filter(|record| record.dns_class == DNSClass::IN) {
        let name = record.name.to_ascii();
        let Some(service) = name.trim_start_matches("_quorate.").split('.').next() else { continue };
        let change = found.entry(service.to_owned()).or_insert_with(|| Change {
            service: service.to_owned(),
            epoch: None,
            values: vec![],
        });
        match &record.data {
            RData::TXT(_) => change.epoch = epoch_of(record.data.to_string().trim_matches('"')),
            data => change.values.push(data.to_string()),
        }
    }
    found.into_values().collect()
}

/// An answer that nobody signed.
fn refusal(message: &[u8], code: ResponseCode) -> Vec<u8> {
    let mut answer = message.get(..12).map(<[u8]>::to_vec).unwrap_or_default();
    if let [_, _, flags, codes, counts @ ..] = answer.as_mut_slice() {
        *flags |= 0x80;
        *codes = code.low();
        counts.fill(0);
    }
    answer
}

/// One question over UDP; the data of the answers, sorted. `None` when no usable answer came.
fn ask(server: SocketAddr, name: &str, rtype: RecordType) -> Option<Vec<String>> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    socket.connect(server).ok()?;
    let mut question = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    question.add_query(Query::query(Name::from_ascii(name).ok()?, rtype));
    socket.send(&question.to_vec().ok()?).ok()?;
    let mut bytes = [0; 4096];
    let length = socket.recv(&mut bytes).ok()?;
    let answer = Message::from_vec(&bytes[..length]).ok()?;
    let usable = answer.metadata.id == question.metadata.id
        && [ResponseCode::NoError, ResponseCode::NXDomain].contains(&answer.metadata.response_code);
    let mut values: Vec<String> =
        answer.answers.iter().map(|record| record.data.to_string().trim_matches('"').to_owned()).collect();
    values.sort();
    usable.then_some(values)
}
