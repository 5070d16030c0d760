//! The cases of the contract, in the order of the table.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use quorate::{
    core::{
        names::Epoch,
        record::{RecordValue, RrSet},
    },
    dns::{Change, FenceReading, Grade, ProviderError, Reading},
};

use crate::contract::{Bench, Of, Outcome, RETRY_AFTER, Trouble, epoch_of, truth_of};

/// How long a call with an impatient provider may take at the very most on a busy machine.
const BOUND: Duration = Duration::from_secs(60);
/// How many writers race.
const RACERS: usize = 8;

/// One case.
#[derive(Debug, Clone, Copy)]
pub enum Case {
    Read,
    Absent,
    Write,
    MoreAndFewer,
    Stale(Old),
    Late,
    Race,
    Duplicate,
    Reading(Trouble),
    Writing(Trouble),
    Refused(Of, Trouble),
    ForeignFence,
    Occupied,
    NeverEmpty,
    Misfit,
}

impl Case {
    /// Whether something must go wrong on the way for it.
    pub fn is_trouble(self) -> bool {
        matches!(self, Self::Reading(_) | Self::Writing(_) | Self::Refused(..))
    }
}

/// In what an old reading is old.
#[derive(Debug, Clone, Copy)]
pub enum Old {
    All,
    Epoch,
    Fence,
    Values,
}

/// Every case with its title.
pub const CASES: &[(&str, Case)] = &[
    ("read", Case::Read),
    ("read: a record that is not there", Case::Absent),
    ("write, and what was written reads back", Case::Write),
    ("more values, fewer values, never none", Case::MoreAndFewer),
    ("record never empty: no value is refused", Case::NeverEmpty),
    ("a kind of record that it cannot switch", Case::Misfit),
    ("stale: the old reading", Case::Stale(Old::All)),
    ("stale: an older epoch", Case::Stale(Old::Epoch)),
    ("stale: only the fence moved", Case::Stale(Old::Fence)),
    ("stale: only the values moved", Case::Stale(Old::Values)),
    ("late write: A, B refuse it; C shows it", Case::Late),
    ("8 writers from one reading: one winner", Case::Race),
    ("duplicate", Case::Duplicate),
    ("foreign fence", Case::ForeignFence),
    ("a text that is no fence", Case::Occupied),
    ("read: 429 with retry-after", Case::Reading(Trouble::TooMany)),
    ("read: 5xx", Case::Reading(Trouble::ServerError { applied: false })),
    ("read: garbage", Case::Reading(Trouble::Garbage)),
    ("read: flood", Case::Reading(Trouble::Flood)),
    ("read: timeout", Case::Reading(Trouble::Hang { applied: false })),
    ("read: answer lost", Case::Reading(Trouble::AnswerLost { applied: false })),
    ("read: empty answer", Case::Reading(Trouble::EmptyAnswer)),
    ("read: expired credential", Case::Refused(Of::Reading, Trouble::Expired)),
    ("read: missing right", Case::Refused(Of::Reading, Trouble::Forbidden)),
    ("indeterminate: applied, answer lost", Case::Writing(Trouble::AnswerLost { applied: true })),
    ("indeterminate: not applied, answer lost", Case::Writing(Trouble::AnswerLost { applied: false })),
    ("write: 429 with retry-after", Case::Writing(Trouble::TooMany)),
    ("write: 429 at a later step", Case::Writing(Trouble::PutOff)),
    ("write: 5xx", Case::Writing(Trouble::ServerError { applied: false })),
    ("write: 5xx, applied", Case::Writing(Trouble::ServerError { applied: true })),
    ("write: garbage", Case::Writing(Trouble::Garbage)),
    ("write: flood", Case::Writing(Trouble::Flood)),
    ("write: timeout", Case::Writing(Trouble::Hang { applied: false })),
    ("write: timeout, applied", Case::Writing(Trouble::Hang { applied: true })),
    ("write: empty answer", Case::Writing(Trouble::EmptyAnswer)),
    ("write: expired credential", Case::Refused(Of::Writing, Trouble::Expired)),
    ("write: missing right", Case::Refused(Of::Writing, Trouble::Forbidden)),
];

pub async fn run(case: Case, bench: &Bench<'_>) -> Outcome {
    match case {
        Case::Read => read(bench).await,
        Case::Absent => absent(bench).await,
        Case::Write => write(bench).await,
        Case::MoreAndFewer => more_and_fewer(bench).await,
        Case::Stale(old) => stale(bench, old).await,
        Case::Late => late(bench).await,
        Case::Race => race(bench).await,
        Case::Duplicate => duplicate(bench).await,
        Case::Reading(trouble) => reading(bench, trouble).await,
        Case::Writing(trouble) => writing(bench, trouble).await,
        Case::Refused(of, trouble) => refused(bench, of, trouble).await,
        Case::ForeignFence => occupied(bench, "v=1 cluster=other epoch=999", "belongs to cluster `other`").await,
        Case::Occupied => occupied(bench, "in use", "no fence: in use").await,
        Case::NeverEmpty => never_empty(bench).await,
        Case::Misfit => misfit(bench).await,
    }
}

