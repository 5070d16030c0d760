//! An authoritative DNS server for one zone on loopback, which takes TSIG-signed updates (RFC 2136, RFC 8945).
//!
//! It keeps a log of every update with its instant, so that the demo can judge the cluster by what it did rather than by
//! what it says; and it can hold updates back, as a slow provider does, before it is applied or before it is
//! answered. It is never meant to serve anybody but the demo: no AXFR, no DNSSEC, no recursion.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use hickory_net::{NetError, runtime::Time};
use hickory_proto::{
    op::{Edns, Header, HeaderCounts, MessageType, Metadata, OpCode, ResponseCode},
    rr::{DNSClass, LowerName, Name, Record, RecordType, TSigner, rdata::tsig::TsigAlgorithm},
    serialize::binary::BinEncoder,
};
use hickory_server::{
    Server,
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::{MessageResponseBuilder, UpdateRequest},
};
use tokio::{
    net::{TcpListener, TcpSocket, UdpSocket},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use super::{
    tsig::{Caller, FUDGE, Signature},
    zone::{Answer, Zone},
};

/// An idle TCP connection is closed after this.
const TCP_IDLE: Duration = Duration::from_secs(30);
/// How many updates the log holds; later ones are still served. The audit refuses to judge from a full log.
pub const LOG_LIMIT: usize = 4096;
/// The size in bytes of UDP messages that the server takes (the figure of DNS Flag Day 2020).
const MAX_PAYLOAD: u16 = 1232;

/// What stands in the zone but for its apex: values by name (no trailing dot) and type.
pub type Contents = BTreeMap<(String, RecordType), Vec<String>>;

/// One update that arrived, in the order in which the zone took or refused them.
#[derive(Debug, Clone)]
pub struct Change {
    /// When the zone took or refused it.
    pub at: Instant,
    /// Who sent it.
    pub from: SocketAddr,
    /// `NOERROR` for one that was taken.
    pub outcome: ResponseCode,
    /// The zone's serial afterwards.
    pub serial: u32,
    /// The zone's contents afterwards.
    pub contents: Contents,
}

/// At which step an update is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldAt {
    /// Received, not applied.
    BeforeApply,
    /// Applied, not answered.
    BeforeAnswer,
}

/// Updates that are, or will be, held back. Dropping it lets them go on.
#[derive(Debug)]
pub struct Hold {
    arrived: watch::Receiver<Option<Instant>>,
    stage: watch::Sender<Stage>,
}

/// What becomes of updates that meet a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Every one is held.
    Closed,
    /// Those that came are held, new ones pass.
    Full,
    /// None is held.
    Released,
}

impl Hold {
    /// Waits until an update is held; says since when. `None` when the server is gone.
    pub async fn arrived(&mut self) -> Option<Instant> {
        self.arrived.wait_for(Option::is_some).await.ok().and_then(|arrived| *arrived)
    }

    /// Holds what came, and lets what comes pass by.
    pub fn let_others_pass(&self) {
        self.stage.send_replace(Stage::Full);
    }

    /// Lets everything go on.
    pub fn release(self) {
        self.stage.send_replace(Stage::Released);
    }
}

/// The server. It stops when it is dropped.
#[derive(Debug)]
pub struct Nameserver {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Shared {
    zone: Mutex<Zone>,
    log: watch::Sender<Vec<Change>>,
    trap: Mutex<Option<Trap>>,
}

#[derive(Debug, Clone)]
struct Trap {
    at: HoldAt,
    arrived: watch::Sender<Option<Instant>>,
    stage: watch::Receiver<Stage>,
}

/// The key that updates must be signed with (HMAC-SHA-256).
#[derive(Clone)]
pub struct Key {
    /// The key's name.
    pub name: Name,
    /// The shared secret.
    pub secret: Vec<u8>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("name", &self.name.to_string()).finish_non_exhaustive()
    }
}

