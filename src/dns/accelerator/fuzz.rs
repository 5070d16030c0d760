//! What Global Accelerator answers, once the SDK has read it: regions, dials, ARNs, the text of a tag.

use super::pool::{self, Group};
use crate::{
    core::record::{Record, RecordType, RrSet},
    fuzz::{Target, joined, split},
};

pub(crate) const TARGETS: &[Target] = &[Target { name: "accelerator-groups", run: groups, seeds: listeners }];

/// Lines of dial and region; the first byte says which line is the fence's tag.
fn groups(input: &[u8]) {
    let Some((fence, rest)) = split(input) else { return };
    let text = String::from_utf8_lossy(rest);
    let _ = pool::accelerator_id(&text);
    let lines: Vec<&str> = text.split('\n').collect();
    let group = |line: &&str| {
        let (dial, region) = line.split_once(' ')?;
        Some(Group { arn: String::new(), region: region.to_owned(), dial: dial.parse().ok()? })
    };
    let groups: Vec<Group> = lines.iter().filter_map(group).collect();
    let record = Record {
        provider: "main".parse().expect("a name"),
        zone: "a1".parse().expect("a name"),
        name: "l1.a1".parse().expect("a name"),
        rtype: RecordType::Pool,
        ttl: 0,
    };
    let tag = lines.get(usize::from(fence)).map(|line| (*line).to_owned());
    let Ok(reading) = pool::reading(&record, &groups, tag.into_iter().collect()) else { return };
    let Some(RrSet { values, .. }) = reading.rrset else { return };
    assert!(!values.is_empty(), "a listener that takes no traffic is no record");
    let wanted = RrSet { ttl: 0, values: values.into_iter().filter(pool::is_region).collect() };
    if !wanted.values.is_empty()
        && let Ok(turns) = pool::turns(&record, &groups, &wanted)
    {
        let stay = |group: &&Group| wanted.values.iter().any(|value| value.to_string() == group.region);
        assert!(!turns.down.iter().any(stay), "a region that shall take traffic is not shut");
        assert!(turns.up.iter().all(stay), "no other is opened");
    }
}

fn listeners() -> Vec<Vec<u8>> {
    vec![
        joined(2, "100 eu-west-3\n0 us-east-1\nv=1 cluster=prod epoch=7"),
        joined(1, "37.5 eu-west-3\nin use"),
        joined(9, "arn:aws:globalaccelerator::123456789012:accelerator/1234abcd"),
    ]
}
