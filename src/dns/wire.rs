//! DNS messages over TCP and UDP: one question, one answer, every wait bounded.
//!
//! hickory-proto encodes and decodes. The exchange itself is done here, because a writer must know whether a failure came
//! before or after the first byte left: before it nothing happened, after it anything may have. Nothing here retries.

use std::{fmt, net::SocketAddr, str::FromStr};

use hickory_proto::{
    op::{Message, Query, ResponseCode},
    rr::{DNSClass, Name, RData, RecordType as WireType, rdata},
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket, lookup_host},
    time::{Instant, timeout_at},
};

use crate::core::record::{DomainName, RecordType, RecordValue};

/// How many addresses of one server name are tried.
const ADDRESSES_LIMIT: usize = 8;
/// How many records of an answer are looked at; a record that fails over has a handful.
const RECORDS_LIMIT: usize = 512;

/// A DNS server as configured: `host:port`, where the port is 53 when left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerAddress {
    host: String,
    port: u16,
}

/// A text that names no DNS server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a DNS server: use an address or host name, with a port if it is not 53: 192.0.2.53:5300, [2001:db8::53]:53, ns1.example.net"
)]
pub struct ServerAddressError(String);

impl ServerAddress {
    /// Every address behind the name, the first few only; resolved by the system when it is not an address itself.
    async fn resolve(&self) -> Result<Vec<SocketAddr>, String> {
        let found = lookup_host((self.host.as_str(), self.port)).await;
        let addresses: Vec<_> = found.map_err(|error| format!("{self}: {error}"))?.take(ADDRESSES_LIMIT).collect();
        if addresses.is_empty() { Err(format!("{self} has no address")) } else { Ok(addresses) }
    }

    /// As [`Self::resolve`], until `deadline`.
    pub(super) async fn addresses(&self, deadline: Instant) -> Result<Vec<SocketAddr>, String> {
        timeout_at(deadline, self.resolve())
            .await
            .unwrap_or_else(|_| Err(format!("{self}: its name was not resolved in time")))
    }
}

impl FromStr for ServerAddress {
    type Err = ServerAddressError;

    fn from_str(text: &str) -> Result<Self, ServerAddressError> {
        let wrong = || ServerAddressError(text.chars().take(80).collect());
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { host: address.ip().to_string(), port: address.port() });
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<std::net::IpAddr>() {
            return Ok(Self { host: address.to_string(), port: 53 });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => {
                (host, port.parse().ok().filter(|_| port.bytes().all(|c| c.is_ascii_digit())).ok_or_else(wrong)?)
            }
            None => (text, 53),
        };
        // A last label of digits only would be a mistyped address: no such top level domain can exist (RFC 3696 §2).
        let host: DomainName = host.parse().map_err(|_| wrong())?;
        let last = host.as_str().rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        Ok(Self { host: host.to_string(), port })
    }
}

impl TryFrom<String> for ServerAddress {
    type Error = ServerAddressError;
    fn try_from(text: String) -> Result<Self, ServerAddressError> {
        text.parse()
    }
}

impl From<ServerAddress> for String {
    fn from(address: ServerAddress) -> Self {
        address.to_string()
    }
}

impl From<SocketAddr> for ServerAddress {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// One TCP connection to a DNS server, for a few messages one after the other (RFC 7766).
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
}

