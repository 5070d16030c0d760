//! What Route 53 answers, once the SDK has read it: names, values, aliases, identifiers.

use aws_sdk_route53::types::{AliasTarget, ResourceRecordSet, RrType};

use super::entry;
use crate::{
    core::record::{Record, RecordType},
    dns::FenceReading,
    fuzz::{Target, joined, split},
};

pub(crate) const TARGETS: &[Target] = &[Target { name: "route53-answer", run: answer, seeds: answers }];

const TYPES: [RecordType; 4] = [RecordType::A, RecordType::Aaaa, RecordType::Cname, RecordType::Pool];

/// Lines: a TTL, an identifier, and values or `alias` with zone and target. The first byte is the type, and whether an
/// identifier is configured.
fn answer(input: &[u8]) {
    let Some((kind, rest)) = split(input) else { return };
    let text = String::from_utf8_lossy(rest);
    let record = Record {
        provider: "aws".parse().expect("a name"),
        zone: "example.test".parse().expect("a name"),
        name: "www.example.test".parse().expect("a name"),
        rtype: TYPES[usize::from(kind) % TYPES.len()],
        ttl: 60,
    };
    let _ = (entry::is_name(&text, &record.name), entry::bare_id(&text));
    let Some(set) = made(&text) else { return };
    let _ = FenceReading::of(entry::texts(&set));
    let identifier = (kind >= 128).then(|| set.set_identifier().unwrap_or("blue").to_owned());
    let Ok(Some(ours)) = entry::ours(&record, vec![set], identifier.as_deref()) else { return };
    let Ok(rrset) = entry::rrset(&record, &ours) else { return };
    assert!(!rrset.values.is_empty(), "no value is no RRset");
    // What is deleted is exactly what was read: it must read as the same again.
    let Ok(written) = entry::set(&record, &rrset, Some(&ours), identifier.as_deref()) else { return };
    assert_eq!(entry::rrset(&record, &written).expect("it was written by us"), rrset);
    assert_eq!(written.set_identifier(), ours.set_identifier());
}

fn made(text: &str) -> Option<ResourceRecordSet> {
    let mut lines = text.split('\n');
    let (ttl, identifier) = (lines.next()?.parse().ok(), lines.next()?);
    let mut set = ResourceRecordSet::builder().name("www.example.test.").r#type(RrType::A).set_ttl(ttl);
    set = set.set_set_identifier((!identifier.is_empty()).then(|| identifier.to_owned()));
    for line in lines {
        set = match line.strip_prefix("alias ").and_then(|line| line.split_once(' ')) {
            Some((zone, name)) => {
                let target = AliasTarget::builder().hosted_zone_id(zone).dns_name(name).evaluate_target_health(true);
                set.alias_target(target.build().ok()?)
            }
            None => set.resource_records(entry::one(line).ok()?),
        };
    }
    set.build().ok()
}

fn answers() -> Vec<Vec<u8>> {
    vec![
        joined(0, "60\n\n192.0.2.1\n192.0.2.2"),
        joined(129, "60\nblue\n2001:db8::1"),
        joined(2, "60\n\neu.example.net."),
        joined(0, "60\n\n\"v=1 cluster=prod epoch=42\"\n\"a\" \"b\\\"\\052\""),
        joined(0, "x\n\nalias Z35SXDOTRQ7X7K dualstack.eu.elb.amazonaws.com."),
        joined(3, "-1\n\\052.example.test."),
    ]
}
