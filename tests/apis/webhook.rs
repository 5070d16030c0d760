//! `webhook` against the endpoint that `deploy` shows, which shares no code with it.

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use quorate::{
    core::record::RecordType,
    dns::{
        Grade, Provider, ProviderError,
        webhook::{Webhook, WebhookConfig},
    },
    secret::Secret,
};
use tempfile::TempDir;

use crate::{
    contract::{self, EU, Http, Subject, US, record, switch, www},
    dns_server::available,
    fake_http::{FakeHttp, Reply, forward},
};

const SECRET: &str = "fake-webhook-secret-0815";
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/webhook-example.py");

/// The example, running; killed on drop.
struct Endpoint {
    child: Child,
    address: SocketAddr,
    dir: TempDir,
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
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new("python3")
            .args([Path::new(EXAMPLE), Path::new("0"), &dir.path().join("records.json")])
            .env("QUORATE_SECRET", SECRET)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = (Ipv4Addr::LOCALHOST, line.trim().parse().unwrap()).into();
        seed(dir.path());
        Some(Self { child, address, dir })
    }

    /// The endpoint, behind a proxy that can lose answers.
    async fn behind_a_proxy(&self) -> FakeHttp {
        let address = self.address;
        FakeHttp::start(move |call| forward(address, call)).await
    }
}

/// `www` in the EU, without a fence.
pub fn seed(dir: &Path) {
    let text = format!(r#"{{"www.example.test A": {{"values": ["{EU}"], "ttl": 60, "fence": null}}}}"#);
    std::fs::write(dir.join("records.json"), text).unwrap();
}

/// What the example's file holds for `www`: values and fence.
pub fn world(dir: &Path) -> (Vec<String>, Vec<String>) {
    let text = std::fs::read_to_string(dir.join("records.json")).unwrap();
    let records: serde_json::Value = serde_json::from_str(&text).unwrap();
    let www = &records["www.example.test A"];
    let mut values: Vec<_> = www["values"].as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect();
    values.sort();
    (values, www["fence"].as_str().map(str::to_owned).into_iter().collect())
}

/// Writes another fence into it.
pub fn set_fence(dir: &Path, text: &str) {
    let path = dir.join("records.json");
    let mut records: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    records["www.example.test A"]["fence"] = text.into();
    std::fs::write(&path, records.to_string()).unwrap();
}

fn config(http: &FakeHttp) -> WebhookConfig {
    WebhookConfig {
        url: format!("http://{}/quorate", http.address).parse().unwrap(),
        secret: Secret::new(SECRET),
        grade: Grade::B,
        timeout: Duration::from_secs(10),
    }
}

fn text(status: u16, body: &str) -> Reply {
    Reply { status, headers: vec![], body: body.to_owned() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_contract() {
    let Some(endpoint) = Endpoint::start() else { return };
    let fake = endpoint.behind_a_proxy().await;
    let webhook = Webhook::new(&config(&fake)).unwrap();
    let impatient = Webhook::new(&WebhookConfig { timeout: Duration::from_millis(400), ..config(&fake) }).unwrap();
    let mut too_many = text(429, "slowly");
    too_many.headers.push(("retry-after", "7".to_owned()));
    let http = Http {
        fake: &fake,
        read: ("POST", "/quorate"),
        write: ("POST", "/quorate"),
        too_many,
        expired: text(401, "the signature is old"),
        forbidden: text(403, "no"),
    };
    let subject = Subject {
        name: "webhook",
        provider: &webhook,
        impatient: &impatient,
        fail_next: &|side, wrong| http.fail_next(side, wrong),
        writes: &|| http.writes(),
        world: &|| world(endpoint.dir.path()),
        set_fence: &|text| set_fence(endpoint.dir.path(), text),
        says_how_long: true,
        secrets: &[SECRET],
    };
    contract::run(&subject).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_call_that_was_not_signed_with_the_secret_changes_nothing() {
    let Some(endpoint) = Endpoint::start() else { return };
    let fake = endpoint.behind_a_proxy().await;
    let wrong = Webhook::new(&WebhookConfig { secret: Secret::new("another-secret-of-16"), ..config(&fake) }).unwrap();
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
    let webhook = Webhook::new(&config(&tampering)).unwrap();
    let error = switch(&webhook, &www(), &[US], 1).await.unwrap_err();
    assert!(matches!(error, ProviderError::Permanent { .. }), "{error:?}");
    let old = FakeHttp::start(move |call| {
        let mut call = call.clone();
        let signature = call.header("quorate-signature").replacen("t=1", "t=0", 1);
        call.headers.insert("quorate-signature", signature.parse().unwrap());
        forward(address, &call)
    })
    .await;
    assert!(Webhook::new(&config(&old)).unwrap().read(&www()).await.is_err());
    assert_eq!(world(endpoint.dir.path()), (vec![EU.to_owned()], vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn grades_are_asserted_and_never_a() {
    let Some(endpoint) = Endpoint::start() else { return };
    let fake = endpoint.behind_a_proxy().await;
    for (grade, good) in [(Grade::A, false), (Grade::B, true), (Grade::C, true)] {
        let made = Webhook::new(&WebhookConfig { grade, ..config(&fake) });
        assert_eq!(made.map(|webhook| webhook.grade()).ok(), good.then_some(grade));
    }
    let short = Webhook::new(&WebhookConfig { secret: Secret::new("short"), ..config(&fake) }).unwrap_err();
    assert!(short.contains("5 bytes") && !short.contains("short"), "{short}");
    // A record that is not there is made.
    let webhook = Webhook::new(&config(&fake)).unwrap();
    let fresh = record("fresh.example.test", RecordType::Aaaa);
    let receipt = switch(&webhook, &fresh, &["2001:db8::20"], 7).await.unwrap();
    assert!(receipt.0.starts_with("epoch 7 of prod is in "), "{receipt:?}");
    let findings = webhook.rights(&fresh).await;
    assert_eq!(findings.len(), 3, "{findings:?}");
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
