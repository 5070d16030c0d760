//! Recordings: any bytes in a file, and whole records that say anything, decoded and replayed.

use super::{Begin, Decoder, Item, Record, encode};
use crate::{
    core::{
        names::{LogTime, NodeId},
        state::{Command, Position, State},
    },
    fuzz::{Target, joined, log_of_actions, split},
    replay::{self, Options, Source},
};

pub(crate) const TARGETS: &[Target] = &[Target { name: "history-file", run: file, seeds: files }];

/// How many bytes come at once when a file comes in pieces.
const PIECE: usize = 509;

/// The first byte says what follows: a file as it is, or records in CBOR, which get the frames that they have in a file.
fn file(input: &[u8]) {
    let Some((kind, rest)) = split(input) else { return };
    let bytes = if kind == 0 { rest.to_vec() } else { framed(rest) };
    let items = decoded(&bytes, bytes.len().max(1));
    assert_eq!(decoded(&bytes, PIECE), items, "how a file is cut into pieces changes nothing");
    assert!(bytes.is_empty() || !items.is_empty(), "what holds no record is damage");
    match replay::run(&Source::Bytes(bytes), &Options::default()) {
        Ok(report) => {
            assert!(report.recording.diverged.len() <= items.len(), "each is of a state that was read");
            let _ = (replay::svg(&report), serde_json::to_vec(&report).expect("a report serialises"));
        }
        Err(why) => assert!(!why.to_string().is_empty()),
    }
}

fn framed(mut cbor: &[u8]) -> Vec<u8> {
    let mut bytes = vec![];
    while let Ok(record) = ciborium::from_reader::<Record, _>(&mut cbor) {
        bytes.extend(encode(&record));
    }
    bytes
}

fn decoded(bytes: &[u8], piece: usize) -> Vec<Item> {
    let mut decoder = Decoder::new();
    let mut items = vec![];
    for piece in bytes.chunks(piece) {
        decoder.push(piece);
        items.extend(std::iter::from_fn(|| decoder.next_item()));
    }
    decoder.end();
    items.extend(std::iter::from_fn(|| decoder.next_item()));
    items
}

/// A state, an electorate, a log with every kind of command, an election in the middle of it, and the state that it leads to.
fn records() -> Vec<Record> {
    let sites = ["paris", "oslo", "rome"].map(|site| site.parse().expect("a name"));
    let voters = (1 as NodeId..).zip(sites).collect::<std::collections::BTreeMap<_, _>>();
    let begin = || Record::Begin(Begin::new("prod".parse().expect("a name"), 1, 7));
    let mut state = State::default();
    let mut records = vec![begin(), Record::State { wall: 7, state: Box::new(state.clone()) }];
    let position = Position { term: 1, index: 1 };
    state.set_voters(position, voters.clone());
    records.push(Record::Voters { position, voters });
    for (index, action) in (2..).zip(log_of_actions()) {
        let term = 1 + index / 12;
        let position = Position { term, index };
        if index % 12 == 0 {
            state.enter_term(position);
            records.push(Record::Term { position });
            continue;
        }
        let command = Command { at: LogTime(index * 5_000), wall: 7 + index * 5_000, action };
        state.apply(position, &command);
        records.push(Record::Entry { position, command });
    }
    records.extend([begin(), Record::State { wall: 1 << 20, state: Box::new(state) }]);
    records
}

fn files() -> Vec<Vec<u8>> {
    let records = records();
    let cbor = |records: &[Record]| {
        let mut bytes = vec![];
        for record in records {
            ciborium::into_writer(record, &mut bytes).expect("records serialise");
        }
        bytes
    };
    let (first, rest) = records.split_at(records.len() / 2);
    vec![
        joined(0, records.iter().flat_map(encode).collect::<Vec<_>>()),
        joined(0, [b"not a record".to_vec(), encode(&records[0])].concat()),
        joined(1, cbor(&records)),
        // Entries are missing between the two.
        joined(1, cbor(&[first, &rest[2..]].concat())),
        joined(1, cbor(&records[..3])),
    ]
}
