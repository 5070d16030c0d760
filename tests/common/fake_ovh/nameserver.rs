//! The fake's nameserver: answers from what is published, over UDP and TCP.

use std::{convert::Infallible, net::Ipv4Addr, sync::Arc, time::Duration};

use hickory_proto::{
    op::{Message, OpCode, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
};

use super::{FakeRecord, Shared, Zone};

/// The TTL that 0 stands for.
const DEFAULT_TTL: u32 = 3600;

pub async fn bind(ip: Ipv4Addr) -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let tcp = TcpListener::bind((ip, 0)).await.expect("a port");
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("its address")).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free for TCP and UDP");
}

pub async fn serve_udp(socket: UdpSocket, state: Shared) {
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
        if let Some(answer) = resolve(&buffer[..length], &state) {
            let _ = socket.send_to(&answer, client).await;
        }
    }
}

pub async fn serve_tcp(listener: TcpListener, state: Shared) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(tokio::time::timeout(Duration::from_secs(10), converse(stream, Arc::clone(&state))));
    }
}

async fn converse(mut stream: TcpStream, state: Shared) -> Option<Infallible> {
    loop {
        let length = stream.read_u16().await.ok()?;
        let mut message = vec![0; usize::from(length)];
        stream.read_exact(&mut message).await.ok()?;
        let answer = resolve(&message, &state)?;
        stream.write_u16(u16::try_from(answer.len()).ok()?).await.ok()?;
        stream.write_all(&answer).await.ok()?;
    }
}

fn resolve(bytes: &[u8], state: &Shared) -> Option<Vec<u8>> {
    let question = Message::from_vec(bytes).ok()?;
    let [query] = question.queries.as_slice() else { return None };
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    answer.metadata.recursion_desired = question.metadata.recursion_desired;
    answer.add_query(query.clone());
    let state = state.lock().expect("no panic under the lock");
    let name = query.name().to_ascii().to_ascii_lowercase();
    let zone = state.zones.iter().find(|(zone, _)| {
        name.strip_suffix(&format!("{zone}.")).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    });
    match zone {
        Some((zone, content)) => fill(&mut answer, query, &name, zone, content),
        None => answer.metadata.response_code = ResponseCode::Refused,
    }
    answer.to_vec().ok()
}

fn fill(answer: &mut Message, query: &Query, name: &str, zone: &str, content: &Zone) {
    answer.metadata.authoritative = true;
    let relative = name.strip_suffix(&format!("{zone}.")).unwrap_or_default().trim_end_matches('.');
    let at_name: Vec<_> =
        content.published.iter().filter(|record| record.sub_domain.eq_ignore_ascii_case(relative)).collect();
    let wanted = query.query_type().to_string();
    for record in &at_name {
        if record.field_type != wanted && record.field_type != "CNAME" {
            continue;
        }
        if let Some(data) = data(record, zone) {
            let ttl = if record.ttl == 0 { DEFAULT_TTL } else { record.ttl };
            answer.add_answer(Record::from_rdata(query.name().clone(), ttl, data));
        }
    }
    let origin = Name::from_ascii(format!("{zone}.")).expect("the zone's name");
    let host = |label: &str| Name::from_ascii(format!("{label}.anycast.me.")).expect("a name");
    let serial = u32::try_from(content.serial).unwrap_or(u32::MAX);
    let soa = RData::SOA(rdata::SOA::new(host("dns200"), host("tech"), serial, 3600, 900, 604_800, 300));
    let soa = Record::from_rdata(origin, 3600, soa);
    if relative.is_empty() && query.query_type() == RecordType::SOA {
        answer.add_answer(soa);
    } else if answer.answers.is_empty() {
        answer.add_authority(soa);
        if at_name.is_empty() && !relative.is_empty() {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
    }
}

fn data(record: &FakeRecord, zone: &str) -> Option<RData> {
    let target = record.target.as_str();
    Some(match record.field_type.as_str() {
        "A" => RData::A(rdata::A(target.parse().ok()?)),
        "AAAA" => RData::AAAA(rdata::AAAA(target.parse().ok()?)),
        "CNAME" if target.ends_with('.') => RData::CNAME(rdata::CNAME(Name::from_ascii(target).ok()?)),
        "CNAME" => RData::CNAME(rdata::CNAME(Name::from_ascii(format!("{target}.{zone}.")).ok()?)),
        "TXT" => RData::TXT(rdata::TXT::new(vec![target.trim_matches('"').to_owned()])),
        _ => return None,
    })
}
