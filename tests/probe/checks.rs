//! TCP, DNS and gRPC health endpoints.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{
        Name, RData, Record,
        rdata::{A, CNAME},
    },
};
use quorate::{
    core::{
        record::{RecordType, RecordValue},
        report::Outcome,
        service::{Check, DnsCheck, GrpcCheck, Probe, TcpCheck},
    },
    probe::check::{self, Client},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
};
use tonic_health::ServingStatus;

use super::{
    ask, get,
    servers::{Behaviour, http, serve, vacant},
    target,
};

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(300);

/// The reason, or `pass`.
async fn verdict(check: Check, timeout: Duration) -> String {
    let seen = ask(check, timeout).await;
    if seen.outcome == Outcome::Pass { "pass".into() } else { seen.reason }
}

#[tokio::test]
async fn tcp() {
    let echo = serve(|mut stream| async move {
        let mut byte = [0; 1];
        // Byte by byte, so that the text wanted arrives in pieces.
        while let Ok(1) = stream.read(&mut byte).await {
            let _ = stream.write_all(&byte).await;
            tokio::task::yield_now().await;
        }
    })
    .await;
    let talk = async |address: SocketAddr, send: Option<&str>, expect: Option<&str>, timeout| {
        let (send, expect) = (send.map(str::to_owned), expect.map(str::to_owned));
        verdict(Check::Tcp(TcpCheck { target: target(address), send, expect }), timeout).await
    };
    assert_eq!(talk(echo.address, None, None, LONG).await, "pass");
    assert_eq!(talk(echo.address, Some("PING\r\nPONG\r\n"), Some("PONG"), LONG).await, "pass");
    assert_eq!(
        talk(echo.address, Some("PING\r\n"), Some("PONG"), SHORT).await,
        "no whole answer within 300ms (reading the answer)"
    );
    assert_eq!(
        talk(echo.address, None, Some("PONG"), SHORT).await,
        "no whole answer within 300ms (waiting for an answer)"
    );
    let banner = serve(|mut stream| async move {
        let _ = stream.write_all(b"SSH-2.0-x\r\n").await;
    })
    .await;
    assert_eq!(talk(banner.address, None, Some("SSH-2.0"), LONG).await, "pass");
    let seen = talk(banner.address, None, Some("220 "), LONG).await;
    assert_eq!(seen, "the answer (11 bytes) does not contain the text wanted");
    let flood = http(Behaviour::Flood(vec![])).await;
    let seen = talk(flood.address, Some("\r\n\r\n"), Some("PONG"), LONG).await;
    assert_eq!(seen, "the answer (65536 bytes) does not contain the text wanted");
    assert_eq!(talk(vacant(), None, None, LONG).await, "cannot connect: connection refused");
}

/// A name server on UDP and TCP of one port: over UDP it drops the first query it gets and truncates answers to `big`.
async fn name_server() -> (SocketAddr, [tokio::task::JoinHandle<()>; 2]) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(address).await.unwrap();
    let udp = async move {
        let mut buffer = [0; 512];
        let mut first = true;
        while let Ok((read, peer)) = socket.recv_from(&mut buffer).await {
            if std::mem::take(&mut first) {
                continue;
            }
            let query = Message::from_vec(&buffer[..read]).unwrap();
            let mut wrong_id = reply(&query);
            wrong_id.metadata.id = query.metadata.id.wrapping_add(1);
            wrong_id.metadata.response_code = ResponseCode::Refused;
            let mut right = reply(&query);
            if query.queries[0].name().to_ascii().starts_with("big") {
                right.answers.clear();
                right.metadata.truncation = true;
            }
            for message in [wrong_id, right] {
                let _ = socket.send_to(&message.to_vec().unwrap(), peer).await;
            }
        }
    };
    let tcp = async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut query = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut query).await.unwrap();
            let answer = reply(&Message::from_vec(&query).unwrap()).to_vec().unwrap();
            stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    };
    (address, [tokio::spawn(udp), tokio::spawn(tcp)])
}

