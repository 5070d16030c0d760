//! What is found out about rights without writing: against BIND, Knot and the fake of OVH's API.

use std::time::Duration;

use quorate::{
    core::{
        names::Epoch,
        record::{Fence, Record, RecordType, RecordValue, RrSet},
        safety::RuleOutcome::{self, Fail, Pass, Unknown},
    },
    dns::{
        Change, Finding, Provider, ProviderError,
        ovh::{Ovh, OvhConfig},
        rfc2136::{Rfc2136, Rfc2136Config, policy},
    },
    secret::Secret,
};

use crate::{
    dns_server::{DnsServer, FENCELESS_KEY, KEY_NAME, Kind, POWERLESS_KEY, SECRET, ZONE_KEY},
    fake_ovh::{APPLICATION_KEY, APPLICATION_SECRET, CONSUMER_KEY, FakeOvh},
};

const ZONE: &str = "example.test";

fn record(zone: &str, host: &str) -> Record {
    Record {
        provider: "main".parse().unwrap(),
        zone: zone.parse().unwrap(),
        name: format!("{host}.{zone}").parse().unwrap(),
        rtype: RecordType::A,
        ttl: 60,
    }
}

fn rfc2136(server: &DnsServer, key: &str, secret: &str) -> Rfc2136 {
    let config = Rfc2136Config {
        server: server.address().into(),
        key_name: key.parse().unwrap(),
        algorithm: "hmac-sha256".parse().unwrap(),
        secret: Secret::new(secret),
        timeout: Duration::from_secs(10),
    };
    Rfc2136::new(&config).unwrap()
}

fn outcomes(findings: &[Finding]) -> Vec<(&str, RuleOutcome)> {
    findings.iter().map(|found| (&*found.subject, found.outcome)).collect()
}

/// Everything that the zone says of itself and of what is asked about: it must not move.
fn standing(server: &DnsServer) -> Vec<Vec<String>> {
    [(ZONE, "SOA"), ("www.example.test", "A"), ("_quorate.www.example.test", "TXT")]
        .map(|(n, t)| server.dig(n, t))
        .into()
}

#[tokio::test]
async fn each_key_is_told_from_the_others_and_nothing_is_written() {
    let other = "b3RoZXIgc2VjcmV0OiBhIHRlc3Qga2V5LCAzMiBieXQ=";
    for server in [DnsServer::bind(ZONE, &["www"]), DnsServer::knot(ZONE, &["www"])].into_iter().flatten() {
        let before = standing(&server);
        let ground = [("credentials", Pass), ("clock", Pass), ("zone", Pass)];
        let rights = |of: [RuleOutcome; 2]| [&ground[..], &of.map(|outcome| ("rights", outcome))].concat();
        for (key, secret, wanted, said) in [
            (KEY_NAME, SECRET, rights([Pass, Pass]), "may change _quorate.www.example.test TXT"),
            (FENCELESS_KEY, SECRET, rights([Pass, Fail]), "may not change _quorate.www.example.test TXT"),
            // Knot answers even a question with BADKEY when no rule of the zone names the key.
            match server.kind {
                Kind::Bind => (POWERLESS_KEY, SECRET, rights([Fail, Fail]), "may not change www.example.test A"),
                Kind::Knot => (POWERLESS_KEY, SECRET, vec![("credentials", Fail)], "BADKEY"),
            },
            (ZONE_KEY, SECRET, rights([Unknown, Unknown]), "it cannot be told without writing"),
            (KEY_NAME, other, vec![("credentials", Fail)], "BADSIG"),
            ("unheard-of", SECRET, vec![("credentials", Fail)], "BADKEY"),
        ] {
            let found = rfc2136(&server, key, secret).rights(&record(ZONE, "www")).await;
            assert_eq!(outcomes(&found), wanted, "{:?} {key}: {found:#?}", server.kind);
            assert!(
                found.iter().any(|found| found.figure.contains(said)),
                "{:?} {key}: `{said}` in {found:#?}",
                server.kind
            );
            assert!(!format!("{found:?}").contains(secret), "no secret is shown");
        }
        let stranger = rfc2136(&server, KEY_NAME, SECRET).rights(&record("example.org", "www")).await;
        assert_eq!(
            stranger.last().map(|found| (&*found.subject, found.outcome)),
            Some(("zone", Fail)),
            "{stranger:#?}"
        );
        assert_eq!(standing(&server), before, "{:?}: the serial and the records are what they were", server.kind);
    }
}

#[tokio::test]
async fn a_server_whose_clock_is_off_is_told_by_how_much() {
    for (offset, wanted, said) in [(-400, Fail, "behind"), (200, Pass, "200 s ahead, TSIG allows 300 s")] {
        let Some(server) = DnsServer::knot_at(ZONE, &["www"], offset) else { return };
        let found = rfc2136(&server, KEY_NAME, SECRET).rights(&record(ZONE, "www")).await;
        let clock = found.iter().find(|found| found.subject == "clock").unwrap_or_else(|| panic!("{found:#?}"));
        assert_eq!(clock.outcome, wanted, "{clock:?}");
        // A second may pass between the two clocks being read.
        let said = [said.to_owned(), said.replace("200", "199"), said.replace("200", "201")];
        assert!(said.iter().any(|said| clock.figure.contains(said)) && clock.hint.contains("NTP"), "{clock:?}");
    }
}

