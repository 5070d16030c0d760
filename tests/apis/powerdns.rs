//! `powerdns` against Debian's `PowerDNS`, and `rfc2136` against the same server.

use std::{sync::Arc, time::Duration};

use quorate::{
    core::{
        record::{Record, RecordType},
        safety::RuleOutcome,
    },
    dns::{
        Grade, Provider, ProviderError, Reading,
        inspect::subject,
        powerdns::{PowerDns, PowerDnsConfig},
        rfc2136::{Rfc2136, Rfc2136Config},
        tsig::Algorithm,
    },
    secret::Secret,
};

use crate::{
    contract::{self, EU, Http, Subject, US, ZONE, change, record, rrset, switch, www},
    dns_server::{KEY_NAME, SECRET},
    fake_http::{FakeHttp, Reply},
    powerdns_server::{API_KEY, PowerDnsServer},
};

const WWW: &str = "www.example.test";
const FENCE: &str = "_quorate.www.example.test";
const RECORDS: [(&str, &str, u32, &str); 2] = [(WWW, "A", 60, EU), ("cdn.example.test", "CNAME", 60, "eu.example.net")];

/// The server, and a proxy before its API that can lose answers.
async fn server() -> Option<(Arc<PowerDnsServer>, FakeHttp)> {
    let server = Arc::new(PowerDnsServer::start(ZONE, &RECORDS)?);
    let forward = Arc::clone(&server);
    let http = FakeHttp::start(move |call| forward.forward(call)).await;
    Some((server, http))
}

fn config(http: &FakeHttp) -> PowerDnsConfig {
    PowerDnsConfig {
        base_url: format!("http://{}", http.address).parse().unwrap(),
        server: PowerDnsConfig::SERVER.to_owned(),
        api_key: Secret::new(API_KEY),
        timeout: Duration::from_secs(10),
    }
}

