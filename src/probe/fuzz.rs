//! What probed endpoints answer: whole HTTP and gRPC conversations, DNS messages, redirects, certificates.

use std::{cell::RefCell, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    runtime::Runtime,
};

use super::{
    check::{Answer, Failure, Progress},
    dns, grpc, http, tls,
};
use crate::{
    core::{
        record::{RecordType, RecordValue},
        report::{DETAIL_LIMIT, Observation},
        service::{DnsCheck, GrpcCheck, HttpCheck, Scalar, Target as Endpoint},
    },
    fuzz::{Target, joined, split},
};

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "probe-http", run: http_answer, seeds: http_answers },
    Target { name: "probe-redirect", run: redirect, seeds: redirects },
    Target { name: "probe-dns", run: dns_answer, seeds: dns_answers },
    Target { name: "probe-grpc", run: grpc_answer, seeds: grpc_answers },
];

fn endpoint() -> Endpoint {
    Endpoint { host: "192.0.2.1".to_owned(), port: 80 }
}

fn http_check() -> HttpCheck {
    HttpCheck {
        target: endpoint(),
        tls: None,
        host: Some("app.example.com".to_owned()),
        path: "/health/ready?x=1".to_owned(),
        method: "GET".to_owned(),
        statuses: [200, 204].into(),
        json: [("/status".to_owned(), Scalar::Text("UP".to_owned())), ("/deep/0/~1".to_owned(), Scalar::Integer(3))]
            .into(),
        headers: [("x-region".to_owned(), "eu-west-3".to_owned())].into(),
        body: Some("UP".to_owned()),
        redirects: 3,
    }
}

/// What is told of an answer is short, whatever the answer was.
fn told(answer: Result<Answer, Failure>) {
    let (failure, dependencies) = match answer {
        Ok(answer) => (answer.mismatch, answer.dependencies),
        Err(failure) => (Some(failure), vec![]),
    };
    let seen = failure.map_or_else(Observation::pass, |failure| Observation::fail(&failure.to_string()));
    let seen = seen.with_dependencies(dependencies.iter().map(String::as_str));
    assert!(seen.reason.len() <= DETAIL_LIMIT && !seen.reason.contains(char::is_control), "{:?}", seen.reason);
    assert!(seen.dependencies.iter().all(|name| name.len() <= DETAIL_LIMIT));
}

/// Runs a conversation with somebody who says `input`, whatever is asked, and then hangs up.
fn converse<F: Future>(input: &[u8], ask: impl FnOnce(DuplexStream) -> F) -> F::Output {
    thread_local! {
        static RUNTIME: RefCell<Runtime> = RefCell::new(
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"),
        );
    }
    let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
    let speak = async {
        let _ = theirs.write_all(input).await;
        let _ = theirs.shutdown().await;
        // What was asked is taken, so that nobody waits for room.
        let mut asked = [0; 4096];
        while theirs.read(&mut asked).await.is_ok_and(|read| read > 0) {}
    };
    RUNTIME.with_borrow(|runtime| {
        runtime.block_on(async {
            let mut ask = std::pin::pin!(ask(ours));
            tokio::select! {
                biased;
                answer = &mut ask => return answer,
                () = speak => {}
            }
            ask.await
        })
    })
}

fn http_answer(input: &[u8]) {
    let check = http_check();
    let region = "eu-west-3".parse().ok();
    let answer = converse(input, |stream| async move {
        let request = http::request(&check, &check.path)?;
        http::exchange(TokioIo::new(stream), request, &check, region.as_ref(), &Progress::default()).await
    });
    match answer {
        Ok(http::Step::Done(answer)) => told(Ok(answer)),
        Ok(http::Step::Redirect(location)) => drop(http::redirected(&http_check(), "/a/b", &location)),
        Err(failure) => told(Err(failure)),
    }
}

