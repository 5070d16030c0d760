//! The chain of sealed switches: what is over never changes, and nothing before it can be changed unseen.

use serde_json::json;

use super::{
    super::{
        gauge::Behind,
        names::RegionName,
        report::Sight,
        seal::{self, Hash, digest},
        state::HISTORY,
        switch::{NameserverLine, Stamp, Switch},
    },
    *,
};

const OTHERS: [&str; 2] = ["us", "eu"];

fn switch(cluster: &mut Cluster, round: usize) {
    cluster.pass_time(Duration::from_secs(700));
    let action = cluster.manual("app", OTHERS[round % 2], &[]);
    assert!(matches!(cluster.apply(action), Response::Authorised(_)));
    cluster.settle("app");
}

#[test]
fn the_form_is_the_one_that_is_described() {
    // Computed with Python's json and hashlib. If the order of the keys fails here, something enabled `preserve_order`.
    let document = json!({ "b": 1, "a": { "y": [], "x/~": { "deep": { "er": "é" } } } });
    let sums = seal::sums(&document);
    let keys: Vec<_> = sums.keys().map(String::as_str).collect();
    assert_eq!(keys, ["/a/x~1~0/deep", "/a/y", "/b"]);
    assert_eq!(sums["/b"], "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b");
    assert_eq!(sums["/a/x~1~0/deep"], digest("{\"er\":\"é\"}".as_bytes()));
    assert_eq!(seal::hash(&sums), "2c15734184a4a5213befbf5e1e595f6a8372e96a2140890dc6f296d3caca1131");
}

#[test]
fn what_is_over_never_changes_and_each_is_bound_to_the_one_before() {
    let mut cluster = Cluster::serving(&[service("app", &["eu", "us"])]);
    let mut twin = Cluster::serving(&[service("app", &["eu", "us"])]);
    let mut heads: Vec<Hash> = vec![cluster.of("app").head().unwrap()];
    for round in 0..HISTORY + 8 {
        switch(&mut cluster, round);
        switch(&mut twin, round);
        let chain = cluster.of("app").chain();
        heads.push(chain.last().unwrap().hash.clone());
        let known = &heads[heads.len() - chain.len()..];
        assert_eq!(chain.iter().map(|of| &of.hash).collect::<Vec<_>>(), known.iter().collect::<Vec<_>>());
        for pair in chain.windows(2) {
            assert_eq!(pair[1].bundle["previous"], pair[0].hash.as_str());
        }
    }
    let app = cluster.of("app");
    assert_eq!((app.history.len(), app.head().as_ref()), (HISTORY, heads.last()));
    assert_eq!(app.anchor.as_ref(), Some(&heads[heads.len() - HISTORY - 1]), "of the last one that was forgotten");
    assert_eq!(app.chain()[0].bundle["previous"], app.anchor.as_deref().unwrap());
    assert_eq!(cluster.state, twin.state, "invariant 8");
}

#[test]
fn a_chain_goes_on_when_its_service_comes_back() {
    let mut cluster = Cluster::serving(&[service("app", &["eu", "us"])]);
    switch(&mut cluster, 0);
    let head = cluster.of("app").head();
    assert_eq!(cluster.apply(Action::RemoveService { service: "app".parse().unwrap() }), Response::Done);
    let app = service("app", &["eu", "us"]);
    cluster.apply(Action::ApplyService {
        service: Box::new(app),
        source: "again".into(),
        by: "ann".into(),
        exclusive: true,
    });
    assert_eq!((cluster.of("app").head(), head.is_some()), (head, true));
}

#[test]
fn an_open_switch_is_not_sealed_and_a_superseded_one_is() {
    let mut cluster = Cluster::serving(&[service("app", &["eu", "us"])]);
    cluster.pass_time(Duration::from_secs(700));
    let start = cluster.manual("app", "us", &[]);
    cluster.apply(start);
    assert_eq!(cluster.of("app").chain().len(), 1);
    let abort = cluster.abort("app", "eu");
    cluster.apply(abort);
    let chain = cluster.of("app").chain();
    assert_eq!(
        (chain.len(), &chain[1].bundle["epoch"], chain[1].bundle["superseded"]["index"].as_u64()),
        (2, &json!(2), Some(cluster.index))
    );
}

