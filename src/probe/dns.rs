//! The DNS probe: one query over UDP, again over TCP when the answer was truncated (RFC 7766 §5).

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use hickory_proto::{
    op::{Message, MessageType, Query, ResponseCode},
    rr::{Name, RData, RecordType as WireType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::check::{Answer, Client, Failure, Progress, Stage};
use crate::core::{
    record::{RecordType, RecordValue},
    service::DnsCheck,
};

/// When a query over UDP is sent again, so that one lost packet is not an outage.
const RESEND: Duration = Duration::from_millis(400);
/// How many values of an answer are looked at.
const VALUES: usize = 64;

/// Passes on NOERROR with exactly the values wanted, or with any value when none are configured.
pub(super) async fn check(client: &Client, check: &DnsCheck, progress: &Progress) -> Result<Answer, Failure> {
    progress.enter(Stage::Resolving);
    let servers = client.resolver.resolve(&check.target).await?;
    let server = *servers.first().ok_or_else(|| Failure::Resolve("it has no address".to_owned()))?;
    let query = query(check)?;
    progress.enter(Stage::Waiting);
    let mut answer = ask_udp(server, &query).await?;
    if answer.metadata.truncation {
        progress.enter(Stage::Connecting);
        answer = ask_tcp(server, &query).await?;
    }
    Ok(Answer::new(judge(check, &answer)))
}

pub(super) fn judge(check: &DnsCheck, answer: &Message) -> Option<Failure> {
    if answer.metadata.response_code != ResponseCode::NoError {
        return Some(Failure::Dns(format!("{}, NOERROR wanted", answer.metadata.response_code)));
    }
    let values: BTreeSet<RecordValue> =
        answer.answers.iter().take(VALUES).filter_map(|record| value(check.rtype, &record.data)).collect();
    if values.is_empty() {
        return Some(Failure::Dns(format!("the answer has no {} record", check.rtype)));
    }
    let differs = !check.values.is_empty() && check.values != values;
    differs.then(|| Failure::Dns(format!("answers {}, {} wanted", list(&values), list(&check.values))))
}

fn list(values: &BTreeSet<RecordValue>) -> String {
    let shown: Vec<String> = values.iter().take(4).map(ToString::to_string).collect();
    format!("{}{}", shown.join(" "), if values.len() > 4 { " …" } else { "" })
}

fn value(rtype: RecordType, data: &RData) -> Option<RecordValue> {
    match (rtype, data) {
        (RecordType::A, RData::A(address)) => Some(RecordValue::A(address.0)),
        (RecordType::Aaaa, RData::AAAA(address)) => Some(RecordValue::Aaaa(address.0)),
        (RecordType::Cname, RData::CNAME(name)) => name.0.to_string().parse().ok().map(RecordValue::Cname),
        _ => None,
    }
}

pub(super) fn query(check: &DnsCheck) -> Result<Message, Failure> {
    let name = Name::from_ascii(format!("{}.", check.name)).map_err(|error| Failure::Unsendable(error.to_string()))?;
    let rtype = match check.rtype {
        RecordType::A => WireType::A,
        RecordType::Aaaa => WireType::AAAA,
        RecordType::Cname => WireType::CNAME,
        RecordType::Pool => return Err(Failure::Unsendable("a POOL is no DNS record".to_owned())),
    };
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(name, rtype));
    Ok(query)
}

fn encode(query: &Message) -> Result<Vec<u8>, Failure> {
    query.to_vec().map_err(|error| Failure::Unsendable(error.to_string()))
}

/// Whether `bytes` answer the query: the same id and question (RFC 5452 §9.1). Others are somebody else's.
pub(super) fn answers(query: &Message, bytes: &[u8]) -> Option<Message> {
    let message = Message::from_vec(bytes).ok()?;
    let ours = message.metadata.id == query.metadata.id
        && message.metadata.message_type == MessageType::Response
        // Some servers leave the question out of an error.
        && (message.queries == query.queries || message.queries.is_empty());
    ours.then_some(message)
}

async fn ask_udp(server: SocketAddr, query: &Message) -> Result<Message, Failure> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await.map_err(Failure::Connect)?;
    // Connected, so that the kernel drops what others send and tells of a closed port.
    socket.connect(server).await.map_err(Failure::Connect)?;
    let bytes = encode(query)?;
    let mut buffer = [0; 4096];
    loop {
        socket.send(&bytes).await.map_err(Failure::Broken)?;
        let heard = async {
            loop {
                let read = socket.recv(&mut buffer).await.map_err(Failure::Broken)?;
                if let Some(message) = answers(query, &buffer[..read]) {
                    return Ok(message);
                }
            }
        };
        if let Ok(heard) = timeout(RESEND, heard).await {
            return heard;
        }
    }
}

/// Two bytes of length, then the message (RFC 1035 §4.2.2): 64 KiB at most by its own format.
async fn ask_tcp(server: SocketAddr, query: &Message) -> Result<Message, Failure> {
    let mut stream = TcpStream::connect(server).await.map_err(Failure::Connect)?;
    let bytes = encode(query)?;
    let length = u16::try_from(bytes.len()).map_err(|error| Failure::Unsendable(error.to_string()))?;
    stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await.map_err(Failure::Broken)?;
    let length = stream.read_u16().await.map_err(Failure::Broken)?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await.map_err(Failure::Broken)?;
    answers(query, &answer).ok_or_else(|| Failure::Dns("the answer over TCP is not to the question".to_owned()))
}
