//! `rfc2136` at BIND, at Knot and at `PowerDNS`.

use std::{any::Any, net::SocketAddr, time::Duration};

use async_trait::async_trait;
use quorate::{
    core::record::{Record, RecordType},
    dns::rfc2136::{Rfc2136, Rfc2136Config},
    secret::Secret,
};

use crate::{
    contract::{Handle, Of, Subject, Trouble, Truth},
    dns_fault_proxy::{DnsFaultProxy, Fault},
    dns_server::{DnsServer, KEY_NAME, POWERLESS_KEY, SECRET, ZONE_KEY, dig},
    powerdns_server::PowerDnsServer,
};

const ZONE: &str = "example.test";
/// SERVFAIL (RFC 1035 §4.1.1).
const SERVFAIL: u8 = 2;

/// What stands at `www` in the zone files of these servers.
const FIRST: &str = "192.0.2.10";

struct AtServer {
    name: &'static str,
    address: SocketAddr,
    proxy: DnsFaultProxy,
    /// Stops when this is dropped.
    _server: Box<dyn Any + Send + Sync>,
}

pub async fn bind() -> Option<Box<dyn Subject>> {
    let server = DnsServer::bind(ZONE, &["www", "nothing"])?;
    at("rfc2136 at BIND", server.address(), server).await
}

pub async fn knot() -> Option<Box<dyn Subject>> {
    let server = DnsServer::knot(ZONE, &["www", "nothing"])?;
    at("rfc2136 at Knot", server.address(), server).await
}

pub async fn powerdns() -> Option<Box<dyn Subject>> {
    let server = PowerDnsServer::start(ZONE, &[("www.example.test", "A", 60, FIRST)])?;
    at("rfc2136 at PowerDNS", server.address(), server).await
}

async fn at(name: &'static str, address: SocketAddr, server: impl Any + Send + Sync) -> Option<Box<dyn Subject>> {
    let proxy = DnsFaultProxy::start(address).await;
    Some(Box::new(AtServer { name, address, proxy, _server: Box::new(server) }))
}

fn record(name: &str) -> Record {
    Record {
        provider: "main".parse().unwrap(),
        zone: ZONE.parse().unwrap(),
        name: format!("{name}.{ZONE}").parse().unwrap(),
        rtype: RecordType::A,
        ttl: 60,
    }
}

impl AtServer {
    fn with(&self, key: &str, secret: &str, timeout: Duration) -> Handle {
        let config = Rfc2136Config {
            server: self.proxy.address.into(),
            key_name: key.parse().unwrap(),
            algorithm: "hmac-sha256".parse().unwrap(),
            secret: Secret::new(secret),
            timeout,
        };
        Handle::from(Box::new(Rfc2136::new(&config).unwrap()) as Box<dyn quorate::dns::Provider>)
    }

    fn fail(&self, of: Of, fault: Fault) -> Handle {
        self.proxy.fail_next(of == Of::Writing, fault);
        self.provider()
    }
}

#[async_trait]
impl Subject for AtServer {
    fn name(&self) -> &'static str {
        self.name
    }

    fn provider(&self) -> Handle {
        self.with(KEY_NAME, SECRET, Duration::from_secs(30))
    }

    fn record(&self) -> Record {
        record("www")
    }

    fn values(&self) -> [&'static str; 3] {
        [FIRST, "198.51.100.20", "198.51.100.21"]
    }

    fn absent(&self) -> Result<Record, &'static str> {
        Ok(record("nothing"))
    }

    async fn truth(&self) -> Truth {
        tokio::task::block_in_place(|| {
            let texts = dig(self.address, &format!("_quorate.www.{ZONE}"), "TXT");
            let fence = texts.iter().map(|text| text.trim_matches('"').to_owned()).collect();
            Truth { values: dig(self.address, &format!("www.{ZONE}"), "A"), fence }
        })
    }

    async fn put_fence(&self, text: Option<&str>) {
        let name = format!("_quorate.www.{ZONE}");
        let add = text.map(|text| format!("update add {name} 60 TXT \"{text}\"\n")).unwrap_or_default();
        let (ip, port) = (self.address.ip(), self.address.port());
        let script = format!("server {ip} {port}\nzone {ZONE}\nupdate delete {name} TXT\n{add}send\n");
        tokio::task::block_in_place(|| nsupdate(&script));
    }

    async fn arm(&self, of: Of, trouble: Trouble) -> Result<Handle, &'static str> {
        Ok(match trouble {
            Trouble::TooMany | Trouble::PutOff => return Err("RFC 2136 has no answer that asks to wait"),
            Trouble::Flood => {
                return Err("a DNS message over TCP cannot be longer than 65,535 bytes (RFC 1035 §4.2.2)");
            }
            Trouble::ServerError { applied: true } => {
                return Err("a server that answers SERVFAIL has undone what it began (RFC 2136 §3.4.2)");
            }
            Trouble::AnswerLost { applied } => self.fail(of, Fault::Drop { applied }),
            Trouble::ServerError { applied: false } => self.fail(of, Fault::Rcode(SERVFAIL)),
            Trouble::Garbage => self.fail(of, Fault::Garbage),
            Trouble::EmptyAnswer => self.fail(of, Fault::Empty { applied: false }),
            Trouble::Held => self.fail(of, Fault::Hold),
            Trouble::Hang { applied } => {
                self.fail(of, Fault::Hang { applied });
                self.with(KEY_NAME, SECRET, Duration::from_secs(3))
            }
            // TSIG keys do not expire: the server has forgotten it.
            Trouble::Expired => self.with("forgotten-key", SECRET, Duration::from_secs(30)),
            Trouble::Forbidden if of == Of::Reading => {
                return Err("the servers of these tests let anybody read");
            }
            Trouble::Forbidden => self.with(POWERLESS_KEY, SECRET, Duration::from_secs(30)),
        })
    }

    async fn disarm(&self) -> usize {
        self.proxy.disarm()
    }

    async fn sent(&self) -> usize {
        self.proxy.take_updates()
    }

    async fn caught(&self) {
        self.proxy.caught().await;
    }

    async fn release(&self) {
        self.proxy.release();
    }

    fn secrets(&self) -> Vec<String> {
        vec![SECRET.to_owned()]
    }
}

/// Another hand with rights to the whole zone.
fn nsupdate(script: &str) {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };
    let key = format!("hmac-sha256:{ZONE_KEY}:{SECRET}");
    let mut child = Command::new("nsupdate").args(["-v", "-y", &key]).stdin(Stdio::piped()).spawn().expect("nsupdate");
    child.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("to write");
    assert!(child.wait().expect("an end").success(), "nsupdate failed:\n{script}");
}