async fn read(bench: &Bench<'_>) -> Outcome {
    let first = bench.read().await;
    let [a, ..] = bench.subject.values();
    assert_eq!(first, Reading { rrset: Some(bench.rrset(&[a])), fence: FenceReading::Absent });
    Outcome::Ok
}

async fn absent(bench: &Bench<'_>) -> Outcome {
    let record = match bench.subject.absent() {
        Ok(record) => record,
        Err(why) => return Outcome::NotApplicable(why),
    };
    let found = bench.subject.provider().read(&record).await.expect("a reading");
    assert_eq!(found, Reading { rrset: None, fence: FenceReading::Absent });
    Outcome::Ok
}

async fn write(bench: &Bench<'_>) -> Outcome {
    let (epoch, [a, b, _]) = (bench.next_epoch(), bench.subject.values());
    // The first write of all finds no fence.
    bench.switch(&[a], epoch).await.expect("a write");
    bench.must_stand(&[a], epoch).await;
    let epoch = bench.next_epoch();
    let receipt = bench.switch(&[b], epoch).await.expect("a write");
    assert!(!receipt.0.is_empty(), "a receipt says something");
    bench.must_stand(&[b], epoch).await;
    Outcome::Ok
}

/// Somebody looks all the while, and never finds nothing.
async fn more_and_fewer(bench: &Bench<'_>) -> Outcome {
    bench.fresh().await;
    let [a, b, c] = bench.subject.values();
    let over = Arc::new(AtomicBool::new(false));
    let looking = async {
        let mut looks = 0;
        while !over.load(Ordering::Relaxed) {
            let values = bench.subject.truth().await.values;
            assert!(!values.is_empty(), "the record is empty");
            assert!(values.iter().all(|value| [a, b, c].contains(&value.as_str())), "{values:?}");
            looks += 1;
            tokio::task::yield_now().await;
        }
        assert!(looks > 0);
    };
    let switching = async {
        for values in [&[a, b, c][..], &[b], &[a, c], &[b]] {
            let epoch = bench.next_epoch();
            bench.switch(values, epoch).await.expect("a write");
            bench.must_stand(values, epoch).await;
        }
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(looking, switching);
    Outcome::Ok
}

async fn never_empty(bench: &Bench<'_>) -> Outcome {
    let epoch = bench.fresh().await;
    let [a, ..] = bench.subject.values();
    let change = bench.change(bench.read().await, &[a], bench.next_epoch());
    let empty = Change { rrset: RrSet { values: BTreeSet::new(), ..change.rrset.clone() }, ..change };
    let error = bench.subject.provider().write(&empty).await.expect_err("it would empty the record");
    assert!(matches!(error, ProviderError::Permanent { .. }), "{error:?}");
    bench.must_stand(&[a], epoch).await;
    Outcome::Ok
}

/// It is said at once, and nothing is sent that would change anything.
async fn misfit(bench: &Bench<'_>) -> Outcome {
    let record = match bench.subject.misfit() {
        Ok(record) => record,
        Err(why) => return Outcome::NotApplicable(why),
    };
    let epoch = bench.fresh().await;
    let provider = bench.subject.provider();
    let value = if record.rtype.is_in_dns() { "192.0.2.66" } else { "some-member" };
    let value = RecordValue::parse(record.rtype, value).expect("a value");
    let nothing = Reading { rrset: None, fence: FenceReading::Absent };
    let rrset = RrSet { ttl: record.ttl, values: [value].into() };
    let change =
        Change { record: record.clone(), rrset, ..bench.change(nothing, &bench.subject.values(), bench.next_epoch()) };
    bench.subject.sent().await;
    for error in [
        provider.read(&record).await.expect_err("it cannot hold such a record"),
        provider.write(&change).await.expect_err("it cannot hold such a record"),
    ] {
        let ProviderError::Permanent { hint, .. } = &error else { panic!("it never works: {error:?}") };
        assert!(hint.len() > 15, "a hint says what to do: {error:?}");
    }
    assert_eq!(bench.subject.sent().await, 0, "a write was sent");
    bench.must_stand(&[bench.subject.values()[0]], epoch).await;
    Outcome::Ok
}

async fn stale(bench: &Bench<'_>, old: Old) -> Outcome {
    let first = bench.fresh().await;
    let [_, b, c] = bench.subject.values();
    let before = bench.read().await;
    let epoch = bench.next_epoch();
    bench.switch(&[b], epoch).await.expect("a write");
    let now = bench.read().await;
    let (expected, of) = match old {
        Old::All => (before, bench.next_epoch()),
        Old::Epoch => (now, first),
        Old::Fence => (Reading { fence: before.fence, ..now }, bench.next_epoch()),
        Old::Values => (Reading { rrset: before.rrset, ..now }, bench.next_epoch()),
    };
    let error = bench.subject.provider().write(&bench.change(expected, &[c], of)).await.expect_err("it is stale");
    assert!(matches!(error, ProviderError::Stale(_)), "{error:?}");
    bench.must_stand(&[b], epoch).await;
    Outcome::Ok
}

/// A write is sent and lost sight of; a newer epoch writes; then the old one arrives.
async fn late(bench: &Bench<'_>) -> Outcome {
    bench.fresh().await;
    let [_, b, c] = bench.subject.values();
    let late = bench.change(bench.read().await, &[b], bench.next_epoch());
    let Epoch(of) = late.fence.epoch;
    let held = match bench.subject.arm(Of::Writing, Trouble::Held).await {
        Ok(held) => held,
        Err(why) => return Outcome::NotApplicable(why),
    };
    let writing = tokio::spawn(async move { held.write(&late).await });
    tokio::time::timeout(BOUND, bench.subject.caught()).await.expect("the write is held");
    let epoch = bench.next_epoch();
    bench.switch(&[c], epoch).await.expect("the newer write");
    bench.subject.release().await;
    let came_late = tokio::time::timeout(BOUND, writing).await.expect("an end").expect("no panic");
    if bench.grade() == Grade::C {
        // Whoever says that it was written must be right.
        if came_late.is_ok() {
            assert_eq!(bench.subject.truth().await, truth_of(&[b], of), "{came_late:?}");
        }
        // Not refused, but to be seen: either nothing came of it, or a reading shows that it is not what it shall be.
        let (truth, reading) = (bench.subject.truth().await, bench.read().await);
        let as_it_shall_be = truth == truth_of(&[c], epoch);
        let seen = reading.rrset != Some(bench.rrset(&[c])) || epoch_of(&reading) != Some(epoch);
        assert!(as_it_shall_be || seen, "a late write lasts unseen: {truth:?} {reading:?} {came_late:?}");
        bench.finish(&[c], epoch).await;
    } else {
        let error = came_late.expect_err("it is late");
        assert!(matches!(error, ProviderError::Stale(_)), "{error:?}");
        bench.must_stand(&[c], epoch).await;
    }
    Outcome::Ok
}

async fn race(bench: &Bench<'_>) -> Outcome {
    if bench.grade() == Grade::C {
        return Outcome::NotApplicable("grade C knows no condition: the cooldown keeps two epochs' writes apart");
    }
    bench.fresh().await;
    let [_, b, c] = bench.subject.values();
    let expected = bench.read().await;
    let provider = bench.subject.provider();
    let changes: Vec<_> = (0..RACERS)
        .map(|i| bench.change(expected.clone(), &[if i % 2 == 0 { b } else { c }], bench.next_epoch()))
        .collect();
    let results = join_all(changes.iter().map(|change| provider.write(change))).await;
    let winners: Vec<_> = changes.iter().zip(&results).filter(|(_, result)| result.is_ok()).map(|(c, _)| c).collect();
    let [winner] = winners[..] else { panic!("{} winners: {results:?}", winners.len()) };
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        let nothing_done = matches!(error, ProviderError::Stale(_) | ProviderError::Transient { .. });
        assert!(nothing_done, "{error:?}");
    }
    let value = winner.rrset.values.first().expect("a value").to_string();
    let Epoch(epoch) = winner.fence.epoch;
    bench.must_stand(&[&value], epoch).await;
    Outcome::Ok
}

