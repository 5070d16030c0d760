//! Linearizability of the register once more, by a checker of another make: stateright's.
//!
//! Its search has no memory, so the history is cut where nothing is under way; the register only moves forward, so the state
//! there is the newest one. A switch of unknown fate is resolved by what was seen afterwards: its epoch either was reached
//! before anybody else's acknowledgement explains it, or it never took effect.

use std::collections::{BTreeMap, BTreeSet};

use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

use crate::{
    edn::Edn,
    history::{Op, Process, Type},
};

/// The register: the epoch and the region.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Register(pub u64, pub String);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Ask {
    Read,
    /// Expected epoch, region.
    Switch(u64, String),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Answer {
    Is(u64, String),
    /// The new epoch.
    Switched(u64),
    Refused,
}

impl SequentialSpec for Register {
    type Op = Ask;
    type Ret = Answer;

    fn invoke(&mut self, op: &Ask) -> Answer {
        match op {
            Ask::Read => Answer::Is(self.0, self.1.clone()),
            Ask::Switch(expected, to) if *expected == self.0 => {
                *self = Self(self.0 + 1, to.clone());
                Answer::Switched(self.0)
            }
            Ask::Switch(..) => Answer::Refused,
        }
    }
}

/// One operation that counts.
#[derive(Debug, Clone)]
struct Span {
    client: u64,
    began: u64,
    ended: u64,
    ask: Ask,
    answer: Answer,
}

fn field<'e>(value: &'e Edn, name: &str) -> Option<&'e Edn> {
    let Edn::Map(entries) = value else { return None };
    entries.iter().find(|(key, _)| matches!(key, Edn::Key(word) if word == name)).map(|(_, value)| value)
}

fn number(value: &Edn, name: &str) -> Option<u64> {
    if let Edn::Int(number) = field(value, name)? { Some(*number) } else { None }
}

fn text(value: &Edn, name: &str) -> Option<String> {
    if let Edn::Text(text) = field(value, name)? { Some(text.clone()) } else { None }
}

/// The operations on a register, and those of unknown fate.
fn spans(ops: &[Op], service: &str) -> (Vec<Span>, Vec<Span>) {
    let mut open = BTreeMap::<u64, &Op>::new();
    let (mut known, mut unknown) = (vec![], vec![]);
    for op in ops {
        let Process::Client(client) = op.process else { continue };
        if op.kind == Type::Invoke {
            open.insert(client, op);
            continue;
        }
        let Some(begun) = open.remove(&client) else { continue };
        if text(&begun.value, "service").as_deref() != Some(service) {
            continue;
        }
        let span = |ask, answer, ended| Span { client, began: begun.time, ended, ask, answer };
        match (op.f, op.kind) {
            ("read", Type::Ok) => {
                if let (Some(epoch), Some(region)) = (number(&op.value, "epoch"), text(&op.value, "region")) {
                    known.push(span(Ask::Read, Answer::Is(epoch, region), op.time));
                }
            }
            ("switch", Type::Ok | Type::Info) => {
                let (Some(expected), Some(to)) = (number(&begun.value, "expected"), text(&begun.value, "to")) else {
                    continue;
                };
                let epoch = number(&op.value, "epoch").unwrap_or(expected + 1);
                let list = if op.kind == Type::Ok { &mut known } else { &mut unknown };
                list.push(span(Ask::Switch(expected, to), Answer::Switched(epoch), op.time));
            }
            _ => {}
        }
    }
    (known, unknown)
}

/// What is wrong with a register's history; `None` if some order explains it.
pub fn violation(ops: &[Op], service: &str, initial: Register) -> Option<String> {
    let (mut spans, unknown) = spans(ops, service);
    let acknowledged: BTreeSet<u64> = spans
        .iter()
        .filter_map(|span| if let Answer::Switched(epoch) = span.answer { Some(epoch) } else { None })
        .collect();
    let seen: Vec<(u64, u64, Option<String>)> = spans
        .iter()
        .map(|span| match (&span.ask, &span.answer) {
            (_, Answer::Is(epoch, region)) => (*epoch, span.ended, Some(region.clone())),
            (Ask::Switch(expected, _), _) => (*expected, span.ended, None),
            _ => (0, span.ended, None),
        })
        .collect();
    let mut resolved = BTreeSet::new();
    for mut span in unknown {
        let (Answer::Switched(epoch), Ask::Switch(_, to)) = (&span.answer, &span.ask) else { continue };
        // Somebody saw its epoch, or a later one, and nobody else was given it. By then it had happened.
        let region = seen.iter().find(|(of, _, region)| of == epoch && region.is_some()).and_then(|of| of.2.clone());
        let first = seen.iter().filter(|(of, _, _)| of >= epoch).map(|(_, ended, _)| *ended).min();
        let Some(first) = first.filter(|first| *first > span.began) else { continue };
        if acknowledged.contains(epoch) || region.is_some_and(|region| region != *to) || !resolved.insert(*epoch) {
            continue;
        }
        span.ended = first;
        spans.push(span);
    }
    spans.sort_by_key(|span| span.began);
    let mut state = initial;
    let mut from = 0;
    while from < spans.len() {
        let (mut to, mut latest) = (from + 1, spans[from].ended);
        while to < spans.len() && spans[to].began <= latest {
            latest = latest.max(spans[to].ended);
            to += 1;
        }
        if let Err(why) = section(&spans[from..to], &mut state) {
            return Some(format!("{service}: {why}"));
        }
        from = to;
    }
    None
}

