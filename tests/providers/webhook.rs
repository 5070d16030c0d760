//! `webhook` at the endpoint that `deploy` shows, which shares no code with it.

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use quorate::{
    core::record::{Record, RecordType},
    dns::{
        Grade, Provider, ProviderError, serving,
        webhook::{Webhook, WebhookConfig},
    },
    secret::Secret,
};

use crate::{
    book::Book,
    changes::{ADDRESSES, EU, US, nothing, record, switch, www},
    contract::{Handle, Of, Subject, Trouble, Truth},
    dns_server::available,
    fake_http::{FakeHttp, forward},
    fault_proxy::FaultProxy,
    over_http::{OverHttp, Refusals, refusal},
};

const SECRET: &str = "fake-webhook-secret-0815";
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/webhook-example.py");
/// A reading and a write are the same call, told apart by the body: what is armed meets the next of either.
const CALL: (&str, &str) = ("POST", "/quorate");

/// The example, running; killed on drop.
struct Endpoint {
    child: Child,
    address: SocketAddr,
    book: Book,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // The child is our own and not yet waited for, so its pid cannot have been given to anything else.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Endpoint {
    fn start() -> Option<Self> {
        if !available("python3", "python3") {
            return None;
        }
        let book = Book::seeded(&www(), EU);
        let mut child = Command::new("python3")
            .args([Path::new(EXAMPLE), Path::new("0"), &book.path()])
            .env("QUORATE_SECRET", SECRET)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = (Ipv4Addr::LOCALHOST, line.trim().parse().unwrap()).into();
        Some(Self { child, address, book })
    }
}

struct AtEndpoint {
    endpoint: Endpoint,
    http: OverHttp,
}

pub async fn subject() -> Option<Box<dyn Subject>> {
    let endpoint = Endpoint::start()?;
    let refused = |status, text: &str| refusal(status, "text/plain", text);
    let http = OverHttp {
        proxy: FaultProxy::start(endpoint.address).await,
        read: CALL,
        write: CALL,
        refusals: Refusals {
            too_many: refused(429, "slowly"),
            expired: refused(401, "the signature is old"),
            forbidden: refused(403, "no"),
        },
    };
    Some(Box::new(AtEndpoint { endpoint, http }))
}

fn config(address: SocketAddr) -> WebhookConfig {
    WebhookConfig {
        url: format!("http://{address}/quorate").parse().unwrap(),
        secret: Secret::new(SECRET),
        grade: Grade::B,
        timeout: Duration::from_secs(30),
    }
}

impl AtEndpoint {
    /// As the leader asks it for a service.
    fn with(&self, timeout: Duration) -> Handle {
        Arc::new(Webhook::new(&WebhookConfig { timeout, ..config(self.http.proxy.address) }).unwrap())
    }
}

#[async_trait]
impl Subject for AtEndpoint {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn provider(&self) -> Handle {
        self.with(Duration::from_secs(30))
    }

    fn record(&self) -> Record {
        www()
    }

    fn values(&self) -> [&'static str; 3] {
        ADDRESSES
    }

