//! What every provider must do, whatever its API: one table of cases.

use std::{collections::BTreeSet, time::Duration};

use quorate::{
    core::{
        names::Epoch,
        record::{Fence, Record, RecordType, RecordValue, RrSet},
    },
    dns::{Change, FenceReading, Grade, Provider, ProviderError, Reading, Receipt},
};

use crate::fake_http::{FakeHttp, Fault, Reply};

pub const ZONE: &str = "example.test";
pub const EU: &str = "203.0.113.10";
pub const US: &str = "198.51.100.20";

pub fn record(name: &str, rtype: RecordType) -> Record {
    Record {
        provider: "main".parse().unwrap(),
        zone: ZONE.parse().unwrap(),
        name: name.parse().unwrap(),
        rtype,
        ttl: 60,
    }
}

pub fn www() -> Record {
    record("www.example.test", RecordType::A)
}

pub fn rrset(rtype: RecordType, ttl: u32, values: &[&str]) -> RrSet {
    let values: BTreeSet<_> = values.iter().map(|value| RecordValue::parse(rtype, value).unwrap()).collect();
    RrSet { ttl, values }
}

pub fn change(record: &Record, expected: Reading, values: &[&str], epoch: u64) -> Change {
    let fence = Fence { cluster: "prod".parse().unwrap(), epoch: Epoch(epoch) };
    Change { record: record.clone(), expected, rrset: rrset(record.rtype, record.ttl, values), fence }
}

pub async fn switch(
    provider: &dyn Provider,
    record: &Record,
    values: &[&str],
    epoch: u64,
) -> Result<Receipt, ProviderError> {
    let expected = provider.read(record).await?;
    provider.write(&change(record, expected, values, epoch)).await
}

pub fn epoch_of(reading: &Reading) -> u64 {
    match &reading.fence {
        FenceReading::Present(fence) => fence.epoch.0,
        other => panic!("a fence expected: {other:?}"),
    }
}

/// A provider, and the world that it writes to.
pub struct Subject<'a> {
    pub name: &'a str,
    pub provider: &'a dyn Provider,
    /// The same with a timeout of 400 ms.
    pub impatient: &'a dyn Provider,
    /// Makes the next reading or writing go wrong, once.
    pub fail_next: &'a dyn Fn(Side, Wrong),
    /// How many writes were sent since the last time it was asked.
    pub writes: &'a dyn Fn() -> usize,
    /// What the record holds, and what the fence, asked of the world itself.
    pub world: &'a dyn Fn() -> (Vec<String>, Vec<String>),
    /// Puts another fence text there, behind everybody's back.
    pub set_fence: &'a dyn Fn(&str),
    /// Whether it can say how long to wait.
    pub says_how_long: bool,
    /// What must never be shown.
    pub secrets: &'a [&'a str],
}

/// Which call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Read,
    Write,
}

/// What goes wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Too many calls: try again after 7 s, where there is a way to say so.
    TooMany,
    /// The credential is expired or unknown.
    Expired,
    /// It lacks a right.
    Forbidden,
    /// A failure of the server, after the call was carried out or not.
    Broken { applied: bool },
    /// No answer.
    Lost { applied: bool },
    /// No answer for longer than anybody waits.
    Hang { applied: bool },
    /// An answer that means nothing; the call is carried out.
    Garbage,
    /// An answer without end; the call is carried out.
    Flood,
    /// An empty answer; nothing is done.
    Empty,
}

/// How an HTTP API words the refusals; the rest is the same for all.
pub struct Http<'a> {
    pub fake: &'a FakeHttp,
    /// Method and a part of the path of the call that reads the record.
    pub read: (&'a str, &'a str),
    /// Of the call that changes it.
    pub write: (&'a str, &'a str),
    /// Too many calls, with `Retry-After: 7`.
    pub too_many: Reply,
    pub expired: Reply,
    pub forbidden: Reply,
}

