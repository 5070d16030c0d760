//! What is taken down of administrative acts, and that it is the same everywhere.

use super::{
    super::audit::{AUDIT_LIMIT, Actor, Audit, AuditEntry, MemberAct, Outcome},
    *,
};

fn ann() -> Actor {
    Actor { name: "ann".into(), role: "operator".into() }
}

fn asked(cluster: &mut Cluster, action: Action) -> Response {
    cluster.apply(Action::Asked { by: ann(), what: Box::new(action) })
}

fn freeze(service: Option<&str>) -> Action {
    let freeze = Freeze { by: "ann".into(), reason: "works".into() };
    Action::Freeze { service: service.map(|name| name.parse().unwrap()), freeze }
}

fn last(cluster: &Cluster) -> &AuditEntry {
    cluster.state.audit.entries.back().unwrap()
}

#[test]
fn each_act_is_taken_down_with_what_came_of_it() {
    let mut cluster = Cluster::serving(&[service("app", &["eu", "us"])]);
    cluster.pass_time(Duration::from_secs(1));
    assert!(cluster.state.audit.is_empty(), "nobody asked for anything yet");
    let app = || "app".parse::<ServiceName>().unwrap();
    let manual = |cluster: &Cluster, overrides: &[&str]| cluster.manual("app", "us", overrides);
    let held = manual(&cluster, &[]);
    cluster.pass_time(Duration::from_secs(700));
    let steps: Vec<(Action, &str, &str, &str)> = vec![
        (freeze(Some("app")), "freeze", "", "done"),
        (Action::Unfreeze { service: Some(app()) }, "unfreeze", "", "done"),
        (Action::Unfreeze { service: Some(app()) }, "unfreeze", "", "unchanged"),
        (freeze(None), "freeze", "the whole cluster", "done"),
        (freeze(Some("shop")), "freeze", "", "refused"),
        (held, "switch", "to us under epoch 2", "done"),
        (
            manual(&cluster, &["cooldown", "drift"]),
            "switch",
            "to us under epoch 2, overriding cooldown, drift",
            "refused",
        ),
        (Action::RemoveService { service: app() }, "remove-service", "", "refused"),
    ];
    for (action, word, detail, outcome) in steps {
        asked(&mut cluster, action);
        let entry = last(&cluster);
        let seen = (entry.act.word(), entry.act.to_string(), entry.outcome.word());
        assert_eq!(seen, (word, detail.to_owned(), outcome), "{entry:?}");
        assert_eq!((&entry.by, entry.at.index), (&ann(), cluster.index));
        assert_eq!(entry.outcome.why().is_empty(), outcome != "refused", "{entry:?}");
    }
    let abort = cluster.abort("app", "eu");
    asked(&mut cluster, abort);
    let abort = last(&cluster);
    assert_eq!((abort.act.to_string(), abort.act.reason()), ("back to eu under epoch 3".into(), "a false alarm"));
    let of_app = cluster.state.audit.entries.iter().filter(|of| of.act.service() == Some(&app())).count();
    assert_eq!((of_app, cluster.state.audit.entries.len()), (7, 9), "one is of the cluster, one of no service of it");
}

#[test]
fn what_the_cluster_decides_by_itself_is_no_administrative_act() {
    let mut cluster = Cluster::serving(&[service("app", &["eu", "us"])]);
    asked(&mut cluster, Action::Tick);
    cluster.apply(freeze(None));
    cluster.apply(Action::Begin(MemberAct::Remove { id: 3 }));
    assert!(cluster.state.audit.is_empty());
}

#[test]
fn an_act_beside_the_log_is_told_twice_and_ends_once() {
    let mut cluster = Cluster::three();
    let begun = match asked(&mut cluster, Action::Begin(MemberAct::Remove { id: 3 })) {
        Response::Begun(index) => index,
        other => panic!("{other:?}"),
    };
    assert_eq!((last(&cluster).outcome.word(), last(&cluster).settled), ("begun", None));
    cluster.now += 1500;
    let came = |outcome| Action::Came { begun, outcome };
    let text = "é".repeat(400);
    assert_eq!(cluster.apply(came(Outcome::Unknown(text))), Response::Done);
    let entry = last(&cluster);
    assert_eq!((entry.outcome.why().len(), entry.settled.unwrap().at), (500, LogTime(1500)));
    // Told again by a node that heard no answer, or of an entry that begins nothing.
    assert_eq!(cluster.apply(came(Outcome::Done)), Response::Unchanged);
    assert_eq!(cluster.apply(Action::Came { begun: 999, outcome: Outcome::Done }), Response::Unchanged);
    assert_eq!(last(&cluster).outcome.word(), "unknown");
}

#[test]
fn the_oldest_are_forgotten_and_the_rest_survives_a_snapshot() {
    let mut cluster = Cluster::three();
    let mut twin = Cluster::three();
    for _ in 0..AUDIT_LIMIT + 5 {
        asked(&mut cluster, freeze(None));
        asked(&mut twin, freeze(None));
    }
    let audit = &cluster.state.audit;
    assert_eq!((audit.entries.len(), audit.forgotten), (AUDIT_LIMIT, 5));
    assert_eq!(audit.entries.front().unwrap().at.index, 7, "the sixth act, after the membership");
    let mut written = vec![];
    ciborium::into_writer(&cluster.state, &mut written).unwrap();
    let read: State = ciborium::from_reader(&written[..]).unwrap();
    assert_eq!(read.audit, cluster.state.audit);
    assert_eq!(cluster.state, twin.state, "invariant 8");
    assert_ne!(Audit::default(), read.audit);
}