impl Nameserver {
    /// Serves an empty zone on a free port of 127.0.0.1, over UDP and TCP.
    ///
    /// # Errors
    /// No port could be bound that is free for both.
    pub async fn start(origin: &Name, key: &Key) -> io::Result<Self> {
        let (udp, tcp) = bind_both().await?;
        let address = udp.local_addr()?;
        // A relative name is equal to no name in a message.
        let mut origin = origin.clone();
        origin.set_fqdn(true);
        let nameserver = Name::from_ascii("ns").and_then(|ns| ns.append_domain(&origin)).map_err(io::Error::other)?;
        let shared = Arc::new(Shared {
            zone: Mutex::new(Zone::new(&origin, &nameserver)),
            log: watch::Sender::new(Vec::new()),
            trap: Mutex::new(None),
        });
        let signer = TSigner::new(key.secret.clone(), TsigAlgorithm::HmacSha256, key.name.clone(), FUDGE)
            .map_err(io::Error::other)?;
        let mut server = Server::new(Handler { shared: shared.clone(), signer });
        server.register_socket(udp);
        server.register_listener(tcp, TCP_IDLE, 64);
        let stop = server.shutdown_token().clone();
        tokio::spawn(async move { server.block_until_done().await });
        Ok(Self { address, shared, stop })
    }

    /// Where it listens, over UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stands in the zone now.
    pub fn contents(&self) -> Contents {
        lock(&self.shared.zone).contents()
    }

    /// Every update so far, taken or refused.
    pub fn changes(&self) -> Vec<Change> {
        self.shared.log.borrow().clone()
    }

    /// The same, with notice of each new one.
    pub fn watch(&self) -> watch::Receiver<Vec<Change>> {
        self.shared.log.subscribe()
    }

    /// Holds back every update that is rightly signed, from now on.
    pub fn hold(&self, at: HoldAt) -> Hold {
        let (arrived, on_arrival) = watch::channel(None);
        let (stage, on_stage) = watch::channel(Stage::Closed);
        *lock(&self.shared.trap) = Some(Trap { at, arrived, stage: on_stage });
        Hold { arrived: on_arrival, stage }
    }
}

impl Drop for Nameserver {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Nothing under these locks can panic half-way, so a poisoned one still holds a whole value.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// UDP and TCP on one port: the kernel picks it for UDP, so TCP may find it taken.
async fn bind_both() -> io::Result<(UdpSocket, TcpListener)> {
    let mut last = io::Error::other("no port tried");
    for _ in 0..16 {
        let udp = UdpSocket::bind("127.0.0.1:0").await?;
        match listen(udp.local_addr()?) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Accepted connections take over `TCP_NODELAY`. Without it an answer, whose length the server writes on its own, waits for
/// the delayed acknowledgement of the length: 40 ms that no real server costs.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    socket.listen(64)
}

struct Handler {
    shared: Arc<Shared>,
    signer: TSigner,
}

/// An answer before it is encoded.
struct Reply {
    metadata: Metadata,
    answers: Vec<Record>,
    authorities: Vec<Record>,
}

impl Reply {
    fn of(request: &Request, code: ResponseCode) -> Self {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = code;
        Self { metadata, answers: Vec::new(), authorities: Vec::new() }
    }
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut out: R) -> ResponseInfo {
        let caller = Caller::of(request, &self.signer, T::current_time());
        let (reply, signature) = match caller {
            Caller::Refused(signature) => (Reply::of(request, ResponseCode::NotAuth), Some(signature)),
            Caller::Nobody if request.metadata.op_code == OpCode::Update => {
                (self.refuse(request, ResponseCode::Refused), None)
            }
            Caller::Nobody => (self.query(request), None),
            Caller::Key(signature) if request.metadata.op_code == OpCode::Update => {
                (self.update(request).await, Some(signature))
            }
            Caller::Key(signature) => (self.query(request), Some(signature)),
        };
        let edns = request.edns.as_ref().map(|_| {
            let mut edns = Edns::new();
            edns.set_max_payload(MAX_PAYLOAD);
            edns
        });
        match send(request, &reply, signature, &self.signer, edns.as_ref(), &mut out).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, "an answer could not be sent");
                ResponseInfo::from(Header {
                    metadata: Reply::of(request, ResponseCode::ServFail).metadata,
                    counts: HeaderCounts::default(),
                })
            }
        }
    }
}