/// What is printed to be pasted is pasted: a switch goes through, and nothing else does.
#[tokio::test]
async fn the_printed_policy_allows_the_switch_and_no_more() {
    let printed = policy(&KEY_NAME.parse().unwrap(), &[record(ZONE, "www")]);
    for (kind, grant) in [Kind::Bind, Kind::Knot].into_iter().zip(printed) {
        let Some(server) = DnsServer::granting(kind, ZONE, &grant.text) else { continue };
        let provider = rfc2136(&server, KEY_NAME, SECRET);
        let write = async |host: &str| {
            let record = record(ZONE, host);
            let rrset = RrSet { ttl: 60, values: [RecordValue::A([192, 0, 2, 20].into())].into() };
            let fence = Fence { cluster: "prod".parse().unwrap(), epoch: Epoch(7) };
            let expected = provider.read(&record).await?;
            provider.write(&Change { record, expected, rrset, fence }).await
        };
        let rights = provider.rights(&record(ZONE, "www")).await;
        assert!(rights.iter().all(|found| found.outcome == Pass), "{kind:?}: {rights:#?}");
        write("www").await.unwrap_or_else(|error| panic!("{kind:?}: {error}\n{}", grant.text));
        assert_eq!(server.dig("www.example.test", "A"), ["192.0.2.20"], "{kind:?}");
        let refused = write("ns1").await;
        assert!(matches!(refused, Err(ProviderError::Permanent { .. })), "{kind:?}: {refused:?}");
        let found = provider.rights(&record(ZONE, "ns1")).await;
        assert_eq!(found.iter().filter(|found| found.outcome == Fail).count(), 2, "{kind:?}: {found:#?}");
    }
}

fn ovh(fake: &FakeOvh) -> Ovh {
    let config = OvhConfig {
        endpoint: fake.url().parse().unwrap(),
        application_key: Secret::new(APPLICATION_KEY),
        application_secret: Secret::new(APPLICATION_SECRET),
        consumer_key: Secret::new(CONSUMER_KEY),
        timeout: Duration::from_secs(5),
    };
    Ovh::new(&config).unwrap()
}

#[tokio::test]
async fn a_consumer_key_without_a_rule_is_found_out_at_ovh() {
    let fake = FakeOvh::start(ZONE).await;
    let app = fake.seed(ZONE, "app", "A", "192.0.2.10", 60);
    let (record, base) = (record(ZONE, "app"), "/domain/zone/example.test");
    let provider = ovh(&fake);
    let all: Vec<(String, String)> = policy_rules(&provider, &record);
    let grants = |rules: &[(String, String)]| {
        fake.set_grants(&rules.iter().map(|(method, path)| (&**method, &**path)).collect::<Vec<_>>());
    };
    let without = |method: &str, path: &str| {
        let kept = all.iter().filter(|(m, p)| (m.as_str(), p.as_str()) != (method, &format!("{base}/{path}")));
        kept.cloned().collect::<Vec<_>>()
    };
    let ground = [("credentials", Pass), ("clock", Pass), ("zone", Pass)];
    let with = |of: [RuleOutcome; 3]| [&ground[..], &of.map(|outcome| ("rights", outcome))].concat();

    grants(&all);
    assert_eq!(outcomes(&provider.rights(&record).await), with([Pass, Pass, Pass]), "the printed rules are enough");
    for (method, path, wanted, said) in [
        ("PUT", "record/*", with([Fail, Pass, Pass]), format!("lacks `PUT {base}/record/{app}`")),
        ("POST", "record", with([Pass, Fail, Pass]), format!("lacks `POST {base}/record`")),
        ("POST", "refresh", with([Pass, Pass, Fail]), format!("lacks `POST {base}/refresh`")),
    ] {
        grants(&without(method, path));
        let found = provider.rights(&record).await;
        assert_eq!(outcomes(&found), wanted, "{method} {path}: {found:#?}");
        assert!(found.iter().any(|found| found.figure.contains(&said)), "`{said}` in {found:#?}");
    }
    grants(&without("GET", "record/*"));
    let found = provider.rights(&record).await;
    let zone = found.iter().find(|found| found.subject == "zone").unwrap();
    assert!(zone.outcome == Fail && zone.hint.contains("lacks the access rule `GET"), "{zone:?}");

    grants(&all);
    fake.set_skew(75);
    // The clock is set anew once OVH complains of it.
    let found = ovh(&fake).rights(&record).await;
    assert!(found.iter().any(|found| found.subject == "clock" && found.figure.contains("s ahead")), "{found:#?}");
    fake.set_skew(0);
    fake.set_credential("pendingValidation", true);
    assert_eq!(provider.rights(&record).await[0].outcome, Fail);
    fake.set_credential("validated", false);
    let found = provider.rights(&record).await;
    assert_eq!(outcomes(&found), [("rights", Unknown), ("zone", Pass)], "{found:#?}");
    assert_eq!(fake.publications().len(), 1, "nothing was published but what the test seeded");
    let log = fake.take_log();
    assert!(log.iter().all(|call| call.starts_with("GET ")), "only reads: {log:?}");
}

/// The rules as they are printed, read again.
fn policy_rules(provider: &Ovh, record: &Record) -> Vec<(String, String)> {
    let printed = provider.policy(std::slice::from_ref(record));
    let rule = |line: &str| line.split_once(' ').map(|(method, path)| (method.to_owned(), path.trim().to_owned()));
    printed[0].text.lines().map(|line| rule(line).unwrap_or_else(|| panic!("{line}"))).collect()
}
