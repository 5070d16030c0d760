//! What happens, told case by case.

use super::{super::safety::Rule, super::switch::SwitchStatus, super::verdict::Verdict, *};
use Outcome::{Fail, Pass};

const EU: u32 = 0;
const US: u32 = 1;

fn app() -> Cluster {
    Cluster::serving(&[service("app", &["eu", "us"])])
}

fn refused(response: &Response) -> Option<Rule> {
    match response {
        Response::Refused(Refusal::Rule { rule, .. }) => Some(*rule),
        _ => None,
    }
}

fn conclusion(cluster: &Cluster) -> String {
    cluster.state.explain(&"app".parse().unwrap(), None).unwrap().conclusion
}

#[test]
fn a_quorum_of_sites_moves_the_service_once() {
    let mut cluster = app();
    cluster.pass_time(Duration::from_secs(601));
    cluster.sees(1, EU, Fail, 3);
    assert_eq!(cluster.step(), [], "one site alone");
    let forming =
        "1 of 3 sites say eu is down, 2 needed: no switch, eu stays; one to us could come in 3 s at the earliest";
    assert_eq!(conclusion(&cluster), forming);
    cluster.sees(2, EU, Fail, 2);
    assert_eq!(cluster.step(), [], "not yet settled at the second");
    cluster.sees(2, EU, Fail, 3);
    assert_eq!(cluster.step(), [Response::Authorised(Epoch(2))]);
    assert_eq!(cluster.step(), [], "the intent is open: nothing more is due");
    let open = cluster.of("app").open.clone().unwrap();
    assert_eq!((open.from.unwrap().as_str(), open.to.as_str(), open.epoch), ("eu", "us", Epoch(2)));
    assert_eq!(open.evidence.regions["eu"].tally.down, 2);
    cluster.settle("app");
    cluster.sees(3, EU, Fail, 3);
    assert_eq!(cluster.step(), [], "one outage, one switch (invariant 11)");
    assert_eq!(cluster.of("app").active.as_ref().unwrap().as_str(), "us");
    assert_eq!(cluster.of("app").switches().map(|s| s.epoch.0).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn blind_silent_expired_or_of_an_earlier_term_is_never_down() {
    for spoil in ["blind", "silent", "term"] {
        let mut cluster = app();
        cluster.pass_time(Duration::from_secs(601));
        cluster.sees(1, EU, Fail, 3);
        match spoil {
            "blind" => drop(cluster.report(1, vec![], Some("2 of 3 controls fail".into()))),
            "silent" => {
                // 3 intervals and the timeout: 7 s. Sites 2 and 3 go on reporting, site 1 does not.
                cluster.now += 7_001;
            }
            _ => cluster.elect(),
        }
        for endpoint in [EU, US] {
            cluster.sees(3, endpoint, Pass, 2);
        }
        cluster.sees(2, US, Pass, 2);
        cluster.sees(2, EU, Fail, 3);
        assert_eq!(cluster.step(), [], "{spoil}: only site 2 counts");
        assert_eq!(cluster.of("app").verdict(&"eu".parse().unwrap()), Verdict::Undecided, "{spoil}");
    }
}

#[test]
fn the_log_refuses_a_leader_that_is_wrong_or_late() {
    let mut cluster = app();
    cluster.pass_time(Duration::from_secs(601));
    cluster.sees(1, EU, Fail, 3);
    cluster.sees(2, EU, Fail, 3);
    let due = cluster.state.due().remove(0);
    // Between the proposal and its entry, site 2 saw the region again.
    cluster.sees(2, EU, Pass, 2);
    assert_eq!(refused(&cluster.apply(due.clone())), Some(Rule::ActiveDown));
    cluster.sees(2, EU, Fail, 3);
    assert_eq!(cluster.apply(due.clone()), Response::Authorised(Epoch(2)));
    assert!(matches!(cluster.apply(due), Response::Refused(Refusal::Epoch { .. })), "the same intent twice");
    let early = Action::Observed { service: "app".parse().unwrap(), epoch: Epoch(2), answers: vec![] };
    assert_eq!(cluster.apply(early), Response::Refused(Refusal::NotOpen(Epoch(2))), "not yet written");
    let wrong = Action::Written { service: "app".parse().unwrap(), epoch: Epoch(1), receipts: BTreeMap::new() };
    assert_eq!(cluster.apply(wrong), Response::Refused(Refusal::NotOpen(Epoch(1))));
}

#[test]
fn rules_hold_an_automatic_switch_and_say_so() {
    type Hold = fn(&mut Cluster);
    let cases: [(&str, Hold, Rule); 5] = [
        ("frozen", |c| freeze(c, Some("app")), Rule::Frozen),
        ("cluster frozen", |c| freeze(c, None), Rule::Frozen),
        ("candidate down", |c| drop((c.sees(1, US, Fail, 3), c.sees(2, US, Fail, 3))), Rule::CandidateUp),
        (
            "drift",
            |c| drop(c.apply(Action::Drift { service: "app".parse().unwrap(), text: Some("x".into()) })),
            Rule::Drift,
        ),
        ("shared dependency", shared_dependency, Rule::SharedDependency),
    ];
    for (name, hold, rule) in cases {
        let mut cluster = app();
        cluster.pass_time(Duration::from_secs(601));
        cluster.sees(1, EU, Fail, 3);
        cluster.sees(2, EU, Fail, 3);
        assert_eq!(cluster.state.due().len(), 1, "{name}: due but for the rule");
        let intent = cluster.state.due().remove(0);
        hold(&mut cluster);
        assert_eq!(cluster.step(), [], "{name}");
        assert_eq!(refused(&cluster.apply(intent)), Some(rule), "{name}: also when a leader proposes it all the same");
        assert!(conclusion(&cluster).contains(": no switch, eu stays"), "{name}: {}", conclusion(&cluster));
    }
}

fn freeze(cluster: &mut Cluster, service: Option<&str>) {
    let freeze = Freeze { by: "ann".into(), reason: "release".into() };
    cluster.apply(Action::Freeze { service: service.map(|name| name.parse().unwrap()), freeze });
}

fn shared_dependency(cluster: &mut Cluster) {
    for (endpoint, outcome) in [(EU, Fail), (US, Pass)] {
        let run = Run {
            endpoint: EndpointId(endpoint),
            number: 1,
            outcome,
            count: 4,
            before: None,
            reason: "status 503".into(),
            dependencies: vec!["dynamodb".into()],
        };
        cluster.report(1, vec![run], None);
    }
}

#[test]
fn cooldown_then_budget_then_freeze() {
    let mut cluster = app();
    cluster.pass_time(Duration::from_secs(601));
    let mut away = EU;
    for epoch in [2, 3] {
        let back = EU + US - away;
        for node in [1, 2] {
            cluster.sees(node, away, Fail, 3);
            cluster.sees(node, back, Pass, 2);
        }
        assert_eq!(cluster.step(), [Response::Authorised(Epoch(epoch))]);
        cluster.settle("app");
        away = back;
        for node in [1, 2] {
            cluster.sees(node, away, Fail, 3);
            cluster.sees(node, EU + US - away, Pass, 2);
        }
        assert_eq!(cluster.step(), [], "cooldown");
        let explained = conclusion(&cluster);
        assert!(explained.contains("cooldown 10 m left"), "{explained}");
        cluster.pass_time(Duration::from_secs(601));
    }
    assert_eq!(cluster.step(), [Response::Done], "the budget is spent: a freeze instead");
    assert!(cluster.of("app").frozen.as_ref().unwrap().reason.contains("2 of 2 automatic switches in 1 h"));
    cluster.pass_time(Duration::from_secs(7200));
    assert_eq!(cluster.step(), [], "frozen until a person looks");
    cluster.apply(Action::Unfreeze { service: Some("app".parse().unwrap()) });
    assert_eq!(cluster.step(), [Response::Authorised(Epoch(4))]);
}

#[test]
fn a_target_that_dies_in_mid_switch_is_left_after_the_cooldown() {
    let mut cluster = Cluster::serving(&[service("app", &["eu", "us", "ap"])]);
    cluster.pass_time(Duration::from_secs(601));
    for node in [1, 2] {
        cluster.sees(node, EU, Fail, 3);
    }
    assert_eq!(cluster.step(), [Response::Authorised(Epoch(2))]);
    for node in [1, 2] {
        cluster.sees(node, US, Fail, 3);
    }
    assert_eq!(cluster.step(), [], "cooldown");
    cluster.pass_time(Duration::from_secs(601));
    assert_eq!(cluster.step(), [Response::Authorised(Epoch(3))]);
    let app = cluster.of("app");
    assert_eq!(app.open.as_ref().unwrap().to.as_str(), "ap");
    assert_eq!(app.history.back().unwrap().status(), SwitchStatus::Superseded);
}

#[test]
fn a_manual_switch_overrides_a_rule_only_by_its_name() {
    let mut cluster = app();
    freeze(&mut cluster, Some("app"));
    let response = cluster.apply(cluster.manual("app", "us", &[]));
    assert_eq!(response, Response::Authorised(Epoch(2)), "a freeze holds automatic switches only");
    // In mid-switch, back again: a new epoch, which the cooldown holds unless it is named.
    assert_eq!(refused(&cluster.apply(cluster.manual("app", "eu", &[]))), Some(Rule::Cooldown));
    let response = cluster.apply(cluster.manual("app", "eu", &["cooldown"]));
    assert_eq!(response, Response::Authorised(Epoch(3)));
    let open = cluster.of("app").open.as_ref().unwrap();
    let cooldown = open.evidence.rules.iter().find(|reading| reading.rule == Rule::Cooldown).unwrap();
    assert!(cooldown.overridden, "the evidence names it");
    let response = cluster.apply(cluster.manual("app", "eu", &["cooldown"]));
    let under_way = Refusal::UnderWay { epoch: Epoch(3), to: "eu".parse().unwrap() };
    assert_eq!(response, Response::Refused(under_way), "it is not active yet, and nobody is told that it is");
    let explained = |cluster: &Cluster| {
        let of = cluster.state.explain(&"app".parse().unwrap(), Some(&"eu".parse().unwrap())).unwrap();
        assert_eq!((of.intent, of.rules.len(), of.due, of.earliest), (None, 0, false, None), "no switch to speak of");
        of.conclusion
    };
    assert_eq!(explained(&cluster), "epoch 3 is under way to `eu` already");
    cluster.settle("app");
    assert_eq!(explained(&cluster), "`eu` is the active region already");
    let response = cluster.apply(cluster.manual("app", "eu", &["cooldown"]));
    assert_eq!(response, Response::Refused(Refusal::AlreadyActive("eu".parse().unwrap())));
}

#[test]
fn failback_waits_for_the_dwell() {
    let mut app = service("app", &["eu", "us"]);
    app.policy.failback = Failback::Automatic;
    app.policy.cooldown = Duration::from_secs(10);
    let mut cluster = Cluster::serving(&[app]);
    cluster.pass_time(Duration::from_secs(601));
    for node in [1, 2] {
        cluster.sees(node, EU, Fail, 3);
    }
    cluster.step();
    cluster.settle("app");
    for node in [1, 2] {
        cluster.sees(node, EU, Pass, 2);
    }
    cluster.pass_time(Duration::from_secs(599));
    assert_eq!(cluster.step(), []);
    assert_eq!(conclusion(&cluster), "0 of 3 sites say us is down, 2 needed; dwell 1 s left: switch to eu due in 1 s");
    cluster.pass_time(Duration::from_secs(1));
    assert_eq!(cluster.step(), [Response::Authorised(Epoch(3))]);
    assert_eq!(cluster.of("app").open.as_ref().unwrap().cause, Cause::Failback);
}

#[test]
fn the_breaker_tells_a_region_from_ourselves() {
    let services: Vec<_> = ["s1", "s2", "s3"].iter().map(|name| service(name, &["eu", "us", "ap"])).collect();
    let mut cluster = Cluster::serving(&services);
    cluster.pass_time(Duration::from_secs(601));
    cluster.apply(cluster.manual("s3", "us", &[]));
    cluster.settle("s3");
    cluster.pass_time(Duration::from_secs(601));
    // Endpoints: 3 a service. The first two services leave eu: one region died, both go.
    let down = |cluster: &mut Cluster, endpoint| {
        for node in [1, 2] {
            cluster.sees(node, endpoint, Fail, 3);
        }
    };
    down(&mut cluster, 0);
    down(&mut cluster, 3);
    assert_eq!(cluster.state.due().len(), 2);
    down(&mut cluster, 7);
    assert_eq!(cluster.state.due().len(), 0, "all services at once, out of different regions");
    let why = cluster.state.explain(&"s1".parse().unwrap(), None).unwrap().conclusion;
    assert!(why.contains("breaker 3 of 3 services want to leave 2 regions"), "{why}");
}

#[test]
fn two_nodes_on_one_site_are_one_vote() {
    let mut cluster = Cluster::new(&[(1, "a"), (2, "a"), (3, "b")]);
    let app = service("app", &["eu", "us"]);
    cluster.apply(Action::ApplyService {
        service: Box::new(app),
        source: String::new(),
        by: String::new(),
        exclusive: true,
    });
    let eu = "eu".parse().unwrap();
    cluster.sees(1, EU, Fail, 3);
    cluster.sees(2, EU, Fail, 3);
    assert_eq!(cluster.state.tally(cluster.of("app"), &eu).down, 1);
    assert_eq!(cluster.of("app").verdict(&eu), Verdict::Undecided);
    cluster.sees(3, EU, Fail, 3);
    assert_eq!(cluster.of("app").verdict(&eu), Verdict::Down);
    cluster.sees(2, EU, Pass, 2);
    assert_eq!(cluster.of("app").verdict(&eu), Verdict::Undecided, "the nodes of site a disagree");
}

/// Two services would write one fence, each its own epochs.
#[test]
fn a_record_is_one_services_only() {
    let mut cluster = app();
    let apply = |cluster: &mut Cluster, service: &Service, exclusive| {
        let (service, source, by) = (Box::new(service.clone()), String::new(), "bob".into());
        cluster.apply(Action::ApplyService { service, source, by, exclusive })
    };
    let taken = |record: &str| {
        let (service, by) = ("shop".parse().unwrap(), "app".parse().unwrap());
        let theirs = "app.example.com A at main".into();
        Response::Refused(Refusal::RecordTaken { service, record: record.into(), by, theirs })
    };
    let mut shop = service("shop", &["eu", "us"]);
    let own = shop.records[0].clone();
    // Another type of the same name has the same fence; the zone is only how the name is written.
    let same = service("app", &["eu", "us"]).records.remove(0);
    let typed = Record { rtype: RecordType::Aaaa, ..same.clone() };
    let deeper = Record { zone: "app.example.com".parse().unwrap(), ..same.clone() };
    for record in [&same, &typed, &deeper] {
        shop.records = vec![own.clone(), record.clone()];
        let before = cluster.state.clone();
        assert_eq!(apply(&mut cluster, &shop, true), taken(&record.to_string()), "{record}");
        assert_eq!(cluster.state.services, before.services, "{record}");
    }
    // The same name at another provider is another record: what is inside need not be what is outside.
    shop.records = vec![own.clone(), Record { provider: "inside".parse().unwrap(), ..same.clone() }];
    assert_eq!(apply(&mut cluster, &shop, true), Response::Done);
    // Its owner may change it, and whoever has it no more leaves it to others.
    let mut app = service("app", &["eu", "us"]);
    app.policy.fall = 5;
    assert_eq!(apply(&mut cluster, &app, true), Response::Done);
    cluster.apply(Action::RemoveService { service: "app".parse().unwrap() });
    shop.records = vec![own, same];
    assert_eq!(apply(&mut cluster, &shop, true), Response::Done);

    // An entry of before the rule does what it did; what it left stands until one of the two is changed.
    let refused = |service: &str, by: &str| {
        let (service, by) = (service.parse().unwrap(), by.parse().unwrap());
        let app: String = "app.example.com A at main".into();
        Response::Refused(Refusal::RecordTaken { service, record: app.clone(), by, theirs: app })
    };
    assert_eq!(apply(&mut cluster, &app, true), refused("app", "shop"));
    assert_eq!(apply(&mut cluster, &app, false), Response::Done);
    assert_eq!(apply(&mut cluster, &app, true), Response::Unchanged);
    app.policy.fall = 4;
    assert_eq!(apply(&mut cluster, &app, true), refused("app", "shop"));
    let old: Action = serde_json::from_str(
        &serde_json::to_string(&Action::ApplyService {
            service: Box::new(app),
            source: String::new(),
            by: "ann".into(),
            exclusive: false,
        })
        .unwrap()
        .replace(",\"exclusive\":false", ""),
    )
    .unwrap();
    assert!(matches!(old, Action::ApplyService { exclusive: false, .. }));
}

#[test]
fn a_service_changes_under_a_new_epoch_only_where_dns_does() {
    let mut cluster = app();
    let apply = |cluster: &mut Cluster, service: &Service| {
        cluster.apply(Action::ApplyService {
            service: Box::new(service.clone()),
            source: String::new(),
            by: "bob".into(),
            exclusive: true,
        })
    };
    let mut app = service("app", &["eu", "us"]);
    assert_eq!(apply(&mut cluster, &app), Response::Unchanged);
    app.policy.fall = 5;
    app.regions[1].probes[0].interval = Duration::from_secs(4);
    assert_eq!(apply(&mut cluster, &app), Response::Done);
    assert!(cluster.of("app").open.is_none());
    assert_eq!(cluster.of("app").endpoints, [[EndpointId(0)], [EndpointId(2)]], "a changed probe starts from unknown");
    assert!(!cluster.state.views[&1].runs.contains_key(&EndpointId(1)));
    app.records[0].ttl = 30;
    assert_eq!(apply(&mut cluster, &app), Response::Done);
    let open = cluster.of("app").open.clone().unwrap();
    assert_eq!((open.epoch, open.cause), (Epoch(2), Cause::Revise { by: "bob".into() }));
    assert_eq!(apply(&mut cluster, &service("app", &["eu", "us"])), Response::Refused(Refusal::SwitchOpen(Epoch(2))));
    cluster.settle("app");
    app.regions.remove(0);
    app.regions.push(service("x", &["b", "c", "ap"]).regions.remove(2));
    let removed = Response::Refused(Refusal::ActiveRegionRemoved("eu".parse().unwrap()));
    assert_eq!(apply(&mut cluster, &app), removed);
    // A service that is removed and comes again goes on counting.
    assert_eq!(cluster.apply(Action::RemoveService { service: "app".parse().unwrap() }), Response::Done);
    assert_eq!(apply(&mut cluster, &app), Response::Done);
    assert_eq!(cluster.of("app").epoch, Epoch(2));
}

#[test]
fn an_abort_goes_back_from_every_step_of_an_open_switch() {
    for written in [false, true] {
        let mut cluster = app();
        cluster.pass_time(Duration::from_secs(601));
        assert_eq!(cluster.apply(cluster.abort("app", "eu")), Response::Refused(Refusal::NothingToAbort(Epoch(1))));
        for node in [1, 2] {
            cluster.sees(node, EU, Fail, 3);
        }
        assert_eq!(cluster.step(), [Response::Authorised(Epoch(2))]);
        if written {
            let service = "app".parse().unwrap();
            cluster.apply(Action::Written { service, epoch: Epoch(2), receipts: BTreeMap::new() });
        }
        // Compare and set: the epoch must be the one that follows, and the region the one that was active.
        let mut late = cluster.abort("app", "eu");
        if let Action::Authorise(intent) = &mut late {
            intent.epoch = Epoch(2);
        }
        assert!(matches!(cluster.apply(late), Response::Refused(Refusal::Epoch { .. })));
        let elsewhere = Response::Refused(Refusal::NothingToGoBackTo(Epoch(2)));
        assert_eq!(cluster.apply(cluster.abort("app", "us")), elsewhere);

        // eu is down and the cooldown of epoch 2 runs: neither holds an abort, and its evidence says so.
        let abort = cluster.abort("app", "eu");
        assert_eq!(cluster.apply(abort.clone()), Response::Authorised(Epoch(3)));
        let app = cluster.of("app");
        let open = app.open.clone().unwrap();
        assert_eq!((open.from.unwrap().as_str(), open.to.as_str(), open.cause.by()), ("us", "eu", "ann"));
        let up = open.evidence.rules.iter().find(|reading| reading.rule == Rule::CandidateUp).unwrap();
        assert!(up.overridden && up.figure.starts_with("1 of 3"), "{up:?}");
        assert_eq!(app.history.back().unwrap().status(), SwitchStatus::Superseded);
        assert!(matches!(cluster.apply(abort), Response::Refused(Refusal::Epoch { .. })), "the same abort twice");
        let again = Response::Refused(Refusal::NothingToGoBackTo(Epoch(3)));
        assert_eq!(cluster.apply(cluster.abort("app", "us")), again, "an abort is not aborted");
        let late = Action::Written { service: "app".parse().unwrap(), epoch: Epoch(2), receipts: BTreeMap::new() };
        assert_eq!(cluster.apply(late), Response::Refused(Refusal::NotOpen(Epoch(2))), "the aborted one is over");
        cluster.settle("app");
        assert_eq!(cluster.of("app").active.as_ref().unwrap().as_str(), "eu");
        assert_eq!(cluster.step(), [], "the cooldown begins with the abort's end");
        assert!(conclusion(&cluster).contains("cooldown 10 m left"), "{}", conclusion(&cluster));
    }
}

#[test]
fn aborted_failovers_spend_the_budget() {
    let mut cluster = app();
    cluster.pass_time(Duration::from_secs(601));
    for node in [1, 2] {
        cluster.sees(node, EU, Fail, 3);
    }
    for epoch in [2, 4] {
        assert_eq!(cluster.step(), [Response::Authorised(Epoch(epoch))]);
        cluster.apply(cluster.abort("app", "eu"));
        cluster.settle("app");
        cluster.pass_time(Duration::from_secs(601));
    }
    assert_eq!(cluster.step(), [Response::Done], "the cluster and the operator disagree: a freeze, not a flap");
    assert!(cluster.of("app").frozen.is_some());
}

#[test]
fn what_left_no_region_has_nothing_to_go_back_to() {
    let mut cluster = Cluster::three();
    let mut app = service("app", &["eu", "us"]);
    let apply = |service: &Service| Action::ApplyService {
        service: Box::new(service.clone()),
        source: String::new(),
        by: "bob".into(),
        exclusive: true,
    };
    cluster.apply(apply(&app));
    let to = "eu".parse().unwrap();
    cluster.apply(Action::Authorise(Intent { service: app.name.clone(), epoch: Epoch(1), to, cause: Cause::Adopt }));
    let nothing = |epoch| Response::Refused(Refusal::NothingToGoBackTo(Epoch(epoch)));
    assert_eq!(cluster.apply(cluster.abort("app", "eu")), nothing(1), "an adoption");
    cluster.settle("app");
    app.records[0].ttl = 30;
    cluster.apply(apply(&app));
    assert_eq!(cluster.apply(cluster.abort("app", "eu")), nothing(2), "a revision");
    let unknown = cluster.abort("app", "eu");
    cluster.settle("app");
    assert_eq!(cluster.apply(unknown), Response::Refused(Refusal::NothingToAbort(Epoch(2))), "observed meanwhile");
}
