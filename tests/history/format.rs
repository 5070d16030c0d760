//! Whatever happens to the bytes, what was not touched is read, what was is named, and nothing panics.

use proptest::prelude::*;
use quorate::history::{Damage, Decoder, Item, Record, Trimmer, encode};

use crate::recording::{self, WALL, World};

fn world() -> World {
    let mut world = World::new(&[recording::service("app", 1, "1s", "")], 1_000);
    world.run(4_000);
    world.snapshot();
    world.run(8_000);
    world
}

/// All of it in pieces of this size.
fn decode(bytes: &[u8], piece: usize) -> Vec<Item> {
    let (mut decoder, mut items) = (Decoder::new(), vec![]);
    for part in bytes.chunks(piece.max(1)) {
        decoder.push(part);
        items.extend(std::iter::from_fn(|| decoder.next_item()));
    }
    decoder.end();
    items.extend(std::iter::from_fn(|| decoder.next_item()));
    items
}

fn records(items: Vec<Item>) -> (Vec<Record>, Vec<Damage>) {
    let (mut records, mut damages) = (vec![], vec![]);
    for item in items {
        match item {
            Item::Record(record) => records.push(*record),
            Item::Damage(damage) => damages.push(damage),
        }
    }
    (records, damages)
}

/// The records and where each begins and ends.
fn good() -> (Vec<u8>, Vec<Record>, Vec<(usize, usize)>) {
    let bytes = world().bytes;
    let (all, damages) = records(decode(&bytes, 4096));
    assert_eq!(damages, []);
    let mut at = 0;
    let spans = all.iter().map(|record| {
        let from = at;
        at += encode(record).len();
        (from, at)
    });
    let spans: Vec<_> = spans.collect();
    assert_eq!(at, bytes.len());
    (bytes, all, spans)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_changed_byte_costs_its_record_and_no_other(at in any::<prop::sample::Index>(), change in 1_u8.., piece in 1_usize..5000) {
        let (mut bytes, all, spans) = good();
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        let hit = spans.iter().position(|(from, to)| (*from..*to).contains(&at)).unwrap();
        let (read, damages) = records(decode(&bytes, piece));
        let mut others = all.clone();
        others.remove(hit);
        prop_assert!(read == others, "{} records of {} were read", read.len(), others.len());
        prop_assert_eq!(damages.len(), 1);
        let (from, to) = (damages[0].offset, damages[0].offset + damages[0].length);
        prop_assert!((from..to).contains(&(at as u64)), "{}: {at} is not in it", damages[0]);
        prop_assert_eq!((from, to), (spans[hit].0 as u64, spans[hit].1 as u64));
    }

    #[test]
    fn what_lies_before_a_cut_is_whole(at in any::<prop::sample::Index>(), piece in 1_usize..5000) {
        let (bytes, all, spans) = good();
        let at = at.index(bytes.len());
        let (read, damages) = records(decode(&bytes[..at], piece));
        let whole = spans.iter().filter(|(_, to)| *to <= at).count();
        prop_assert!(read == all[..whole]);
        prop_assert_eq!(damages.len(), usize::from(spans[..whole].last().map_or(0, |(_, to)| *to) != at));
    }

    #[test]
    fn bytes_that_were_put_in_between_are_skipped(
        at in any::<prop::sample::Index>(),
        junk in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xff_u8), Just(0x51_u8)], 1..200),
    ) {
        let (bytes, all, spans) = good();
        let between = spans[at.index(spans.len())].0;
        let bytes = [&bytes[..between], &junk, &bytes[between..]].concat();
        let (read, damages) = records(decode(&bytes, 777));
        prop_assert!(read == all);
        prop_assert_eq!(damages.len(), 1);
        prop_assert_eq!((damages[0].offset, damages[0].length), (between as u64, junk.len() as u64));
    }

    #[test]
    fn nothing_panics(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xff_u8), Just(0x51_u8), Just(0_u8)], 0..600)) {
        let (read, _) = records(decode(&bytes, 64));
        prop_assert_eq!(read, []);
    }

    /// A right checksum over a wrong body: what a decoder of CBOR may be given.
    #[test]
    fn a_body_that_is_no_record_is_named(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = vec![0xff, 0x51];
        let length = u32::try_from(body.len()).unwrap().to_le_bytes();
        bytes.extend(length);
        let mut crc = crc32fast::Hasher::new();
        crc.update(&length);
        crc.update(&body);
        bytes.extend(crc.finalize().to_le_bytes());
        bytes.extend(&body);
        let (read, damages) = records(decode(&bytes, 100));
        prop_assert_eq!(read.len() + damages.len(), 1);
    }
}

#[test]
fn a_later_version_is_refused_and_named() {
    let begin = quorate::history::Begin { version: 2, cluster: "c".parse().unwrap(), node: 1, wall: 0 };
    let (read, damages) = records(decode(&encode(&Record::Begin(begin)), 100));
    assert_eq!(read, []);
    assert!(damages[0].why.contains("version 2"), "{}", damages[0]);
}

/// A stretch begins with the state as it was there, whichever record it begins at.
#[test]
fn a_stretch_leads_to_the_same_state_as_the_whole() {
    let (_, all, _) = good();
    let last = |records: &[Record]| {
        let mut state = None;
        for record in records {
            match (record, &mut state) {
                (Record::State { state: is, .. }, None) => state = Some(is.clone()),
                (Record::State { state: is, .. }, Some(follows)) => assert_eq!(is, follows, "a state in between"),
                (Record::Entry { position, command }, Some(state)) => drop(state.apply(*position, command)),
                (Record::Term { position }, Some(state)) => state.enter_term(*position),
                (Record::Voters { position, voters }, Some(state)) => state.set_voters(*position, voters.clone()),
                _ => {}
            }
        }
        state.unwrap()
    };
    let whole = last(&all);
    for from in (0..9_000).step_by(250) {
        let mut trimmer = Trimmer::new(Some(WALL + from), None);
        let part: Vec<_> = all.iter().flat_map(|record| trimmer.take(record.clone())).collect();
        if all.iter().filter_map(Record::wall).max() < Some(WALL + from) {
            assert_eq!(part, [], "nothing was recorded after {from}");
            continue;
        }
        assert!(matches!(part[..2], [Record::Begin(_), Record::State { .. }]), "from {from}");
        assert_eq!(last(&part), whole, "from {from}");
        let early = part[2..].iter().filter_map(Record::wall).any(|wall| wall < WALL + from);
        assert!(!early, "from {from}");
    }
    let mut trimmer = Trimmer::new(None, Some(WALL + 3_000));
    let part: Vec<_> = all.iter().flat_map(|record| trimmer.take(record.clone())).collect();
    assert!(trimmer.is_over() && part.iter().filter_map(Record::wall).all(|wall| wall <= WALL + 3_000));
}
