//! The demo's judge: what the DNS server took, against what may happen. It believes the cluster nothing.
//!
//! Numbers in parentheses are the invariants of the crate (see its front page) that a finding breaks.

use std::collections::BTreeMap;

use hickory_proto::{op::ResponseCode, rr::RecordType};

use super::{
    nameserver::{Change, Contents, LOG_LIMIT},
    output::SwitchLine,
};
use crate::core::record::Fence;

/// What the demo set up.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The record's name.
    pub record: String,
    /// The fence's name.
    pub fence: String,
    /// The cluster that may write.
    pub cluster: String,
    /// By region: the record's value.
    pub values: BTreeMap<String, String>,
    /// Cause and target of each switch, the oldest first.
    pub switches: Vec<(&'static str, String)>,
}

/// The state hashes seen, by log index and node.
pub type Hashes = BTreeMap<u64, BTreeMap<u64, String>>;

/// Everything that went wrong, in words.
pub fn violations(expected: &Expected, changes: &[Change], switches: &[SwitchLine], hashes: &Hashes) -> Vec<String> {
    let mut found = Vec::new();
    if changes.len() >= LOG_LIMIT {
        found.push(format!("the DNS server's log is full at {LOG_LIMIT} updates: nothing can be judged from it"));
    }
    let written = judge_writes(expected, changes, &mut found);
    judge_switches(expected, switches, &written, &mut found);
    judge_hashes(hashes, &mut found);
    found
}

/// What one update left at the record and its fence.
fn standing<'a>(expected: &Expected, contents: &'a Contents) -> (&'a [String], &'a [String]) {
    let at = |name: &str, rtype| contents.get(&(name.to_owned(), rtype)).map_or(&[][..], Vec::as_slice);
    (at(&expected.record, RecordType::A), at(&expected.fence, RecordType::TXT))
}

/// Goes through the updates in the order in which the server met them; returns the value that each epoch wrote.
fn judge_writes(expected: &Expected, changes: &[Change], found: &mut Vec<String>) -> BTreeMap<u64, String> {
    let mut written: BTreeMap<u64, String> = BTreeMap::new();
    for (number, change) in changes.iter().enumerate() {
        let number = number + 1;
        match change.outcome {
            ResponseCode::NoError => {}
            // A condition that did not hold: that is what conditions are for.
            ResponseCode::NXRRSet | ResponseCode::YXRRSet => continue,
            other => {
                found.push(format!("update {number} was refused with {other}, not for its condition (2)"));
                continue;
            }
        }
        let (values, fences) = standing(expected, &change.contents);
        let [value] = values else {
            found.push(format!("update {number} left {} values at {} (5)", values.len(), expected.record));
            continue;
        };
        if !expected.values.values().any(|known| known == value) {
            found.push(format!("update {number} wrote {value}, which is no region's value (5)"));
        }
        let [fence] = fences else {
            found.push(format!("update {number} left {} fences at {} (2)", fences.len(), expected.fence));
            continue;
        };
        let Ok(fence) = fence.parse::<Fence>() else {
            found.push(format!("update {number} wrote the fence `{fence}`, which is none (2)"));
            continue;
        };
        if fence.cluster.as_str() != expected.cluster {
            found.push(format!("update {number} wrote under the cluster `{}` (2)", fence.cluster));
        }
        let epoch = fence.epoch.0;
        let last = written.last_key_value().map(|(epoch, value)| (*epoch, value.as_str()));
        match last {
            Some((last, before)) if last == epoch && before != value => {
                found.push(format!("update {number} changed {before} to {value} within epoch {epoch} (1)"));
            }
            Some((last, _)) if epoch < last => {
                found.push(format!("update {number} of epoch {epoch} landed over epoch {last} (6)"));
            }
            Some((last, _)) if epoch > last + 1 => {
                found.push(format!("update {number} went from epoch {last} to epoch {epoch} (1)"));
            }
            None if epoch != 1 => found.push(format!("the first update was of epoch {epoch} (1)")),
            _ => {}
        }
        written.insert(epoch, value.clone());
    }
    written
}

/// Compares the switches that the cluster lists with those that the story needs and with what was written.
fn judge_switches(
    expected: &Expected,
    switches: &[SwitchLine],
    written: &BTreeMap<u64, String>,
    found: &mut Vec<String>,
) {
    let automatic = switches.iter().filter(|switch| switch.cause == "failover").count();
    if automatic != 1 {
        found.push(format!("one outage caused {automatic} automatic switches (11)"));
    }
    let wanted: Vec<_> = expected.switches.iter().map(|(cause, to)| (*cause, to.as_str())).collect();
    let listed: Vec<_> = switches.iter().map(|switch| (switch.cause.as_str(), switch.to.as_str())).collect();
    if wanted != listed {
        found.push(format!("the switches are {listed:?}, not {wanted:?} (11)"));
    }
    for (switch, epoch) in switches.iter().zip(1..) {
        if switch.epoch != epoch {
            found.push(format!("switch {epoch} has the epoch {} (1)", switch.epoch));
        }
        if switch.status != "observed" {
            found.push(format!("the switch of epoch {} ended as {} (10)", switch.epoch, switch.status));
        }
        let value = expected.values.get(&switch.to);
        if written.get(&switch.epoch) != value {
            let wrote = written.get(&switch.epoch).map_or("nothing", String::as_str);
            found.push(format!("epoch {} switched to {}, but wrote {wrote} (2)", switch.epoch, switch.to));
        }
    }
    for epoch in written.keys().filter(|epoch| !switches.iter().any(|switch| switch.epoch == **epoch)) {
        found.push(format!("epoch {epoch} was written without a committed intent (2)"));
    }
}