fn http_answers() -> Vec<Vec<u8>> {
    let body =
        r#"{"status":"UP","region":"eu-west-3","deep":[{"/":3}],"dependencies":{"db":{"status":"DOWN"},"s3":"UP"}}"#;
    let json = "Content-Type: application/json; charset=utf-8\r\nX-Region: eu-west-3\r\n";
    let sized =
        |head: &str, body: &str| format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n{json}\r\n{body}", body.len());
    let chunked = format!(
        "HTTP/1.1 200 OK\r\n{json}Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"a\":\r\n3;x=y\r\n 1}}\r\n0\r\nX: y\r\n\r\n"
    );
    vec![
        sized("200 OK", body).into(),
        sized("503 Service Unavailable", body).into(),
        sized("200 OK", &"[".repeat(60_000)).into(),
        chunked.into(),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n{json}\r\n{{").into(),
        format!("HTTP/1.1 200 OK\r\n{json}Transfer-Encoding: chunked\r\n\r\nfffffffffffffff0\r\n{{").into(),
        "HTTP/1.1 302 Found\r\nLocation: https://app.example.com/x?y\r\n\r\n".into(),
        "HTTP/1.0 200 OK\r\n\r\nUP".into(),
    ]
}

fn redirect(input: &[u8]) {
    let Ok(location) = std::str::from_utf8(input) else { return };
    match http::redirected(&http_check(), "/health/ready?x=1", location) {
        // It is asked for, or refused, as any other path.
        Ok(path) => drop(http::request(&http_check(), &path)),
        Err(failure) => told(Err(failure)),
    }
}

fn redirects() -> Vec<Vec<u8>> {
    ["/live", "live?x=y#z", "//app.example.com/x", "http://app.example.com:80/é", "https://[::1]:8443/", "http://a@b/"]
        .map(Vec::from)
        .to_vec()
}

/// The type that was asked for, and the answer.
fn dns_answer(input: &[u8]) {
    let Some((kind, bytes)) = split(input) else { return };
    let rtype = [RecordType::A, RecordType::Aaaa, RecordType::Cname][usize::from(kind) % 3];
    let check = DnsCheck {
        target: endpoint(),
        name: "www.example.test".parse().expect("a name"),
        rtype,
        values: [RecordValue::A([192, 0, 2, 1].into())].into(),
    };
    let mut query = dns::query(&check).expect("a query");
    if let Some((id, _)) = bytes.split_first_chunk() {
        query.metadata.id = u16::from_be_bytes(*id);
    }
    if let Some(answer) = dns::answers(&query, bytes) {
        told(Ok(Answer::new(dns::judge(&check, &answer))));
    }
}

fn dns_answers() -> Vec<Vec<u8>> {
    let header = [0, 7, 0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0];
    let question = b"\x03www\x07example\x04test\x00\x00\x01\x00\x01";
    let record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01";
    let alias = b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x04\x01a\xc0\x10";
    // A name that points to itself.
    let spin = b"\xc0\x21\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x02\xc0\x21";
    let of = |record: &[u8]| joined(0, [&header[..], question, record].concat());
    vec![of(record), of(alias), of(spin)]
}

fn grpc_answer(input: &[u8]) {
    let check = GrpcCheck { target: endpoint(), tls: None, service: "app".to_owned() };
    let asked = |stream| async move {
        let asked = grpc::ask(stream, &check);
        // HTTP/2 keeps a connection open for as long as the frames make sense.
        tokio::time::timeout(Duration::from_millis(20), asked).await
    };
    if let Ok(answer) = converse(input, asked) {
        told(answer);
    }
}

fn grpc_answers() -> Vec<Vec<u8>> {
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    let settings = [frame(4, 0, 0, &[]), frame(4, 1, 0, &[])].concat();
    // `:status: 200`, `content-type: application/grpc`; then SERVING; then `grpc-status: 0`.
    let head = b"\x88\x5f\x10application/grpc";
    let trailer = b"\x00\x0bgrpc-status\x010";
    let answer = |message: &[u8]| {
        let parts = [frame(1, 4, 1, head), frame(0, 0, 1, message), frame(1, 5, 1, trailer)];
        [&settings[..], &parts.concat()].concat()
    };
    vec![
        answer(&[0, 0, 0, 0, 2, 8, 1]),
        answer(&[0, 0, 0, 0, 2, 8, 2]),
        // A message that says it is 4 GiB long.
        answer(&[0, 0xff, 0xff, 0xff, 0xff, 8, 1]),
        answer(&[1, 0, 0, 0, 2, 8, 1]),
        settings,
    ]
}

/// A certificate's dates.
pub(crate) fn life(der: &[u8]) {
    let now = Duration::from_secs(1_795_424_645);
    if let Err(failure) = tls::check_life(&der.into(), now, Duration::from_hours(24)) {
        told(Err(failure));
    }
}