    fn absent(&self) -> Result<Record, &'static str> {
        Ok(nothing())
    }

    fn misfit(&self) -> Result<Record, &'static str> {
        Err("whoever runs the endpoint or program says what it can switch")
    }

    async fn truth(&self) -> Truth {
        self.endpoint.book.truth(&www())
    }

    async fn put_fence(&self, text: Option<&str>) {
        self.endpoint.book.put_fence(&www(), text);
    }

    async fn arm(&self, of: Of, trouble: Trouble) -> Result<Handle, &'static str> {
        self.http.fail_next(of, trouble);
        Ok(if matches!(trouble, Trouble::Hang { .. }) { self.with(Duration::from_secs(3)) } else { self.provider() })
    }

    async fn disarm(&self) -> usize {
        self.http.proxy.disarm()
    }

    async fn sent(&self) -> usize {
        self.http.sent()
    }

    async fn caught(&self) {
        self.http.proxy.caught().await;
    }

    async fn release(&self) {
        self.http.proxy.release();
    }

    fn secrets(&self) -> Vec<String> {
        vec![SECRET.to_owned()]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_call_that_was_not_signed_with_the_secret_changes_nothing() {
    let Some(endpoint) = Endpoint::start() else { return };
    let wrong =
        Webhook::new(&WebhookConfig { secret: Secret::new("another-secret-of-16"), ..config(endpoint.address) })
            .unwrap();
    let error = wrong.read(&www()).await.unwrap_err();
    assert!(matches!(&error, ProviderError::Permanent { hint, .. } if hint.contains("same secret")), "{error:?}");
    assert!(!format!("{error:?}{wrong:?}").contains("another-secret"));

    // A body that was changed on its way, a signature that is old, none at all.
    let address = endpoint.address;
    let tampering = FakeHttp::start(move |call| {
        let mut call = call.clone();
        let body = String::from_utf8(call.body).unwrap();
        call.body = body.replace(US, "192.0.2.66").into_bytes();
        call.headers.insert("content-length", call.body.len().into());
        forward(address, &call)
    })
    .await;
    let webhook = Webhook::new(&config(tampering.address)).unwrap();
    let error = switch(&webhook, &www(), &[US], 1).await.unwrap_err();
    assert!(matches!(error, ProviderError::Permanent { .. }), "{error:?}");
    let old = FakeHttp::start(move |call| {
        let mut call = call.clone();
        let signature = call.header("quorate-signature").replacen("t=1", "t=0", 1);
        call.headers.insert("quorate-signature", signature.parse().unwrap());
        forward(address, &call)
    })
    .await;
    assert!(Webhook::new(&config(old.address)).unwrap().read(&www()).await.is_err());
    assert_eq!(endpoint.book.truth(&www()), Truth { values: vec![EU.to_owned()], fence: vec![] });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn grades_are_asserted_and_never_a() {
    let Some(endpoint) = Endpoint::start() else { return };
    for (grade, good) in [(Grade::A, false), (Grade::B, true), (Grade::C, true)] {
        let made = Webhook::new(&WebhookConfig { grade, ..config(endpoint.address) });
        assert_eq!(made.map(|webhook| webhook.grade()).ok(), good.then_some(grade));
    }
    let short = Webhook::new(&WebhookConfig { secret: Secret::new("short"), ..config(endpoint.address) }).unwrap_err();
    assert!(short.contains("5 bytes") && !short.contains("short"), "{short}");
    // A record that is not there is made.
    let webhook = Webhook::new(&config(endpoint.address)).unwrap();
    let fresh = record("fresh.example.test", RecordType::Aaaa);
    let receipt = switch(&webhook, &fresh, &["2001:db8::20"], 7).await.unwrap();
    assert!(receipt.0.starts_with("epoch 7 of None in prod is in "), "{receipt:?}");
    let findings = webhook.rights(&fresh).await;
    assert_eq!(findings.len(), 3, "{findings:?}");
}

/// An endpoint that serves several services is told which one it is asked for, under the signature.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_call_names_the_service_it_is_for() {
    let Some(endpoint) = Endpoint::start() else { return };
    let questions = Arc::new(Mutex::new(vec![]));
    let (seen, address) = (questions.clone(), endpoint.address);
    let listening = FakeHttp::start(move |call| {
        seen.lock().unwrap().push(serde_json::from_slice::<serde_json::Value>(&call.body).unwrap());
        forward(address, call)
    })
    .await;
    let webhook: Handle = Arc::new(Webhook::new(&config(listening.address)).unwrap());
    let of = |service: &str| serving(&webhook, &service.parse().unwrap());
    let receipt = switch(&*of("web"), &www(), &[US], 1).await.unwrap();
    assert!(receipt.0.starts_with("epoch 1 of web in prod is in "), "{receipt:?}");
    switch(&*of("shop"), &record("shop.example.test", RecordType::A), &[EU], 1).await.unwrap();
    of("shop").rights(&www()).await;
    // A record that no service has: `provider check --record`.
    webhook.read(&nothing()).await.unwrap();
    let asked: Vec<_> =
        questions.lock().unwrap().iter().map(|q| format!("{} for {}", q["call"], q["service"])).collect();
    let wanted = [
        r#""read" for "web""#,
        r#""write" for "web""#,
        r#""read" for "shop""#,
        r#""write" for "shop""#,
        r#""read" for "shop""#,
        r#""read" for null"#,
    ];
    assert_eq!(asked, wanted);
    assert_eq!(endpoint.book.service(&www()).as_deref(), Some("web"));
}

/// What the README tells people to compute is what the example computes.
#[test]
fn the_readme_shows_the_verification_of_the_example() {
    let readme = include_str!("../../README.md");
    let example = std::fs::read_to_string(EXAMPLE).unwrap();
    let start = example.find("def is_genuine").unwrap();
    let function = example[start..].split("\n\n\n").next().unwrap();
    assert!(readme.contains(function), "README.md lacks\n{function}");
}