impl Connection {
    /// Connects to the first address of `server` that takes the connection. An error means that nothing was sent.
    pub(super) async fn open(server: &ServerAddress, deadline: Instant) -> Result<Self, String> {
        let mut last = String::new();
        for address in server.addresses(deadline).await? {
            match Self::open_at(address, deadline).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Connects to this very address.
    pub(super) async fn open_at(address: SocketAddr, deadline: Instant) -> Result<Self, String> {
        match timeout_at(deadline, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // A small message must not wait for an acknowledgement; without the option it is only slower.
                let _ = stream.set_nodelay(true);
                Ok(Self { stream })
            }
            Ok(Err(error)) => Err(format!("no connection to {address}: {error}")),
            Err(_) => Err(format!("no connection to {address} in time")),
        }
    }

    /// Sends one message and waits for its answer. After an error the message may or may not have arrived.
    pub(super) async fn ask(&mut self, message: &[u8], deadline: Instant) -> Result<Vec<u8>, String> {
        let exchange = async {
            let length =
                u16::try_from(message.len()).map_err(|_| "the message is longer than DNS allows".to_owned())?;
            let mut framed = Vec::with_capacity(message.len() + 2);
            framed.extend_from_slice(&length.to_be_bytes());
            framed.extend_from_slice(message);
            let broken = |error: std::io::Error| format!("the connection broke: {error}");
            self.stream.write_all(&framed).await.map_err(broken)?;
            let length = self.stream.read_u16().await.map_err(broken)?;
            let mut answer = vec![0; usize::from(length)];
            self.stream.read_exact(&mut answer).await.map_err(broken)?;
            Ok(answer)
        };
        timeout_at(deadline, exchange).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }
}

/// Sends one datagram and waits for a datagram from the same address that carries the same id.
pub(super) async fn ask_udp(server: SocketAddr, message: &[u8], deadline: Instant) -> Result<Vec<u8>, String> {
    let exchange = async {
        let local: SocketAddr =
            if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16, 0, 0, 0, 0, 0, 0, 0], 0).into() };
        let socket = UdpSocket::bind(local).await.map_err(|error| error.to_string())?;
        socket.connect(server).await.map_err(|error| error.to_string())?;
        socket.send(message).await.map_err(|error| error.to_string())?;
        let mut buffer = vec![0; 4096];
        loop {
            let length = socket.recv(&mut buffer).await.map_err(|error| error.to_string())?;
            if length >= 12 && buffer[..2] == message[..2] {
                buffer.truncate(length);
                return Ok(buffer);
            }
        }
    };
    timeout_at(deadline, exchange).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

/// The name as hickory has it.
pub(super) fn wire_name(name: &DomainName) -> Result<Name, String> {
    let mut wire = Name::from_ascii(name.as_str()).map_err(|error| format!("{name}: {error}"))?;
    wire.set_fqdn(true);
    Ok(wire)
}

/// The type as hickory has it; a pool has none.
pub(super) fn wire_type(rtype: RecordType) -> Result<WireType, String> {
    match rtype {
        RecordType::A => Ok(WireType::A),
        RecordType::Aaaa => Ok(WireType::AAAA),
        RecordType::Cname => Ok(WireType::CNAME),
        RecordType::Pool => Err("a POOL is no DNS record".to_owned()),
    }
}

/// The value as hickory has it.
pub(super) fn wire_value(value: &RecordValue) -> Result<RData, String> {
    Ok(match value {
        RecordValue::A(address) => RData::A(rdata::A(*address)),
        RecordValue::Aaaa(address) => RData::AAAA(rdata::AAAA(*address)),
        RecordValue::Cname(name) => RData::CNAME(rdata::CNAME(wire_name(name)?)),
        RecordValue::Alias(_) | RecordValue::Member(_) => return Err(format!("DNS has no value like {value}")),
    })
}

/// A value out of an answer; an error when it is one that Quorate could not have written.
pub(super) fn read_value(data: &RData) -> Result<RecordValue, String> {
    match data {
        RData::A(rdata::A(address)) => Ok(RecordValue::A(*address)),
        RData::AAAA(rdata::AAAA(address)) => Ok(RecordValue::Aaaa(*address)),
        RData::CNAME(rdata::CNAME(name)) => {
            name.to_ascii().parse().map(RecordValue::Cname).map_err(|error| error.to_string())
        }
        other => Err(format!("an answer of type {} instead", other.record_type())),
    }
}

