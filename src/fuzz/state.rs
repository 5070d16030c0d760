//! Commands out of a log, whoever wrote them: `apply` is total, and so is every question that the state answers.

use std::{collections::BTreeMap, time::Duration};

use super::Target;
use crate::core::{
    audit::{self, Actor, MemberAct},
    gauge::{Gauge, Lag, Replica},
    names::{EndpointId, Epoch, LogTime, NodeId, ServiceName},
    report::{Outcome, Report, Run, Sight},
    service::{Region, Service},
    state::{Action, Command, Freeze, Position, State},
    switch::{Cause, Intent},
};

pub(super) const TARGETS: &[Target] = &[Target { name: "apply", run: apply, seeds: logs }];

/// The electorate of every run: a report counts only of a voter.
fn empty() -> State {
    let sites = ["paris", "oslo", "rome"].into_iter().filter_map(|site| site.parse().ok());
    let voters: BTreeMap<NodeId, _> = (1..).zip(sites).collect();
    let mut state = State::default();
    state.set_voters(Position { term: 1, index: 1 }, voters);
    state
}

/// CBOR: the commands of a log, one after the other. An empty list is an election.
fn apply(mut input: &[u8]) {
    let mut state = empty();
    let mut at = state.position;
    while let Ok(commands) = ciborium::from_reader::<Vec<Command>, _>(&mut input) {
        if commands.is_empty() {
            at = Position { term: at.term + 1, index: at.index + 1 };
            state.enter_term(at);
        }
        for command in &commands {
            at.index += 1;
            state.apply(at, command);
            answer_everything(&state);
        }
    }
    // What a snapshot carries of it is the same state again.
    let mut written = Vec::new();
    ciborium::into_writer(&state, &mut written).expect("the state serialises");
    let read: State = ciborium::from_reader(&written[..]).expect("a state reads back");
    assert_eq!(read, state);
    assert_eq!(read.check(), Ok(()));
}

/// Everything that a node asks of its state.
pub(crate) fn answer_everything(state: &State) {
    let _ = (state.due(), state.catalogue());
    for (name, service) in &state.services {
        let _ = (state.explain(name, None), service.switches().count());
        let _ = crate::grpc::fuzz::service_answers(state, service);
        for region in &service.service.regions {
            let _ = (state.tally(service, &region.name), service.answers(&region.name));
            let _ = state.explain(name, Some(&region.name));
        }
    }
}

/// A log with a service, its switch, an election and every kind of command.
fn log() -> Vec<Vec<Action>> {
    let source = include_str!("../../tests/fixtures/services/every-key.toml");
    let (service, _) = crate::service_file::parse(source).expect("the fixture is a service file");
    let name = service.name.clone();
    let intent = |region: usize, epoch, cause| {
        let to = service.regions[region].name.clone();
        Action::Authorise(Intent { service: name.clone(), epoch: Epoch(epoch), to, cause })
    };
    let written = |epoch| {
        let receipts = BTreeMap::from([("app A at main".to_owned(), "serial 7".to_owned())]);
        Action::Written { service: name.clone(), epoch: Epoch(epoch), receipts }
    };
    let observed = |epoch| Action::Observed { service: name.clone(), epoch: Epoch(epoch), answers: vec![] };
    let text = Some("something".to_owned());
    let by = Actor { name: "ann".to_owned(), role: "admin".to_owned() };
    let asked = |what| Action::Asked { by: by.clone(), what: Box::new(what) };
    let freeze = Freeze { by: "ann".to_owned(), reason: "works".to_owned() };
    let manual = Cause::Manual { by: "ann".to_owned(), reason: "drill".to_owned(), overrides: [].into() };
    vec![
        vec![
            Action::ApplyService {
                service: Box::new(service.clone()),
                source: source.to_owned(),
                by: "ann".into(),
                exclusive: true,
            },
            intent(0, 1, Cause::Adopt),
            written(1),
            observed(1),
            Action::Reports((1..=3).map(|node| report(node, 1, Outcome::Pass)).collect()),
            Action::Tick,
            Action::Gauges(gauges(&service)),
            intent(1, 2, manual),
            written(2),
            observed(2),
        ],
        vec![],
        vec![
            Action::Reports((1..=3).map(|node| report(node, 2, Outcome::Fail)).collect()),
            intent(0, 3, Cause::Failover),
            Action::Trouble { service: name.clone(), text: text.clone() },
            Action::Drift { service: name.clone(), text },
            Action::Freeze { service: Some(name.clone()), freeze: freeze.clone() },
            Action::Freeze { service: None, freeze },
            Action::Unfreeze { service: Some(name.clone()) },
            Action::Unfreeze { service: None },
            asked(Action::RemoveService { service: name.clone() }),
            asked(Action::RemoveService { service: name.clone() }),
            asked(Action::Begin(MemberAct::Remove { id: 3 })),
            Action::Came { begun: 1, outcome: audit::Outcome::Unknown("é".repeat(400)) },
        ],
    ]
}

/// A reading of each kind.
fn gauges(service: &Service) -> Vec<Gauge> {
    let lags = [Lag::Seen { seen: LogTime(1), failing: None }, Lag::Unknown("x".repeat(300))];
    let replicas = [Replica::Usable("ACTIVE".to_owned()), Replica::Unusable("CREATING".to_owned())];
    let kinds = service.regions.iter().rev().zip(lags).zip(replicas);
    let gauge = |((region, lag), replica): ((&Region, Lag), Replica)| Gauge {
        service: service.name.clone(),
        region: region.name.clone(),
        through: service.regions[0].name.clone(),
        replica,
        lag,
    };
    kinds.map(gauge).collect()
}

/// The actions of that log.
pub(crate) fn log_of_actions() -> Vec<Action> {
    log().concat()
}

fn report(node: NodeId, seq: u64, outcome: Outcome) -> Report {
    let run = |endpoint| Run {
        endpoint: EndpointId(endpoint),
        outcome,
        number: 1,
        count: 3,
        before: Some(4),
        reason: "timeout".to_owned(),
        dependencies: vec!["db".to_owned()],
    };
    let sight = Sight { controls: vec![("peers".to_owned(), Some("timeout".to_owned()))], peers: [(2, false)].into() };
    Report {
        node,
        seq,
        runs: (0..4).map(run).collect(),
        lost: vec![EndpointId(9)],
        sight: Some(sight),
        ..Report::default()
    }
}

fn logs() -> Vec<Vec<u8>> {
    let minute = u64::try_from(Duration::from_mins(1).as_millis()).unwrap_or_default();
    let mut at = 0;
    let mut whole = Vec::new();
    for actions in log() {
        let commands: Vec<Command> = actions
            .into_iter()
            .map(|action| {
                at += minute;
                Command { at: LogTime(at), wall: at, action }
            })
            .collect();
        ciborium::into_writer(&commands, &mut whole).expect("commands serialise");
    }
    vec![whole]
}

/// The state in the middle of that log, with a switch behind it and one open, and the service's name.
pub(crate) fn serving() -> (State, ServiceName) {
    let mut state = empty();
    for (index, action) in (2..).zip(log_of_actions().into_iter().take(8)) {
        let at = LogTime(index * 60_000);
        state.apply(Position { term: 1, index }, &Command { at, wall: index, action });
    }
    let name = state.services.keys().next().cloned().expect("the log applies a service");
    (state, name)
}
