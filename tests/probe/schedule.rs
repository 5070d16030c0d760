//! The schedule with real endpoints: pace, independence, changes of the catalogue, blindness.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use quorate::{
    aws::{Access, Settings},
    core::{
        names::EndpointId,
        report::{Catalogue, Endpoint, Outcome},
        service::{Check, Probe},
    },
    dynamodb::DynamoDb,
    probe::{Options, Phase, Prober, controls::Control, public_roots, start},
};
use tokio::sync::watch;

use super::{
    get,
    servers::{Behaviour, Server, http, response, serve},
};

const INTERVAL: Duration = Duration::from_millis(200);
/// Where the pace itself is measured: long enough that a busy machine does not spoil it.
const PACE: Duration = Duration::from_millis(500);

fn endpoint(id: u32, server: &Server, timeout: Duration) -> Endpoint {
    let probe = Probe { interval: INTERVAL, timeout, check: Check::Http(get(server.address)) };
    let (service, region) = ("app".parse().unwrap(), "eu-west-3".parse().unwrap());
    Endpoint { id: EndpointId(id), service, region, probe, settle: 3 }
}

struct Running {
    prober: Prober,
    catalogue: watch::Sender<Arc<Catalogue>>,
    phase: watch::Sender<Phase>,
}

fn run(endpoints: Vec<Endpoint>, controls: Vec<Control>) -> Running {
    let (catalogue, watched) = watch::channel(Arc::new(Catalogue { endpoints }));
    let (phase, watched_phase) = watch::channel(Phase { rank: 0, sites: 1 });
    let dynamodb = DynamoDb::new(Access::new(Settings::default()));
    let prober = start(Options { node: 1, controls, roots: public_roots(), dynamodb }, watched, watched_phase);
    Running { prober, catalogue, phase }
}

/// Waits until `condition` holds; panics with `what` after ten seconds.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(10), "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Running {
    fn run(&self, id: u32) -> Option<(Outcome, u32)> {
        self.prober.ledger().run(EndpointId(id))
    }

    async fn until_run(&self, id: u32, outcome: Outcome, count: u32) {
        let reached = || self.run(id).is_some_and(|(is, counted)| is == outcome && counted >= count);
        until(&format!("endpoint {id} reaches {outcome:?} {count}"), reached).await;
    }
}

/// A server that counts its connections and answers well.
async fn counted() -> (Server, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let server = serve(move |stream| {
        counter.fetch_add(1, Ordering::SeqCst);
        super::servers::answer(stream, Behaviour::Reply(response("200 OK", "text/plain", "")))
    });
    (server.await, count)
}

#[tokio::test]
async fn wedged_endpoints_delay_nobody() {
    let wedged = http(Behaviour::Hang).await;
    let (well, count) = counted().await;
    let at_pace = |id, server| {
        let mut endpoint = endpoint(id, server, PACE * 9 / 10);
        endpoint.probe.interval = PACE;
        endpoint
    };
    let mut endpoints: Vec<Endpoint> = (0..100).map(|id| at_pace(id, &wedged)).collect();
    endpoints.push(at_pace(100, &well));
    let running = run(endpoints, vec![]);
    running.until_run(100, Outcome::Pass, 1).await;
    let (begun, before) = (Instant::now(), count.load(Ordering::SeqCst));
    running.until_run(100, Outcome::Pass, 7).await;
    let (elapsed, probes) = (begun.elapsed(), count.load(Ordering::SeqCst) - before);
    assert!(elapsed < PACE * 8, "six probes at {PACE:?} took {elapsed:?}");
    assert!((5..=8).contains(&probes), "{probes} probes in six intervals");
    // The wedged ones were asked at the same pace, and each failed every time.
    for id in 0..100 {
        let (outcome, count) = running.run(id).unwrap();
        assert_eq!(outcome, Outcome::Fail);
        assert!((4..=9).contains(&count), "endpoint {id}: {count}");
    }
    running.prober.shutdown().await;
}

