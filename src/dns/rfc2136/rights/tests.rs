//! What needs no real server.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::{
    core::{record::RecordType, safety::RuleOutcome},
    dns::rfc2136::Rfc2136Config,
    secret::Secret,
};

fn record(name: &str, rtype: RecordType) -> Record {
    Record {
        provider: "main".parse().unwrap(),
        zone: "example.com".parse().unwrap(),
        name: name.parse().unwrap(),
        rtype,
        ttl: 60,
    }
}

#[test]
fn the_policy_names_each_owner_once_and_no_more_types_than_are_changed() {
    let records = [
        record("app.example.com", RecordType::A),
        record("app.example.com", RecordType::Aaaa),
        record("example.com", RecordType::A),
    ];
    let grants = policy(&"quorate-key".parse().unwrap(), &records);
    assert_eq!(
        grants[0].text,
        "update-policy {\n    grant quorate-key name app.example.com. A AAAA;\n    grant quorate-key name _quorate.app.example.com. TXT;\n    \
         grant quorate-key name example.com. A;\n    grant quorate-key name _quorate.example.com. TXT;\n};\n"
    );
    assert!(grants[1].text.contains("update-type: [A, AAAA, TXT]\n"), "{}", grants[1].text);
    assert!(grants[1].text.contains(
        "update-owner-name: [app.example.com., _quorate.app.example.com., example.com., _quorate.example.com.]"
    ));
}

#[test]
fn an_update_that_asks_for_rights_has_a_condition_and_deletes_single_values_only() {
    for rtype in [WireType::A, WireType::AAAA, WireType::CNAME, WireType::TXT] {
        let record = record("app.example.com", RecordType::A);
        let message = impossible(&record, &record.name, rtype).unwrap();
        let [condition] = message.answers.as_slice() else { panic!("one condition: {message:?}") };
        assert_eq!((condition.dns_class, condition.ttl), (DNSClass::IN, 0), "an RRset with this very value must exist");
        let [delete] = message.authorities.as_slice() else { panic!("one deletion: {message:?}") };
        assert_eq!((delete.dns_class, delete.ttl, delete.record_type()), (DNSClass::NONE, 0, rtype));
    }
}

#[test]
fn a_clock_is_judged_by_what_tsig_allows() {
    use crate::core::safety::RuleOutcome::{Fail, Pass};
    for (skew, outcome, hint) in [
        (0, Pass, false),
        (-12, Pass, false),
        (151, Pass, true),
        (-300, Pass, true),
        (301, Fail, true),
        (i64::MIN, Fail, true),
    ] {
        let found = clock(skew);
        assert_eq!((found.outcome, !found.hint.is_empty()), (outcome, hint), "{found:?}");
    }
}

/// A server that knows the key, serves the zone, and takes every update whatever its conditions say.
#[cfg(feature = "testing")]
#[tokio::test]
async fn a_server_that_ignores_conditions_is_found_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Rfc2136Config {
        server: listener.local_addr().unwrap().into(),
        key_name: "quorate-key".parse().unwrap(),
        algorithm: crate::dns::tsig::Algorithm::HmacSha256,
        secret: Secret::new("MDEyMzQ1Njc4OWFiY2RlZg=="),
        timeout: Rfc2136Config::TIMEOUT,
    };
    let provider = Rfc2136::new(&config).unwrap();
    let key = provider.key.clone();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        while let Ok(length) = stream.read_u16().await {
            let mut bytes = vec![0; usize::from(length)];
            stream.read_exact(&mut bytes).await.unwrap();
            let mut message = Message::from_vec(&bytes).unwrap();
            let mac = message.signature.as_ref().unwrap().data.mac.clone();
            message.metadata.message_type = hickory_proto::op::MessageType::Response;
            message.metadata.authoritative = true;
            if message.metadata.op_code == OpCode::Query {
                let apex = message.queries[0].name().clone();
                let soa = rdata::SOA::new(apex.clone(), apex.clone(), 7, 1, 1, 1, 1);
                message.add_answers([WireRecord::from_rdata(apex, 60, RData::SOA(soa))]);
            }
            let answer = key.sign_answer(&mut message, &mac);
            stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    let findings = provider.look_at_rights(&record("app.example.com", RecordType::A)).await;
    serving.abort();
    let of = |subject: &str| findings.iter().filter(|found| found.subject == subject).collect::<Vec<_>>();
    assert!(of(ZONE)[0].figure.contains("serial 7"), "{findings:?}");
    assert_eq!(of(RIGHTS), [] as [&Finding; 0], "{findings:?}");
    let conditions = of("conditions");
    assert!(
        !conditions.is_empty() && conditions.iter().all(|found| found.outcome == RuleOutcome::Fail),
        "{findings:?}"
    );
}