/// Whatever of a switch is changed, its bundle has another hash.
#[test]
fn everything_of_a_switch_is_in_its_hash() {
    let mut cluster = Cluster::serving(&[service("app", &["eu", "us"])]);
    switch(&mut cluster, 0);
    let app = cluster.of("app");
    let last = app.history.back().unwrap().clone();
    let name = &app.service.name;
    let hash = |of: &Switch| seal::seal(name, None, of).hash;
    let stamp = Stamp { at: LogTime(7), wall: 7, term: 7, index: 7 };
    let eu = || "eu".parse::<RegionName>().unwrap();
    let changes: [fn(&mut Switch, Stamp, RegionName); 17] = [
        |of, _, _| of.epoch = Epoch(9),
        |of, _, _| of.from = None,
        |of, _, eu| of.to = eu,
        |of, _, _| of.cause = Cause::Failover,
        |of, stamp, _| of.authorised = stamp,
        |of, stamp, _| of.written = Some(stamp),
        |of, stamp, _| of.observed = Some(stamp),
        |of, stamp, _| of.superseded = Some(stamp),
        |of, _, _| of.evidence.revision += 1,
        |of, _, _| drop(of.evidence.electorate.pop_last()),
        |of, _, eu| of.evidence.regions.get_mut(&eu).unwrap().votes[0].node = 9,
        |of, _, _| of.evidence.rules[0].figure.push('!'),
        |of, _, _| drop(of.evidence.receipts.insert("app".into(), "no".into())),
        |of, _, _| {
            let (record, server, answer) = ("app".into(), "ns1".into(), "no".into());
            of.evidence.answers.push(NameserverLine { record, server, answer, agrees: false });
        },
        |of, _, _| of.evidence.file.push('0'),
        |of, _, _| of.evidence.sight.clear(),
        |of, _, _| of.evidence.lost_writes = Some(Behind { bound: None, text: "unknown".into() }),
    ];
    for (i, change) in changes.iter().enumerate() {
        let mut altered = last.clone();
        change(&mut altered, stamp, eu());
        assert_ne!(altered, last, "change {i} changes something");
        assert_ne!(hash(&altered), hash(&last), "change {i}");
    }
    let other = seal::seal(&"shop".parse().unwrap(), None, &last).hash;
    let after = seal::seal(name, Some(&digest(b"x")), &last).hash;
    assert!(![other, after].contains(&hash(&last)), "the service and the bundle before it too");
}

#[test]
fn the_evidence_names_the_file_and_what_each_node_saw_of_the_world() {
    let mut cluster = Cluster::serving(&[service("app", &["eu", "us"])]);
    let sight = |why: Option<&str>| Sight {
        controls: vec![("dns 192.0.2.53:53".into(), why.map(str::to_owned)), ("peers".into(), None)],
        peers: [(2, true), (3, false)].into(),
    };
    let full = |node, seq, sight| Report { node, seq, sight: Some(sight), ..Report::default() };
    cluster.apply(Action::Reports(vec![full(1, 100, sight(None))]));
    let told = Report { blind: Some("1 of 1 controls fails".into()), ..full(2, 100, sight(Some("timeout"))) };
    cluster.apply(Action::Reports(vec![told]));
    // A delta that says nothing of it leaves it as it is.
    cluster.apply(Action::Reports(vec![Report { node: 1, seq: 101, base: Some(100), ..Report::default() }]));
    cluster.state.services.get_mut("app").unwrap().source = "name = 'app'".into();
    let start = cluster.manual("app", "us", &["candidate-up", "cooldown"]);
    cluster.apply(start);
    let evidence = &cluster.of("app").open.as_ref().unwrap().evidence;
    let file = (evidence.file.as_str(), cluster.of("app").files[&evidence.file].as_str());
    assert_eq!(file, (digest(b"name = 'app'").as_str(), "name = 'app'"));
    assert_eq!(evidence.sight[&1].controls, sight(None).controls);
    assert_eq!((&evidence.sight[&1].peers, &evidence.sight[&1].blind), (&sight(None).peers, &None));
    assert_eq!(evidence.sight[&2].blind.as_deref(), Some("1 of 1 controls fails"));
    assert_eq!(evidence.sight[&2].controls[0].1.as_deref(), Some("timeout"));
    assert!(evidence.sight[&3].controls.is_empty(), "it told of none");
    // What was told in another term says nothing of now.
    cluster.elect();
    assert!(cluster.state.sights().is_empty());
}