async fn duplicate(bench: &Bench<'_>) -> Outcome {
    bench.fresh().await;
    let [_, b, _] = bench.subject.values();
    let epoch = bench.next_epoch();
    let change = bench.change(bench.read().await, &[b], epoch);
    bench.subject.provider().write(&change).await.expect("a write");
    let error = bench.subject.provider().write(&change).await.expect_err("its condition is gone");
    assert!(matches!(error, ProviderError::Stale(_)), "{error:?}");
    bench.must_stand(&[b], epoch).await;
    Outcome::Ok
}

async fn reading(bench: &Bench<'_>, trouble: Trouble) -> Outcome {
    let epoch = bench.fresh().await;
    let provider = match bench.subject.arm(Of::Reading, trouble).await {
        Ok(provider) => provider,
        Err(why) => return Outcome::NotApplicable(why),
    };
    let record = bench.subject.record();
    let read = tokio::time::timeout(BOUND, provider.read(&record)).await.expect("a reading has an end");
    let error = read.expect_err("a reading that went wrong is no reading");
    bench.keeps_secrets(&error);
    let ProviderError::Transient { retry_after, .. } = &error else { panic!("it may pass: {error:?}") };
    assert_eq!(*retry_after, (trouble == Trouble::TooMany).then_some(RETRY_AFTER), "{error:?}");
    bench.must_stand(&[bench.subject.values()[0]], epoch).await;
    Outcome::Ok
}