#[tokio::test]
async fn an_outage_is_news_at_once() {
    let down = Arc::new(AtomicBool::new(false));
    let is_down = Arc::clone(&down);
    let status = move |_: &str| {
        let status = if is_down.load(Ordering::SeqCst) { "503 Down" } else { "200 OK" };
        response(status, "text/plain", "")
    };
    let server = http(Behaviour::ByPath(Arc::new(status))).await;
    let running = run(vec![endpoint(0, &server, INTERVAL / 2)], vec![]);
    running.until_run(0, Outcome::Pass, 3).await;
    let report = running.prober.ledger().next_report(Instant::now(), false);
    running.prober.ledger().acked(report.seq);
    assert!(tokio::time::timeout(INTERVAL * 3, running.prober.news()).await.is_err(), "going on is no news");
    down.store(true, Ordering::SeqCst);
    tokio::time::timeout(INTERVAL * 2, running.prober.news()).await.expect("an outage is news");
    let report = running.prober.ledger().next_report(Instant::now(), false);
    assert_eq!(report.runs.len(), 1);
    assert_eq!(report.runs[0].reason, "status 503, 200 wanted");
}

#[tokio::test]
async fn a_changed_catalogue_touches_only_what_changed() {
    let (stays, _) = counted().await;
    let (goes, asked) = counted().await;
    let running = run(vec![endpoint(1, &stays, INTERVAL / 2), endpoint(2, &goes, INTERVAL / 2)], vec![]);
    running.until_run(1, Outcome::Pass, 2).await;
    running.until_run(2, Outcome::Pass, 2).await;
    let (_, kept) = running.run(1).unwrap();
    let endpoints = vec![endpoint(1, &stays, INTERVAL / 2), endpoint(3, &stays, INTERVAL / 2)];
    running.catalogue.send(Arc::new(Catalogue { endpoints })).unwrap();
    running.until_run(3, Outcome::Pass, 2).await;
    assert!(running.run(1).unwrap().1 > kept, "the run of what stayed goes on");
    assert_eq!(running.run(2), None);
    let before = asked.load(Ordering::SeqCst);
    let (_, now) = running.run(3).unwrap();
    running.until_run(3, Outcome::Pass, now + 3).await;
    assert_eq!(asked.load(Ordering::SeqCst), before, "what was removed is asked no more");
    // A new phase moves the probes and keeps the runs.
    running.phase.send(Phase { rank: 1, sites: 3 }).unwrap();
    let (_, now) = running.run(1).unwrap();
    running.until_run(1, Outcome::Pass, now + 3).await;
}

#[tokio::test]
async fn a_blind_node_counts_nothing_and_says_so() {
    let dead = http(Behaviour::Close).await;
    let (senders, controls): (Vec<_>, Vec<_>) = (0..3)
        .map(|i| {
            let (sender, works) = watch::channel(true);
            (sender, Control::External { name: format!("node {i}"), works })
        })
        .unzip();
    let running = run(vec![endpoint(0, &dead, INTERVAL / 2)], controls);
    assert!(running.prober.ledger().blind().is_some(), "blind until the controls have answered");
    running.until_run(0, Outcome::Fail, 2).await;
    for sender in &senders[..2] {
        sender.send_replace(false);
    }
    until("two of three controls fail", || running.prober.ledger().blind().is_some()).await;
    let report = running.prober.ledger().next_report(Instant::now(), false);
    assert_eq!(
        report.blind.as_deref(),
        Some("2 of 3 controls fail: node 0 (does not answer), node 1 (does not answer)")
    );
    assert!(report.runs.is_empty());
    assert_eq!(running.run(0), None);
    tokio::time::sleep(INTERVAL * 2).await;
    assert_eq!(running.run(0), None, "nothing counts while blind");
    senders[0].send_replace(true);
    until("two of three controls answer again", || running.prober.ledger().blind().is_none()).await;
    running.until_run(0, Outcome::Fail, 1).await;
    running.prober.shutdown().await;
}