/// The strings of a TXT record, joined as RFC 7208 §3.3 joins them.
pub(super) fn read_text(data: &RData) -> Result<String, String> {
    match data {
        RData::TXT(text) => Ok(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
        other => Err(format!("an answer of type {} instead", other.record_type())),
    }
}

/// A question without recursion, as one asks an authoritative server.
pub(super) fn question(name: Name, rtype: WireType, recursion: bool) -> Message {
    let mut message = Message::query();
    message.metadata.id = rand::random();
    message.metadata.recursion_desired = recursion;
    message.add_query(Query::query(name, rtype));
    message
}

/// What an answer says of the name and type that were asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Found {
    /// The RRset, with the smallest TTL among its records.
    Records {
        /// Seconds.
        ttl: u32,
        /// At least one.
        data: Vec<RData>,
    },
    /// The name is an alias: it has a CNAME, and so nothing else (RFC 1034 §3.6.2).
    Alias(String),
    /// No such name, or no such type at it.
    Nothing,
}

/// Why an answer says nothing of the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It is not an answer to this question.
    Mismatch(String),
    /// The server said why it gives none.
    Code(ResponseCode),
    /// The server knows, but is not an authority for it.
    NotAuthoritative,
    /// The answer did not fit.
    Truncated,
}

/// Reads the answer to `asked`, without following aliases. `authority`: whether the AA bit is required.
pub(super) fn read_answer(asked: &Message, answer: &Message, authority: bool) -> Result<Found, Unusable> {
    let mismatch = |text: &str| Unusable::Mismatch(text.to_owned());
    let [query] = asked.queries.as_slice() else { return Err(mismatch("more than one question was asked")) };
    if answer.metadata.id != asked.metadata.id
        || answer.metadata.message_type != hickory_proto::op::MessageType::Response
    {
        return Err(mismatch("the answer is to another question"));
    }
    if !matches!(answer.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain) {
        return Err(Unusable::Code(answer.metadata.response_code));
    }
    match answer.queries.as_slice() {
        [echo] if echo.name() == query.name() && echo.query_type() == query.query_type() => {}
        _ => return Err(mismatch("the answer repeats another question")),
    }
    if answer.metadata.truncation {
        return Err(Unusable::Truncated);
    }
    if authority && !answer.metadata.authoritative {
        return Err(Unusable::NotAuthoritative);
    }
    if answer.answers.len() > RECORDS_LIMIT {
        return Err(mismatch("the answer has more records than a switch could handle"));
    }
    let own = answer.answers.iter().filter(|record| record.name == *query.name() && record.dns_class == DNSClass::IN);
    let (wanted, others): (Vec<_>, Vec<_>) = own.partition(|record| record.record_type() == query.query_type());
    if let Some(ttl) = wanted.iter().map(|record| record.ttl).min() {
        return Ok(Found::Records { ttl, data: wanted.into_iter().map(|record| record.data.clone()).collect() });
    }
    let alias = others.iter().find_map(|record| match &record.data {
        RData::CNAME(rdata::CNAME(target)) => Some(target.to_ascii()),
        _ => None,
    });
    Ok(alias.map_or(Found::Nothing, Found::Alias))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_addresses_or_names_with_port_53_unless_said() {
        for (text, shown) in [
            ("192.0.2.53:5300", "192.0.2.53:5300"),
            ("192.0.2.53", "192.0.2.53:53"),
            ("[2001:db8::53]:5300", "[2001:db8::53]:5300"),
            ("2001:db8::53", "[2001:db8::53]:53"),
            ("NS1.example.net.", "ns1.example.net:53"),
            ("ns1.example.net:5300", "ns1.example.net:5300"),
        ] {
            assert_eq!(text.parse::<ServerAddress>().map(|server| server.to_string()), Ok(shown.to_owned()));
        }
        for bad in ["", ":53", "192.0.2.300:53", "ns1:x", "ns1:70000", "a b:53", "192.0.2.53:53:53"] {
            assert!(bad.parse::<ServerAddress>().is_err(), "{bad}");
        }
    }
}