async fn writing(bench: &Bench<'_>, trouble: Trouble) -> Outcome {
    if trouble == Trouble::PutOff
        && let Err(why) = bench.subject.has_later_step()
    {
        return Outcome::NotApplicable(why);
    }
    bench.fresh().await;
    let [a, b, _] = bench.subject.values();
    let change = bench.change(bench.read().await, &[b], bench.next_epoch());
    let Epoch(epoch) = change.fence.epoch;
    let before = bench.subject.truth().await;
    let provider = match bench.subject.arm(Of::Writing, trouble).await {
        Ok(provider) => provider,
        Err(why) => return Outcome::NotApplicable(why),
    };
    bench.subject.sent().await;
    let wrote = tokio::time::timeout(BOUND, provider.write(&change)).await.expect("a write has an end");
    let sent = bench.subject.sent().await;
    assert!(sent <= 1, "a write is never repeated by the one who sent it, and this one was sent {sent} times");
    let truth = bench.subject.truth().await;
    match wrote {
        // An empty answer may be how the API says yes. Then the world must say so, too.
        Ok(_) => {
            assert_eq!((trouble, &truth), (Trouble::EmptyAnswer, &truth_of(&[b], epoch)), "a success that is none");
        }
        Err(error) => {
            bench.keeps_secrets(&error);
            match (&error, trouble) {
                (ProviderError::Transient { retry_after, .. }, Trouble::TooMany) => {
                    assert_eq!((*retry_after, &truth), (Some(RETRY_AFTER), &before), "nothing is done");
                }
                // Whoever says that nothing was done must be right.
                (ProviderError::Transient { .. }, Trouble::ServerError { applied: false }) => {
                    assert_eq!(truth, before, "{error:?}");
                }
                (ProviderError::Indeterminate(_), Trouble::TooMany) => panic!("it was refused unread: {error:?}"),
                (ProviderError::Indeterminate(_), _) => {}
                // Some steps are done: the values of before or both, and for how long to wait is not lost.
                (ProviderError::Unfinished { retry_after, .. }, Trouble::PutOff) => {
                    assert_eq!(*retry_after, Some(RETRY_AFTER), "{error:?}");
                }
                (ProviderError::Transient { retry_after, .. }, Trouble::PutOff) => {
                    assert_eq!((*retry_after, &truth), (Some(RETRY_AFTER), &before), "nothing is done");
                }
                _ => panic!("the write is in doubt: {error:?}"),
            }
        }
    }
    let whole = truth.values == [a] || truth.values == [b];
    assert!(whole || bench.subject.goes_in_steps() && truth.values.iter().eq(&BTreeSet::from([a, b])), "{truth:?}");
    bench.finish(&[b], epoch).await;
    Outcome::Ok
}

/// Nothing is done, nothing is shown, and the error says what to do.
async fn refused(bench: &Bench<'_>, of: Of, trouble: Trouble) -> Outcome {
    let epoch = bench.fresh().await;
    let [a, b, _] = bench.subject.values();
    let change = bench.change(bench.read().await, &[b], bench.next_epoch());
    let provider = match bench.subject.arm(of, trouble).await {
        Ok(provider) => provider,
        Err(why) => return Outcome::NotApplicable(why),
    };
    let error = match of {
        Of::Reading => provider.read(&change.record).await.expect_err("it may not read"),
        Of::Writing => provider.write(&change).await.expect_err("it may not write"),
    };
    bench.keeps_secrets(&error);
    let ProviderError::Permanent { hint, .. } = &error else { panic!("it does not pass by itself: {error:?}") };
    assert!(hint.len() > 15, "a hint says what to do: {error:?}");
    bench.must_stand(&[a], epoch).await;
    Outcome::Ok
}

/// What somebody else put where the fence stands is read, named, and never written over.
async fn occupied(bench: &Bench<'_>, text: &str, says: &str) -> Outcome {
    bench.fresh().await;
    let [a, b, _] = bench.subject.values();
    bench.subject.put_fence(Some(text)).await;
    let expected = bench.read().await;
    let error = bench.subject.provider().write(&bench.change(expected, &[b], bench.next_epoch())).await;
    let truth = bench.subject.truth().await;
    bench.subject.put_fence(None).await;
    let error = error.expect_err("it is somebody else's");
    assert!(matches!(error, ProviderError::Permanent { .. }) && error.to_string().contains(says), "{error:?}");
    assert_eq!((truth.values, truth.fence), (vec![a.to_owned()], vec![text.to_owned()]));
    Outcome::Ok
}
