//! The recorder on a real disk: restarts, rotation, its bounds, a disk that refuses.

use std::{fs, path::Path, time::Duration};

use quorate::{
    core::{
        names::LogTime,
        state::{Action, Command, Position, State},
    },
    history::{Item, Record, Recorder, Settings, segments},
};

fn start(dir: &Path, settings: Settings) -> Recorder {
    Recorder::start(dir, settings, "test".parse().unwrap(), 1).unwrap()
}

/// Applies an entry as a node does.
fn apply(recorder: &Recorder, state: &mut State, index: u64, source: &str) {
    let position = Position { term: 1, index };
    let command = Command {
        at: LogTime(index * 10),
        wall: 1_000_000 + index,
        action: Action::Trouble { service: "app".parse().unwrap(), text: Some(source.into()) },
    };
    let wanted = recorder.before(position, state);
    state.apply(position, &command);
    if wanted {
        recorder.record(Record::Entry { position, command });
    }
}

/// The indices of all entries, and of the states that segments begin with.
fn recorded(dir: &Path) -> (Vec<u64>, Vec<u64>) {
    let (mut entries, mut states) = (vec![], vec![]);
    for segment in segments::list(dir).unwrap() {
        segments::read(&segment.path, &mut |item| match item {
            Item::Record(record) => match *record {
                Record::Entry { position, .. } => entries.push(position.index),
                Record::State { state, .. } => states.push(state.position.index),
                _ => {}
            },
            Item::Damage(damage) => panic!("{damage}"),
        })
        .unwrap();
    }
    (entries, states)
}

#[test]
fn a_restart_goes_on_without_a_gap_and_without_telling_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = State::default();
    let recorder = start(dir.path(), Settings::default());
    (1..=20).for_each(|index| apply(&recorder, &mut state, index, "x"));
    drop(recorder);
    // The log applies the end of it again.
    let mut state = State::default();
    (1..=14).for_each(|index| {
        let command = Command { at: LogTime(index * 10), wall: 0, action: Action::Tick };
        state.apply(Position { term: 1, index }, &command);
    });
    let recorder = start(dir.path(), Settings::default());
    (15..=30).for_each(|index| apply(&recorder, &mut state, index, "x"));
    recorder.flush();
    assert_eq!(recorded(dir.path()), ((1..=30).collect(), vec![0, 20]));
    // A snapshot of a peer takes the place of entries: what follows begins with the state.
    recorder.replaced(Position { term: 1, index: 50 });
    state.position = Position { term: 1, index: 50 };
    (51..=53).for_each(|index| apply(&recorder, &mut state, index, "x"));
    drop(recorder);
    assert_eq!(recorded(dir.path()), ((1..=30).chain(51..=53).collect(), vec![0, 20, 50]));
}

#[test]
fn a_cut_off_end_and_another_cluster_s_history_are_no_hindrance() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = State::default();
    let recorder = start(dir.path(), Settings::default());
    (1..=9).for_each(|index| apply(&recorder, &mut state, index, "x"));
    drop(recorder);
    let last = &segments::list(dir.path()).unwrap()[0];
    let file = fs::OpenOptions::new().write(true).open(&last.path).unwrap();
    file.set_len(last.bytes - 3).unwrap();
    // Entry 9 is lost, and recorded again when it is applied again.
    let mut state = State::default();
    state.enter_term(Position { term: 1, index: 8 });
    let recorder = start(dir.path(), Settings::default());
    (9..=10).for_each(|index| apply(&recorder, &mut state, index, "x"));
    drop(recorder);
    let mut indices = vec![];
    for segment in segments::list(dir.path()).unwrap() {
        let keep = &mut |item| {
            if let Item::Record(record) = item
                && let Record::Entry { position, .. } = *record
            {
                indices.push(position.index);
            }
        };
        segments::read(&segment.path, keep).unwrap();
    }
    assert_eq!(indices, (1..=10).collect::<Vec<_>>());
    // A node of another name begins at its own beginning.
    let mut state = State::default();
    let other = Recorder::start(dir.path(), Settings::default(), "other".parse().unwrap(), 1).unwrap();
    apply(&other, &mut state, 1, "x");
    drop(other);
    assert_eq!(segments::head(&segments::list(dir.path()).unwrap()[2].path).unwrap().cluster.as_str(), "other");
}

#[test]
fn it_keeps_to_its_bounds_and_what_is_kept_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { keep: Duration::from_secs(3600), bytes: 8 << 20 };
    let recorder = start(dir.path(), settings);
    let (mut state, text) = (State::default(), "x".repeat(1000));
    for index in 1..=20_000 {
        apply(&recorder, &mut state, index, &text);
        if index % 100 == 0 {
            recorder.flush();
        }
    }
    drop(recorder);
    let segments = segments::list(dir.path()).unwrap();
    let total: u64 = segments.iter().map(|segment| segment.bytes).sum();
    assert!((4 << 20..=8 << 20).contains(&total), "{total} bytes");
    assert!(segments.len() > 3 && segments[0].number > 1, "{segments:?}");
    let (entries, states) = recorded(dir.path());
    assert_eq!(entries, (states[0] + 1..=20_000).collect::<Vec<_>>(), "no gap between segments");
    assert_eq!(states.len(), segments.len());
    let by_age = start(dir.path(), Settings { keep: Duration::ZERO, ..settings });
    apply(&by_age, &mut state, 20_001, "x");
    drop(by_age);
    assert_eq!(recorded(dir.path()), (vec![20_001], vec![20_000]), "older ones are gone");
}

/// Nobody may write there, not even root: it is a file.
#[test]
fn a_disk_that_refuses_stops_the_recording_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let history = dir.path().join("history");
    let recorder = start(&history, Settings::default());
    fs::remove_dir(&history).unwrap();
    fs::write(&history, "in the way").unwrap();
    let mut state = State::default();
    (1..=1000).for_each(|index| apply(&recorder, &mut state, index, "x"));
    recorder.flush();
    assert_eq!(state.position.index, 1000);
    fs::remove_file(&history).unwrap();
    assert!(Recorder::start(&dir.path().join("history"), Settings::default(), "test".parse().unwrap(), 1).is_ok());
    drop(recorder);
}

#[test]
fn the_segments_of_a_stretch() {
    let dir = tempfile::tempdir().unwrap();
    for (number, wall) in [(1, 100), (2, 200), (3, 300)] {
        let begin = quorate::history::Begin::new("test".parse().unwrap(), 1, wall);
        let bytes = quorate::history::encode(&Record::Begin(begin));
        fs::write(dir.path().join(format!("segment-{number:08}")), bytes).unwrap();
    }
    fs::write(dir.path().join("segment-x"), "not one").unwrap();
    for (from, to, wanted) in [
        (0, u64::MAX, vec![1, 2, 3]),
        (0, 50, vec![]),
        (0, 100, vec![1]),
        (150, 250, vec![1, 2]),
        (200, 250, vec![2]),
        (299, 300, vec![2, 3]),
        (900, 1000, vec![3]),
    ] {
        let found: Vec<_> = segments::overlapping(dir.path(), from, to).unwrap().iter().map(|of| of.number).collect();
        assert_eq!(found, wanted, "{from} to {to}");
    }
}