fn judge_hashes(hashes: &Hashes, found: &mut Vec<String>) {
    for (index, by_node) in hashes {
        let mut nodes = by_node.iter();
        let Some((first, hash)) = nodes.next() else { continue };
        for (other, _) in nodes.filter(|(_, other)| *other != hash) {
            found.push(format!("nodes {first} and {other} hold different states at index {index} (8)"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn expected() -> Expected {
        Expected {
            record: "app.example.test".into(),
            fence: "_quorate.app.example.test".into(),
            cluster: "demo".into(),
            values: [("eu", "127.0.3.1"), ("us", "127.0.1.1")].map(|(k, v)| (k.into(), v.into())).into(),
            switches: vec![("adopt", "eu".into()), ("failover", "us".into()), ("manual", "eu".into())],
        }
    }

    fn change(outcome: ResponseCode, values: &[&str], fence: &str) -> Change {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let mut contents = Contents::new();
        contents.insert(("app.example.test".into(), RecordType::A), owned(values));
        contents.insert(("_quorate.app.example.test".into(), RecordType::TXT), owned(&[fence]));
        Change { at: Instant::now(), from: ([127, 0, 0, 1], 1).into(), outcome, serial: 1, contents }
    }

    fn took(value: &str, epoch: u64) -> Change {
        change(ResponseCode::NoError, &[value], &format!("v=1 cluster=demo epoch={epoch}"))
    }

    fn switches() -> Vec<SwitchLine> {
        let line = |epoch, from: &str, to: &str, cause: &str| SwitchLine {
            epoch,
            from: from.into(),
            to: to.into(),
            cause: cause.into(),
            status: "observed".into(),
        };
        vec![line(1, "", "eu", "adopt"), line(2, "eu", "us", "failover"), line(3, "us", "eu", "manual")]
    }

    fn good() -> Vec<Change> {
        let refused = change(ResponseCode::NXRRSet, &["127.0.3.1"], "v=1 cluster=demo epoch=3");
        vec![took("127.0.3.1", 1), took("127.0.1.1", 2), took("127.0.3.1", 3), refused]
    }

    #[test]
    fn a_good_run_has_no_violation() {
        let hashes = [(7, [(1, "a".to_owned()), (2, "a".to_owned())].into())].into();
        assert_eq!(violations(&expected(), &good(), &switches(), &hashes), Vec::<String>::new());
        let mut again = good();
        again.insert(2, took("127.0.1.1", 2));
        assert_eq!(
            violations(&expected(), &again, &switches(), &hashes),
            Vec::<String>::new(),
            "same epoch, same value"
        );
    }

    #[test]
    fn each_wrong_write_is_found() {
        let epoch2 = "v=1 cluster=demo epoch=2";
        let cases: [(Change, &str); 8] = [
            (change(ResponseCode::NoError, &[], epoch2), "left 0 values"),
            (took("127.0.9.9", 2), "no region's value"),
            (took("127.0.3.1", 2), "epoch 2 switched to us, but wrote 127.0.3.1"),
            (took("127.0.1.1", 4), "from epoch 1 to epoch 4"),
            (took("127.0.1.1", 1), "within epoch 1"),
            (change(ResponseCode::NoError, &["127.0.1.1"], "v=1 cluster=other epoch=2"), "cluster `other`"),
            (change(ResponseCode::NoError, &["127.0.1.1"], "hello"), "which is none"),
            (change(ResponseCode::NotAuth, &["127.0.3.1"], epoch2), "not for its condition"),
        ];
        for (wrong, part) in cases {
            let mut changes = good();
            changes[1] = wrong;
            let found = violations(&expected(), &changes, &switches(), &Hashes::new());
            assert!(found.iter().any(|text| text.contains(part)), "{part}: {found:?}");
        }
        let mut late = good();
        late.push(took("127.0.1.1", 2));
        let found = violations(&expected(), &late, &switches(), &Hashes::new());
        assert!(found.iter().any(|text| text.contains("landed over epoch 3")), "{found:?}");
    }

    #[test]
    fn each_wrong_switch_and_a_differing_state_is_found() {
        let with = |edit: fn(&mut Vec<SwitchLine>)| {
            let mut switches = switches();
            edit(&mut switches);
            violations(&expected(), &good(), &switches, &Hashes::new()).join("\n")
        };
        assert!(with(|s| s[2].status = "authorised".into()).contains("ended as authorised"));
        assert!(with(|s| s[2].cause = "failover".into()).contains("2 automatic switches"));
        assert!(with(|s| s[2].epoch = 4).contains("switch 3 has the epoch 4"));
        assert!(with(|s| drop(s.pop())).contains("epoch 3 was written without a committed intent"));
        let hashes = [(7, [(1, "a".to_owned()), (2, "b".to_owned())].into())].into();
        let found = violations(&expected(), &good(), &switches(), &hashes);
        assert_eq!(found, ["nodes 1 and 2 hold different states at index 7 (8)"]);
    }
}