fn text(status: u16, body: &str) -> Reply {
    Reply { status, headers: vec![], body: body.to_owned() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_contract() {
    let Some((server, http)) = server().await else { return };
    let powerdns = PowerDns::new(&config(&http)).unwrap();
    let impatient = PowerDns::new(&PowerDnsConfig { timeout: Duration::from_millis(400), ..config(&http) }).unwrap();
    let mut too_many = text(429, "Too Many Requests");
    too_many.headers.push(("retry-after", "7".to_owned()));
    let unquoted = |name: &str| server.dig(name, "TXT").iter().map(|text| text.trim_matches('"').to_owned()).collect();
    let http = Http {
        fake: &http,
        read: ("GET", "/zones/"),
        write: ("PATCH", "/zones/"),
        too_many,
        expired: text(401, "Unauthorized"),
        forbidden: text(403, "Forbidden"),
    };
    let subject = Subject {
        name: "powerdns",
        provider: &powerdns,
        impatient: &impatient,
        fail_next: &|side, wrong| http.fail_next(side, wrong),
        writes: &|| http.writes(),
        world: &|| (server.dig(WWW, "A"), unquoted(FENCE)),
        set_fence: &|text| {
            server.sql(&format!("UPDATE records SET content = '\"{text}\"' WHERE name = '{FENCE}' AND type = 'TXT';"));
        },
        says_how_long: true,
        secrets: &[API_KEY],
    };
    contract::run(&subject).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn aliases_new_records_disabled_values_and_refusals() {
    let Some((server, http)) = server().await else { return };
    let powerdns = PowerDns::new(&config(&http)).unwrap();
    assert_eq!(powerdns.grade(), Grade::C);
    let cdn = record("cdn.example.test", RecordType::Cname);
    switch(&powerdns, &cdn, &["us.example.net"], 1).await.unwrap();
    assert_eq!(server.dig("cdn.example.test", "CNAME"), ["us.example.net."]);
    let fresh = record("fresh.example.test", RecordType::Aaaa);
    let receipt = switch(&powerdns, &fresh, &["2001:db8::20", "2001:db8::21"], 1).await.unwrap();
    assert!(receipt.0.contains("serial 20"), "{receipt:?}");
    assert_eq!(server.dig("fresh.example.test", "AAAA"), ["2001:db8::20", "2001:db8::21"]);

    // What is disabled is no answer.
    server.sql(&format!(
        "INSERT INTO records (domain_id, name, type, ttl, content, prio, disabled, auth) VALUES (1, '{WWW}', 'A', 60, '192.0.2.99', 0, 1, 1);"
    ));
    assert_eq!(powerdns.read(&www()).await.unwrap().rrset, Some(rrset(RecordType::A, 60, &[EU])));
    switch(&powerdns, &www(), &[US], 1).await.unwrap();
    assert_eq!(server.dig(WWW, "A"), [US]);

    // A name that an alias stands at takes no address: the whole PATCH is refused, the fence as well.
    let blocked = record("cdn.example.test", RecordType::A);
    let fence = powerdns.read(&blocked).await.unwrap().fence;
    let error = powerdns.write(&change(&blocked, Reading { rrset: None, fence }, &[EU], 2)).await.unwrap_err();
    assert!(matches!(&error, ProviderError::Permanent { message, .. } if message.contains("422")), "{error:?}");
    assert_eq!(server.dig("_quorate.cdn.example.test", "TXT"), ["\"v=1 cluster=prod epoch=1\""]);

    let away =
        Record { zone: "example.invalid".parse().unwrap(), name: "www.example.invalid".parse().unwrap(), ..www() };
    let error = powerdns.read(&away).await.unwrap_err().to_string();
    assert!(error.contains("404") && error.contains("has the zone"), "{error}");

    let outcomes = |findings: &[quorate::dns::Finding]| {
        findings.iter().map(|finding| (finding.subject.to_string(), finding.outcome)).collect::<Vec<_>>()
    };
    let all = powerdns.rights(&www()).await;
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|finding| finding.outcome == RuleOutcome::Pass), "{all:?}");
    let gone = powerdns.rights(&away).await;
    assert_eq!(outcomes(&gone), [(subject::ZONE.to_owned(), RuleOutcome::Fail)]);
    let wrong = PowerDns::new(&PowerDnsConfig { api_key: Secret::new("wrong-key"), ..config(&http) }).unwrap();
    let findings = wrong.rights(&www()).await;
    assert_eq!(outcomes(&findings), [(subject::CREDENTIALS.to_owned(), RuleOutcome::Fail)]);
    assert!(!format!("{findings:?}{wrong:?}").contains("wrong-key"));
    assert!(wrong.policy(&[www()])[0].text.contains("rfc2136"));
}

/// The same server takes signed updates, and then refuses what comes late.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_signed_updates_the_same_server_has_grade_a() {
    let Some((server, _http)) = server().await else { return };
    let rfc2136 = Rfc2136::new(&Rfc2136Config {
        server: server.address().to_string().parse().unwrap(),
        key_name: KEY_NAME.parse().unwrap(),
        algorithm: Algorithm::HmacSha256,
        secret: Secret::new(SECRET),
        timeout: Duration::from_secs(10),
    })
    .unwrap();
    assert_eq!(rfc2136.grade(), Grade::A);
    switch(&rfc2136, &www(), &[EU], 1).await.unwrap();
    let old = rfc2136.read(&www()).await.unwrap();
    switch(&rfc2136, &www(), &[US], 2).await.unwrap();
    assert_eq!(server.dig(WWW, "A"), [US]);
    let error = rfc2136.write(&change(&www(), old, &[EU], 3)).await.unwrap_err();
    assert!(matches!(error, ProviderError::Stale(_)), "{error:?}");
    assert_eq!(
        (server.dig(WWW, "A"), server.dig(FENCE, "TXT")),
        (vec![US.to_owned()], vec!["\"v=1 cluster=prod epoch=2\"".to_owned()])
    );
}