impl Http<'_> {
    pub fn fail_next(&self, side: Side, wrong: Wrong) {
        let (method, path) = if side == Side::Read { self.read } else { self.write };
        let fault = match wrong {
            Wrong::TooMany => Fault::Refuse(self.too_many.clone()),
            Wrong::Expired => Fault::Refuse(self.expired.clone()),
            Wrong::Forbidden => Fault::Refuse(self.forbidden.clone()),
            Wrong::Broken { applied } => Fault::Html { status: 502, applied },
            Wrong::Lost { applied } => Fault::Drop { applied },
            Wrong::Hang { applied } => Fault::Hang { applied },
            Wrong::Garbage => Fault::Garbage,
            Wrong::Flood => Fault::Flood,
            Wrong::Empty => Fault::Refuse(Reply { status: 200, headers: vec![], body: String::new() }),
        };
        self.fake.fail_next(method, path, fault);
    }

    pub fn writes(&self) -> usize {
        let (method, path) = self.write;
        self.fake.take_log().iter().filter(|call| call.starts_with(method) && call.contains(path)).count()
    }
}

fn transient(error: &ProviderError) -> bool {
    matches!(error, ProviderError::Transient { retry_after: None, .. })
}

/// Runs every case on a record that holds [`EU`] without a fence; prints one line a case.
pub async fn run(subject: &Subject<'_>) {
    let Subject { provider, impatient, fail_next, .. } = *subject;
    let www = www();
    let done = |case: &str| println!("contract: {:<12} {case:<44} ok", subject.name);
    let says_nothing = |error: &ProviderError| {
        let text = format!("{error} {error:?} {provider:?}");
        for secret in subject.secrets {
            assert!(!text.contains(secret), "a secret is shown: {text}");
        }
    };
    let world = |values: &[&str], epoch: u64| {
        let (found, fences) = (subject.world)();
        assert_eq!(found, values, "values of epoch {epoch}");
        assert_eq!(fences, [format!("v=1 cluster=prod epoch={epoch}")]);
    };

    let first = provider.read(&www).await.unwrap();
    assert_eq!(first, Reading { rrset: Some(rrset(RecordType::A, 60, &[EU])), fence: FenceReading::Absent });
    assert_eq!(provider.read(&record("nothing.example.test", RecordType::A)).await.unwrap().rrset, None);
    done("read, and a record that is not there");

    switch(provider, &www, &[EU], 1).await.unwrap();
    world(&[EU], 1);
    let old = provider.read(&www).await.unwrap();
    switch(provider, &www, &[US], 2).await.unwrap();
    world(&[US], 2);
    let now = provider.read(&www).await.unwrap();
    assert_eq!((now.rrset.clone(), epoch_of(&now)), (Some(rrset(RecordType::A, 60, &[US])), 2));
    done("write, read back");

    for (case, expected, epoch) in [
        ("stale write", old.clone(), 3),
        ("stale write of an older epoch", now.clone(), 1),
        ("stale write, the same values under an older fence", Reading { fence: old.fence.clone(), ..now.clone() }, 3),
    ] {
        let error = provider.write(&change(&www, expected, &[EU], epoch)).await.unwrap_err();
        assert!(matches!(error, ProviderError::Stale(_)), "{case}: {error:?}");
        world(&[US], 2);
        done(case);
    }

    // The same write twice: the second finds its condition gone, and changes nothing.
    let twice = change(&www, now, &[EU], 3);
    provider.write(&twice).await.unwrap();
    let error = provider.write(&twice).await.unwrap_err();
    assert!(matches!(error, ProviderError::Stale(_)), "{error:?}");
    world(&[EU], 3);
    done("duplicate");

    let empty = Change { rrset: RrSet { ttl: 60, values: BTreeSet::new() }, ..twice.clone() };
    assert!(matches!(provider.write(&empty).await.unwrap_err(), ProviderError::Permanent { .. }));
    world(&[EU], 3);
    done("record never empty");

    let many = [EU, "203.0.113.11", "203.0.113.12"];
    switch(provider, &www, &many, 4).await.unwrap();
    world(&many, 4);
    switch(provider, &www, &[US], 5).await.unwrap();
    world(&[US], 5);
    done("more values, fewer values");

    // What a reading makes of each failure.
    let reads = [
        ("429 with retry-after", Wrong::TooMany),
        ("5xx", Wrong::Broken { applied: false }),
        ("garbage", Wrong::Garbage),
        ("flood", Wrong::Flood),
        ("timeout", Wrong::Hang { applied: false }),
        ("connection lost", Wrong::Lost { applied: false }),
        ("empty answer", Wrong::Empty),
    ];
    for (case, wrong) in reads {
        let hang = matches!(wrong, Wrong::Hang { .. });
        fail_next(Side::Read, wrong);
        let error = if hang { impatient } else { provider }.read(&www).await.unwrap_err();
        says_nothing(&error);
        if wrong == Wrong::TooMany {
            let wait = subject.says_how_long.then_some(Duration::from_secs(7));
            assert!(matches!(error, ProviderError::Transient { retry_after, .. } if retry_after == wait), "{error:?}");
        } else {
            assert!(transient(&error), "{case}: {error:?}");
        }
        done(&format!("reading: {case}"));
    }
    for (case, wrong) in [("expired credential", Wrong::Expired), ("missing right", Wrong::Forbidden)] {
        for (of, side) in [("reading", Side::Read), ("writing", Side::Write)] {
            let expected = provider.read(&www).await.unwrap();
            fail_next(side, wrong);
            let error = match side {
                Side::Read => provider.read(&www).await.unwrap_err(),
                Side::Write => provider.write(&change(&www, expected, &[EU], 6)).await.unwrap_err(),
            };
            says_nothing(&error);
            assert!(matches!(&error, ProviderError::Permanent { hint, .. } if hint.len() > 20), "{case}: {error:?}");
            world(&[US], 5);
            done(&format!("{of}: {case}"));
        }
    }

    // What a writer makes of it, and that the epoch can be finished.
    let mut epoch = 5;
    let writes = [
        ("429 with retry-after", Wrong::TooMany),
        ("5xx, not applied", Wrong::Broken { applied: false }),
        ("5xx, applied", Wrong::Broken { applied: true }),
        ("garbage, applied", Wrong::Garbage),
        ("flood, applied", Wrong::Flood),
        ("timeout, not applied", Wrong::Hang { applied: false }),
        ("timeout, applied", Wrong::Hang { applied: true }),
        ("answer lost, not applied", Wrong::Lost { applied: false }),
        ("answer lost, applied (indeterminate)", Wrong::Lost { applied: true }),
    ];
    for (case, wrong) in writes {
        epoch += 1;
        let to = if epoch % 2 == 0 { EU } else { US };
        let hang = matches!(wrong, Wrong::Hang { .. });
        let expected = provider.read(&www).await.unwrap();
        (subject.writes)();
        fail_next(Side::Write, wrong);
        let change = change(&www, expected, &[to], epoch);
        let error = if hang { impatient } else { provider }.write(&change).await.unwrap_err();
        says_nothing(&error);
        let doubt = matches!(error, ProviderError::Indeterminate(_));
        assert_eq!(doubt, wrong != Wrong::TooMany, "{case}: {error:?}");
        assert_eq!((subject.writes)(), 1, "{case}: a write is sent once");
        finish(provider, &www, to, epoch).await;
        world(&[to], epoch);
        done(&format!("writing: {case}"));
    }

    for (text, said) in [("v=1 cluster=other epoch=9", "belongs to cluster `other`"), ("in use", "no fence: in use")] {
        (subject.set_fence)(text);
        let error = switch(provider, &www, &[US], epoch + 10).await.unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!((subject.world)().1, [text]);
    }
    done("foreign fence, and a text that is none");
    println!("contract: {:<12} grade {}", subject.name, provider.grade());
    assert!(provider.grade() != Grade::A, "these are the weaker ones");
}

/// What the leader does with a write in doubt: read, and write again under the same epoch if it is not there.
async fn finish(provider: &dyn Provider, record: &Record, to: &str, epoch: u64) {
    let found = provider.read(record).await.unwrap();
    let wanted = rrset(record.rtype, record.ttl, &[to]);
    if found.rrset.as_ref() != Some(&wanted) || epoch_of(&found) != epoch {
        provider.write(&change(record, found, &[to], epoch)).await.unwrap();
    }
}
