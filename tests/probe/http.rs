//! HTTP endpoints that answer well, badly, slowly, without end, or not at all.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use quorate::core::{
    report::Outcome,
    service::{Check, HttpCheck, Scalar},
};

use super::{
    ask, get,
    servers::{Behaviour, http, response, vacant},
};

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(300);

/// The reason, or `pass`, and the failing dependencies.
async fn verdict(behaviour: Behaviour, timeout: Duration, change: impl FnOnce(&mut HttpCheck)) -> String {
    let server = http(behaviour).await;
    let mut check = get(server.address);
    change(&mut check);
    let begun = Instant::now();
    let seen = ask(Check::Http(check), timeout).await;
    assert!(begun.elapsed() < timeout + Duration::from_millis(400), "the deadline holds: {:?}", begun.elapsed());
    let words = if seen.outcome == Outcome::Pass { "pass".to_owned() } else { seen.reason };
    seen.dependencies.iter().fold(words, |words, name| format!("{words} [{name}]"))
}

async fn reply(bytes: Vec<u8>, change: impl FnOnce(&mut HttpCheck)) -> String {
    verdict(Behaviour::Reply(bytes), LONG, change).await
}

fn up() -> BTreeMap<String, Scalar> {
    [("/status".to_owned(), Scalar::Text("UP".into()))].into()
}

#[tokio::test]
async fn statuses() {
    let ok = || response("200 OK", "text/plain", "fine");
    assert_eq!(reply(ok(), |_| {}).await, "pass");
    assert_eq!(reply(ok(), |check| check.method = "HEAD".into()).await, "pass");
    let down = || response("503 Service Unavailable", "text/plain", "no");
    assert_eq!(reply(down(), |_| {}).await, "status 503, 200 wanted");
    assert_eq!(reply(down(), |check| check.statuses = [200, 204].into()).await, "status 503, 200 or 204 wanted");
    assert_eq!(reply(down(), |check| check.statuses = [503].into()).await, "pass");
}

#[tokio::test]
async fn json_and_the_body_of_laravel() {
    let json = |status: &str, body: &str| response(status, "application/json; charset=utf-8", body);
    let well = r#"{"status":"UP","dependencies":{"db":{"status":"UP"}},"region":"eu-west-3"}"#;
    let ill = r#"{"status":"DOWN","dependencies":{"db":"DOWN","cache":"UP"},"region":"eu-west-3"}"#;
    let elsewhere = r#"{"status":"UP","region":"us-east-1"}"#;
    let cases: [(Vec<u8>, BTreeMap<String, Scalar>, &str); 12] = [
        (json("200 OK", well), up(), "pass"),
        (json("200 OK", ill), up(), r#"JSON: /status is not "UP" [db]"#),
        (json("200 OK", ill), [].into(), "pass [db]"),
        (json("503 No", ill), up(), "status 503, 200 wanted [db]"),
        (json("200 OK", elsewhere), up(), "answers for region us-east-1 (wrong backend)"),
        (json("200 OK", elsewhere), [].into(), "answers for region us-east-1 (wrong backend)"),
        // A body is JSON when it says so or when JSON is expected.
        (response("200 OK", "text/html", elsewhere), [].into(), "pass"),
        (response("200 OK", "text/html", well), up(), "pass"),
        (json("200 OK", "{}"), up(), "JSON: nothing stands at /status"),
        (json("200 OK", "<html>"), up(), "the body is not JSON"),
        (json("200 OK", "<html>"), [].into(), "pass"),
        (
            json("200 OK", r#"{"a":{"b":[true,3]}}"#),
            [("/a/b/0".into(), Scalar::Bool(true)), ("/a/b/1".into(), Scalar::Integer(4))].into(),
            "JSON: /a/b/1 is not 4",
        ),
    ];
    for (bytes, wanted, expected) in cases {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        assert_eq!(reply(bytes, |check| check.json = wanted).await, expected, "{shown}");
    }
}

#[tokio::test]
async fn headers_and_bodies() {
    let page = || response("200 OK", "text/html", "<p>all systems go</p>");
    let header = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
    assert_eq!(reply(page(), |check| check.headers = header("content-type", "text/html")).await, "pass");
    assert_eq!(
        reply(page(), |check| check.headers = header("content-type", "text/plain")).await,
        "header content-type has another value than the one wanted"
    );
    assert_eq!(reply(page(), |check| check.headers = header("x-app", "1")).await, "header x-app is missing");
    assert_eq!(reply(page(), |check| check.body = Some("systems go".into())).await, "pass");
    assert_eq!(
        reply(page(), |check| check.body = Some("maintenance".into())).await,
        "the body does not contain the text wanted"
    );
}

#[tokio::test]
async fn hung_trickling_and_cut_off() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n".to_vec();
    assert_eq!(verdict(Behaviour::Hang, SHORT, |_| {}).await, "no whole answer within 300ms (waiting for an answer)");
    assert_eq!(
        verdict(Behaviour::Trickle(head.clone()), SHORT, |_| {}).await,
        "no whole answer within 300ms (reading the answer)"
    );
    assert_eq!(
        verdict(Behaviour::Trickle(b"HTTP/1.1 200 OK\r\nx-slow: ".to_vec()), SHORT, |_| {}).await,
        "no whole answer within 300ms (waiting for an answer)"
    );
    // A body shorter than announced is not whole.
    let short = reply(head, |_| {}).await;
    assert!(short.starts_with("not HTTP: ") || short.starts_with("the connection broke"), "{short}");
}

#[tokio::test]
async fn a_flood_is_cut_and_fails_only_where_the_rest_matters() {
    let flood = |begin: &str| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
        Behaviour::Flood(format!("{head}{begin}").into_bytes())
    };
    assert_eq!(verdict(flood(""), LONG, |_| {}).await, "pass");
    assert_eq!(verdict(flood("hello"), LONG, |check| check.body = Some("hello".into())).await, "pass");
    assert_eq!(
        verdict(flood(""), LONG, |check| check.body = Some("hello".into())).await,
        "the body does not contain the text wanted in its first 64 KiB"
    );
    assert_eq!(
        verdict(flood(""), LONG, |check| check.json = up()).await,
        "the body is longer than 64 KiB: JSON that long is not read"
    );
    let endless_head = Behaviour::Flood(b"HTTP/1.1 200 OK\r\nx-flood: ".to_vec());
    let seen = verdict(endless_head, LONG, |_| {}).await;
    assert!(seen.starts_with("not HTTP: "), "{seen}");
}