/// Checks what overlaps, and moves the state on.
fn section(spans: &[Span], state: &mut Register) -> Result<(), String> {
    let mut tester = LinearizabilityTester::new(state.clone());
    let mut events: Vec<(u64, bool, &Span)> =
        spans.iter().flat_map(|span| [(span.began, true, span), (span.ended, false, span)]).collect();
    // At one instant, beginnings first: overlapping is the weaker claim.
    events.sort_by_key(|(time, begins, _)| (*time, !begins));
    for (_, begins, span) in events {
        let noted = if begins {
            tester.on_invoke(span.client, span.ask.clone()).map(drop)
        } else {
            tester.on_return(span.client, span.answer.clone()).map(drop)
        };
        noted.map_err(|why| format!("the history itself is wrong: {why}"))?;
    }
    let order = tester.serialized_history();
    let order = order.ok_or_else(|| format!("from {state:?} no order explains {spans:?}"))?;
    for (ask, _) in order {
        state.invoke(&ask);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edn::map;

    fn op(time: u64, client: u64, kind: Type, f: &'static str, value: Edn) -> Op {
        Op { time, process: Process::Client(client), kind, f, value }
    }

    fn read(time: u64, ended: u64, client: u64, epoch: u64, region: &str) -> [Op; 2] {
        let of = map([("service", "reg".into()), ("epoch", epoch.into()), ("region", region.into())]);
        [
            op(time, client, Type::Invoke, "read", map([("service", "reg".into())])),
            op(ended, client, Type::Ok, "read", of),
        ]
    }

    fn switch(time: u64, ended: u64, client: u64, expected: u64, to: &str, kind: Type) -> [Op; 2] {
        let of = |epoch: Option<u64>| {
            map([("service", "reg".into()), ("expected", expected.into()), ("to", to.into()), ("epoch", epoch.into())])
        };
        let epoch = (kind == Type::Ok).then_some(expected + 1);
        [op(time, client, Type::Invoke, "switch", of(None)), op(ended, client, kind, "switch", of(epoch))]
    }

    fn judge(parts: &[[Op; 2]]) -> Option<String> {
        let mut ops = parts.concat();
        ops.sort_by_key(|op| op.time);
        violation(&ops, "reg", Register(1, "north".into()))
    }

    #[test]
    fn orders_are_found_where_there_is_one() {
        let ok = switch(10, 20, 0, 1, "south", Type::Ok);
        assert_eq!(judge(&[ok.clone(), read(15, 30, 1, 1, "north")]), None, "the read may come first");
        let lost = switch(40, 50, 2, 2, "north", Type::Info);
        assert_eq!(judge(&[ok.clone(), lost.clone(), read(60, 70, 1, 3, "north")]), None, "it happened");
        assert_eq!(judge(&[ok, lost, read(60, 70, 1, 2, "south")]), None, "it never happened");
    }

    #[test]
    fn what_no_order_explains_is_found() {
        let ok = switch(10, 20, 0, 1, "south", Type::Ok);
        assert!(judge(&[ok.clone(), read(25, 30, 1, 1, "north")]).is_some(), "a stale read");
        assert!(judge(&[ok.clone(), switch(25, 30, 1, 1, "south", Type::Ok)]).is_some(), "an epoch given twice");
        assert!(judge(&[ok, read(25, 30, 1, 2, "north")]).is_some(), "a value that nobody wrote");
        let late = switch(40, 50, 2, 2, "north", Type::Info);
        assert!(judge(&[late, read(5, 8, 1, 3, "north")]).is_some(), "seen before it began");
    }
}