#[tokio::test]
async fn a_node_probes_its_own_controls() {
    let control = |name: &str, server: &Server| Control::Probe {
        name: name.into(),
        probe: Probe { interval: INTERVAL, timeout: INTERVAL / 2, check: Check::Http(get(server.address)) },
    };
    let (well, _) = counted().await;
    let ill = http(Behaviour::Reply(response("500 Oops", "text/plain", ""))).await;
    let seeing = run(vec![], vec![control("a", &well), control("b", &ill)]);
    until("half of the controls are enough", || seeing.prober.ledger().blind().is_none()).await;
    let blind = run(vec![], vec![control("a", &ill), control("b", &ill), control("c", &well)]);
    let reason = || blind.prober.ledger().blind().map(str::to_owned);
    let expected = "2 of 3 controls fail: a (status 500, 200 wanted), b (status 500, 200 wanted)";
    until("most controls fail", || reason().as_deref() == Some(expected)).await;
}

/// A server that never answers, and how many connections it has open and ever had open at once.
async fn wedged() -> (Server, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now_open, now_most) = (Arc::clone(&open), Arc::clone(&most));
    let server = serve(move |stream| {
        let (open, most) = (Arc::clone(&now_open), Arc::clone(&now_most));
        async move {
            most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            super::servers::answer(stream, Behaviour::Hang).await;
            open.fetch_sub(1, Ordering::SeqCst);
        }
    });
    (server.await, open, most)
}

#[tokio::test]
async fn removal_and_shutdown_end_probes_under_way() {
    let (wedged, open, _) = wedged().await;
    let mut slow = endpoint(0, &wedged, Duration::from_secs(50));
    slow.probe.interval = Duration::from_mins(1);
    // Of many, some are due within the first moments.
    let many = |from: u32| (from..from + 2000).map(|id| Endpoint { id: EndpointId(id), ..slow.clone() }).collect();
    let running = run(many(0), vec![]);
    until("probes are under way", || open.load(Ordering::SeqCst) > 0).await;
    running.catalogue.send(Arc::default()).unwrap();
    until("their connections are closed", || open.load(Ordering::SeqCst) == 0).await;
    running.catalogue.send(Arc::new(Catalogue { endpoints: many(2000) })).unwrap();
    until("probes are under way again", || open.load(Ordering::SeqCst) > 0).await;
    running.prober.shutdown().await;
    until("their connections are closed too", || open.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn no_endpoint_is_probed_twice_at_once() {
    let (wedged, _, most) = wedged().await;
    // No valid service has a timeout longer than the interval; the schedule does not rely on that.
    let running = run(vec![endpoint(0, &wedged, INTERVAL * 5 / 2)], vec![]);
    running.until_run(0, Outcome::Fail, 3).await;
    assert!(most.load(Ordering::SeqCst) <= 1, "{most:?} at once");
    running.prober.shutdown().await;
}

#[tokio::test]
async fn many_endpoints_spread_over_the_interval() {
    let starts = Arc::new(std::sync::Mutex::new(BTreeMap::<u128, usize>::new()));
    let (noted, begun) = (Arc::clone(&starts), Instant::now());
    let server = serve(move |stream| {
        *noted.lock().unwrap().entry(begun.elapsed().as_millis() / 100).or_default() += 1;
        super::servers::answer(stream, Behaviour::Reply(response("200 OK", "text/plain", "")))
    })
    .await;
    let mut each = endpoint(0, &server, Duration::from_millis(900));
    each.probe.interval = Duration::from_secs(1);
    let endpoints: Vec<Endpoint> = (0..200).map(|id| Endpoint { id: EndpointId(id), ..each.clone() }).collect();
    let running = run(endpoints, vec![]);
    for id in 0..200 {
        running.until_run(id, Outcome::Pass, 2).await;
    }
    let most = starts.lock().unwrap().values().copied().max().unwrap();
    assert!(most < 80, "{most} of 200 probes a second within one tenth");
}