fn reply(query: &Message) -> Message {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    assert_eq!(reply.metadata.message_type, MessageType::Response);
    let asked = &query.queries[0];
    reply.add_query(asked.clone());
    let mut add = |data| {
        reply.add_answer(Record::from_rdata(asked.name().clone(), 60, data));
    };
    match asked.name().to_ascii().split('.').next().unwrap() {
        "app" | "big" => {
            add(RData::A(A::new(203, 0, 113, 10)));
            add(RData::A(A::new(203, 0, 113, 11)));
        }
        "alias" => add(RData::CNAME(CNAME(Name::from_ascii("eu.example.net.").unwrap()))),
        "empty" => {}
        _ => reply.metadata.response_code = ResponseCode::NXDomain,
    }
    reply
}

#[tokio::test]
async fn dns() {
    let (address, tasks) = name_server().await;
    let ask = async |name: &str, rtype: RecordType, values: &[&str]| {
        let values: BTreeSet<_> = values.iter().map(|value| RecordValue::parse(rtype, value).unwrap()).collect();
        let name = format!("{name}.example.com").parse().unwrap();
        verdict(Check::Dns(DnsCheck { target: target(address), name, rtype, values }), LONG).await
    };
    let a = RecordType::A;
    // The first also shows that a lost query is sent again.
    assert_eq!(ask("app", a, &[]).await, "pass");
    assert_eq!(ask("app", a, &["203.0.113.11", "203.0.113.10"]).await, "pass");
    assert_eq!(ask("app", a, &["203.0.113.10"]).await, "DNS: answers 203.0.113.10 203.0.113.11, 203.0.113.10 wanted");
    assert_eq!(ask("big", a, &["203.0.113.11", "203.0.113.10"]).await, "pass", "truncated, so asked over TCP");
    assert_eq!(ask("alias", RecordType::Cname, &["eu.example.net"]).await, "pass");
    assert_eq!(ask("empty", a, &[]).await, "DNS: the answer has no A record");
    assert_eq!(ask("app", RecordType::Aaaa, &[]).await, "DNS: the answer has no AAAA record");
    assert_eq!(ask("none", a, &[]).await, "DNS: Non-Existent Domain, NOERROR wanted");
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn dns_servers_that_are_silent_or_gone() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let check = |address| {
        let name = "app.example.com".parse().unwrap();
        Check::Dns(DnsCheck { target: target(address), name, rtype: RecordType::A, values: [].into() })
    };
    let address = silent.local_addr().unwrap();
    assert_eq!(verdict(check(address), SHORT).await, "no whole answer within 300ms (waiting for an answer)");
    drop(silent);
    assert_eq!(verdict(check(address), LONG).await, "the connection broke: connection refused");
}

#[tokio::test]
async fn a_failure_of_a_process_that_stood_still_says_nothing() {
    let hung = http(Behaviour::Hang).await;
    let probe = |timeout| Probe { interval: timeout * 2, timeout, check: Check::Http(get(hung.address)) };
    let client = Client::new(rustls::RootCertStore::empty());
    for (stall, counts) in [(Duration::ZERO, true), (Duration::from_secs(1), false)] {
        let probe = probe(Duration::from_millis(100));
        let mut asked = std::pin::pin!(check::run(&client, &probe, None));
        assert!(futures::poll!(&mut asked).is_pending());
        // This runtime has one thread.
        std::thread::sleep(stall);
        assert_eq!(asked.await.is_some(), counts, "after {stall:?}");
    }
}

#[tokio::test]
async fn grpc_health() {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("up", ServingStatus::Serving).await;
    reporter.set_service_status("down", ServingStatus::NotServing).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let server = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming);
    let server = tokio::spawn(server);
    let ask = async |address, service: &str, timeout| {
        let check = GrpcCheck { target: target(address), tls: None, service: service.into() };
        verdict(Check::Grpc(check), timeout).await
    };
    assert_eq!(ask(address, "", LONG).await, "pass");
    assert_eq!(ask(address, "up", LONG).await, "pass");
    assert_eq!(ask(address, "down", LONG).await, "gRPC: NOT_SERVING, SERVING wanted");
    assert_eq!(ask(address, "unknown", LONG).await, "gRPC: status NotFound");
    server.abort();
    let hung = http(Behaviour::Hang).await;
    assert_eq!(ask(hung.address, "", SHORT).await, "no whole answer within 300ms (waiting for an answer)");
    let other = http(Behaviour::Reply(b"HTTP/1.1 200 OK\r\n\r\n".to_vec())).await;
    let seen = ask(other.address, "", LONG).await;
    assert!(seen.starts_with("gRPC: "), "{seen}");
    assert_eq!(ask(vacant(), "", LONG).await, "cannot connect: connection refused");
}