impl Handler {
    fn query(&self, request: &Request) -> Reply {
        if request.metadata.message_type != MessageType::Query || request.metadata.op_code != OpCode::Query {
            return Reply::of(request, ResponseCode::NotImp);
        }
        let [question] = request.queries.queries() else { return Reply::of(request, ResponseCode::FormErr) };
        if matches!(question.query_type(), RecordType::AXFR | RecordType::IXFR)
            || question.query_class() != DNSClass::IN
        {
            return Reply::of(request, ResponseCode::Refused);
        }
        let zone = lock(&self.shared.zone);
        let mut reply = Reply::of(request, ResponseCode::NoError);
        reply.metadata.authoritative = true;
        match zone.answer(question.name(), question.query_type()) {
            Answer::Records(records) => reply.answers = records,
            Answer::NoData => reply.authorities.extend(zone.soa_record()),
            Answer::NoName => {
                reply.metadata.response_code = ResponseCode::NXDomain;
                reply.authorities.extend(zone.soa_record());
            }
            Answer::OutOfZone => return Reply::of(request, ResponseCode::Refused),
        }
        reply
    }

    async fn update(&self, request: &Request) -> Reply {
        // Only what meets a closed hold is held, at either step.
        let trap = lock(&self.shared.trap).clone().filter(|trap| *trap.stage.borrow() == Stage::Closed);
        let (early, late) = match trap {
            Some(trap) if trap.at == HoldAt::BeforeApply => (Some(trap), None),
            trap => (None, trap),
        };
        held(early).await;
        let reply = self.take(request);
        held(late).await;
        reply
    }

    /// Zone section, prerequisites, update (RFC 2136 §3.1 to §3.4) and the log, under one lock.
    fn take(&self, request: &Request) -> Reply {
        let mut zone = lock(&self.shared.zone);
        let outcome = match request.queries.queries() {
            [section] if section.query_type() == RecordType::SOA => {
                if section.query_class() == DNSClass::IN && is_zone(section.name(), &zone) {
                    zone.update(request.prerequisites(), request.updates())
                } else {
                    Err(ResponseCode::NotAuth)
                }
            }
            _ => Err(ResponseCode::FormErr),
        };
        let code = outcome.err().unwrap_or(ResponseCode::NoError);
        self.record(request, code, &zone);
        Reply::of(request, code)
    }

    fn refuse(&self, request: &Request, code: ResponseCode) -> Reply {
        self.record(request, code, &lock(&self.shared.zone));
        Reply::of(request, code)
    }

    fn record(&self, request: &Request, outcome: ResponseCode, zone: &Zone) {
        self.shared.log.send_modify(|log| {
            if log.len() < LOG_LIMIT {
                log.push(Change {
                    at: Instant::now(),
                    from: request.src(),
                    outcome,
                    serial: zone.serial(),
                    contents: zone.contents(),
                });
            }
        });
    }
}

fn is_zone(name: &LowerName, zone: &Zone) -> bool {
    name == zone.origin()
}

/// Says that an update is held, and waits until it may go on.
async fn held(trap: Option<Trap>) {
    if let Some(mut trap) = trap {
        trap.arrived.send_replace(Some(Instant::now()));
        // An error means that the hold was dropped, which lets go as well.
        let _ = trap.stage.wait_for(|stage| *stage == Stage::Released).await;
    }
}

async fn send<R: ResponseHandler>(
    request: &Request,
    reply: &Reply,
    signature: Option<Signature>,
    signer: &TSigner,
    edns: Option<&Edns>,
    out: &mut R,
) -> Result<ResponseInfo, NetError> {
    let build = || {
        MessageResponseBuilder::new(&request.queries, edns).build(
            reply.metadata,
            &reply.answers,
            &reply.authorities,
            [],
            [],
        )
    };
    let mut response = build();
    if let Some(signature) = signature {
        let mut bytes = Vec::with_capacity(512);
        build().destructive_emit(&mut BinEncoder::new(&mut bytes))?;
        response.set_signature(signature.sign(signer, &bytes)?);
    }
    out.send_response(response).await
}