#[tokio::test]
async fn garbage_and_refusals() {
    for garbage in ["SSH-2.0-OpenSSH_9.2\r\n", "HTTP/9.9 abc\r\n\r\n", "\u{0}\u{1}\u{2}\r\n\r\n"] {
        let seen = reply(garbage.into(), |_| {}).await;
        assert!(seen.starts_with("not HTTP: "), "{garbage:?}: {seen}");
        assert!(!seen.contains("OpenSSH"), "no byte of an answer is repeated: {seen}");
    }
    let seen = verdict(Behaviour::Close, LONG, |_| {}).await;
    assert!(seen.starts_with("not HTTP: ") || seen.starts_with("the connection broke"), "{seen}");
    let seen = ask(Check::Http(get(vacant())), LONG).await;
    assert_eq!((seen.outcome, seen.reason.as_str()), (Outcome::Fail, "cannot connect: connection refused"));
}

#[tokio::test]
async fn redirects_are_followed_within_the_host_and_as_often_as_configured() {
    let behaviour = Behaviour::ByPath(Arc::new(|head| {
        let to = |location: &str| {
            format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n").into_bytes()
        };
        match head.split(' ').nth(1).unwrap_or_default() {
            "/health" => to("/a/b?x=1"),
            "/a/b?x=1" => to("c"),
            "/a/c" => to("http://app.example.com/end#here"),
            "/end" => response("200 OK", "text/plain", "end"),
            "/away" => to("http://other.example.com/?token=secret"),
            "/https" => to("https://app.example.com/"),
            _ => to("/loop"),
        }
    }));
    let follow = async |path: &str, redirects: u8| {
        verdict(behaviour.clone(), LONG, |check| {
            check.host = Some("app.example.com".into());
            check.path = path.into();
            check.redirects = redirects;
        })
        .await
    };
    assert_eq!(follow("/health", 0).await, "status 302, 200 wanted");
    assert_eq!(follow("/health", 2).await, "redirects more than 2 times");
    assert_eq!(follow("/health", 3).await, "pass");
    assert_eq!(follow("/loop", 9).await, "redirects more than 9 times");
    assert_eq!(follow("/away", 3).await, "redirects to http://other.example.com, which is not followed");
    assert_eq!(follow("/https", 3).await, "redirects to https://app.example.com, which is not followed");
}

#[tokio::test]
async fn what_is_sent() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&heads);
    let behaviour = Behaviour::ByPath(Arc::new(move |head| {
        keep.lock().unwrap().push(head.to_ascii_lowercase());
        response("200 OK", "text/plain", "")
    }));
    let server = http(behaviour).await;
    let mut check = get(server.address);
    check.path = "/up?deep=1".into();
    ask(Check::Http(check.clone()), LONG).await;
    check.host = Some("app.example.com".into());
    ask(Check::Http(check), LONG).await;
    let heads = heads.lock().unwrap();
    assert!(heads[0].starts_with("get /up?deep=1 http/1.1\r\n"), "{}", heads[0]);
    assert!(heads[0].contains(&format!("\r\nhost: {}\r\n", server.address)), "{}", heads[0]);
    assert!(heads[1].contains("\r\nhost: app.example.com\r\n"), "{}", heads[1]);
    assert!(heads[1].contains("\r\nconnection: close\r\n"), "{}", heads[1]);
}

#[tokio::test]
async fn names_are_resolved_and_every_address_is_tried() {
    let server = http(Behaviour::Reply(response("200 OK", "text/plain", ""))).await;
    let mut check = get(server.address);
    // On most systems `localhost` is ::1 first, where nothing listens.
    check.target.host = "localhost".into();
    assert_eq!(ask(Check::Http(check.clone()), LONG).await.outcome, Outcome::Pass);
    check.target.host = "does-not-exist.invalid".into();
    let seen = ask(Check::Http(check), LONG).await;
    assert_eq!((seen.outcome, seen.reason.as_str()), (Outcome::Fail, "the name does not resolve: not found"));
}
