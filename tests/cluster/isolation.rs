//! One site's trouble is no outage, and a leader that is cut off writes nothing. Each node runs in a network namespace of its
//! own, so that one way can be cut and nothing else (invariants 2, 3, 4 and 11).

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    cluster::{Cluster, EAST, Place, RECORD, SOON, WEST, ZONE, rfc2136, until},
    dns_server::DnsServer,
    netns::{Cut, Net},
    stage::{Health, POLICY, Region, Regions, Watch},
};

/// Three nodes, each at a site of its own, that see two controls beside the regions.
struct World {
    // Processes go before their network.
    cluster: Cluster,
    server: DnsServer,
    regions: Regions,
    controls: [Region; 2],
    net: Net,
}

impl World {
    async fn start() -> Option<Self> {
        let net = Net::build(3)?;
        let server = DnsServer::bind_on(net.gateway(), ZONE, &["app"])?;
        let regions = Regions::on(net.gateway()).await;
        let control = async |name| Region::start(name, net.gateway()).await.expect("a control");
        let controls = [control("one").await, control("two").await];
        let place = |site| Place {
            ip: net.site(site),
            netns: Some(net.space(site)),
            provider: rfc2136(server.address(), server.address()),
            controls: controls.iter().map(as_control).collect(),
            timing: crate::cluster::BRISK,
        };
        let cluster = Cluster::start((1..=3).map(place).collect());
        cluster.apply(&regions.service(POLICY));
        Some(Self { cluster, server, regions, controls, net })
    }

    fn explain(&self) -> Option<Value> {
        let answer = self.cluster.ctl(&["explain", "app"]);
        (answer.exit == 0).then_some(answer.json)
    }

    /// The numbers of the sites, a given one last.
    fn others(site: u8) -> impl Iterator<Item = u8> {
        (1..=3).filter(move |other| *other != site)
    }
}

fn as_control(control: &Region) -> String {
    format!("[[control]]\nhttp = 'http://{}/health'\ninterval = '500ms'\ntimeout = '300ms'\n", control.address())
}

fn opinion<'a>(explained: &'a Value, region: usize, site: &str) -> &'a Value {
    let opinions = explained["verdict"]["regions"][region]["opinions"].as_array().expect("opinions");
    opinions.iter().find(|of| of["site"] == site).expect("the site")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_site_that_cannot_reach_a_region_moves_nothing() {
    let Some(world) = World::start().await else { return };
    let watch = Watch::begin(world.server.address());
    watch.until(WEST, SOON);
    // The site's own leader is the worst vantage point: it must not act on its own word either.
    let lonely = u8::try_from(world.cluster.leader()).expect("a small number");
    let site = world.cluster.nodes[usize::from(lonely) - 1].site;
    world.net.cut_to(lonely, world.regions.west.address());
    let explained = until("one site says that west is down", SOON, || {
        world.explain().filter(|explained| opinion(explained, 0, site)["opinion"] == "down")
    });
    assert!(
        explained["conclusion"].as_str().unwrap().contains("1 of 3 sites say west is down, 2 needed"),
        "{explained}"
    );
    assert_eq!((&explained["due"], &explained["verdict"]["regions"][0]["sites_up"]), (&false.into(), &2.into()));
    stays(&world, Duration::from_secs(4));

    // Now it does not reach its controls either: its opinion is unknown, of both regions.
    world.controls.iter().for_each(|control| world.net.cut_to(lonely, control.address()));
    let explained = until("the site is blind", SOON, || {
        let explained = world.explain()?;
        let unknown = (0..2).all(|region| opinion(&explained, region, site)["opinion"] == "unknown");
        unknown.then_some(explained)
    });
    let reason = opinion(&explained, 0, site)["reason"].as_str().unwrap();
    assert!(reason.contains("blind"), "{explained}");
    assert_eq!(explained["verdict"]["regions"][0]["sites_down"], 0, "{explained}");
    stays(&world, Duration::from_secs(2));

    // One site is blind: two of three are still a quorum, and a real outage moves the service.
    let died = world.regions.west.set(Health::BlackHole);
    let moved = watch.until(EAST, SOON);
    println!("MEASURED one site blind: outage to dig {} ms", moved.duration_since(died).as_millis());
    world.cluster.serves("east", 2);
    world.cluster.check_switches(&["adopt", "failover"]);
    // The evidence says what the blind node saw of its controls, and that the others saw theirs.
    let evidence = world.cluster.ctl(&["evidence", "get", "app"]).ok()["evidence"].clone();
    for sight in evidence["sight"].as_array().expect("what the nodes saw") {
        let fails = sight["controls"].as_array().expect("controls").iter().filter(|of| !of["fails"].is_null()).count();
        let blind = sight["site"] == site;
        assert_eq!((sight["blind"].is_string(), fails >= 2), (blind, blind), "{sight}");
    }
    assert_eq!(evidence["sight"].as_array().map(Vec::len), Some(3), "{evidence}");
    assert_eq!(watch.end(), [WEST, EAST]);
}

/// Nothing is switched for this long.
#[track_caller]
fn stays(world: &World, span: Duration) {
    let until = Instant::now() + span;
    while Instant::now() < until {
        if let Some(app) = world.cluster.app() {
            assert_eq!((&app["epoch"], &app["active_region"]), (&1.into(), &"west".into()), "{app}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(world.server.dig(RECORD, "A"), [WEST]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_cut_off_from_its_peers_writes_nothing() {
    let Some(world) = World::start().await else { return };
    let watch = Watch::begin(world.server.address());
    watch.until(WEST, SOON);
    let leader = u8::try_from(world.cluster.leader()).expect("a small number");
    let before = updates_from(&world, leader);
    assert!(before > 0, "the leader's adoption is in BIND's log:\n{}", world.server.log());
    World::others(leader).for_each(|other| world.net.cut_between(leader, other));
    let died = world.regions.west.set(Health::BlackHole);
    let moved = watch.until(EAST, SOON);
    println!("MEASURED leader cut off: outage to dig {} ms", moved.duration_since(died).as_millis());

    // It still reaches BIND, and knows of no quorum.
    let other = u64::from(World::others(leader).next().expect("two others"));
    let cut_off = world.cluster.at(leader.into(), &["verdict", "get", "app"]);
    cut_off.clone().refused(5);
    assert!(cut_off.took < Duration::from_secs(10), "a read without a quorum took {:?}", cut_off.took);
    let stale = world.cluster.at(leader.into(), &["--consistency", "stale", "verdict", "get", "app"]).ok();
    assert_eq!(stale["verdict"]["epoch"], 1, "{stale}");
    assert!(stale["read"]["age_ms"].as_u64().is_some_and(|age| age > 500), "{stale}");
    let switched = world.cluster.at(other, &["verdict", "get", "app"]).ok();
    assert_eq!((&switched["verdict"]["epoch"], &switched["verdict"]["active_region"]), (&2.into(), &"east".into()));

    world.net.heal(leader, Cut::Sites);
    until("the old leader follows", SOON, || {
        let answer = world.cluster.at(leader.into(), &["--timeout", "3s", "verdict", "get", "app"]);
        (answer.json["verdict"]["epoch"] == 2).then_some(())
    });
    world.cluster.leader();
    world.cluster.check_hashes();
    stays_moved(&world);
    assert_eq!(updates_from(&world, leader), before, "the old leader sent updates:\n{}", world.server.log());
    world.cluster.check_switches(&["adopt", "failover"]);
    assert_eq!(watch.end(), [WEST, EAST]);
}

/// The hardest case: the leader has a committed intent in hand and is the only one that reaches BIND, when it loses its peers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_cut_off_with_an_intent_in_hand_writes_nothing() {
    let Some(world) = World::start().await else { return };
    let watch = Watch::begin(world.server.address());
    watch.until(WEST, SOON);
    let bind = world.server.address();
    let leader = u8::try_from(world.cluster.leader()).expect("a small number");
    let before = updates_from(&world, leader);
    assert!(before > 0, "the leader's adoption is in BIND's log");
    (1..=3).for_each(|site| world.net.cut_to(site, bind));
    let started = world.cluster.at(leader.into(), &["switch", "start", "app", "--to", "east"]).ok();
    assert_eq!(started["epoch"], 2, "the intent is committed");
    World::others(leader).for_each(|other| world.net.cut_between(leader, other));
    world.net.heal(leader, Cut::Ways);

    // The others elect a successor, which has the same intent and no way to BIND.
    let other = u64::from(World::others(leader).next().expect("two others"));
    until("a successor has the intent", SOON, || {
        let answer = world.cluster.at(other, &["--timeout", "3s", "verdict", "get", "app"]);
        let app = &answer.json["verdict"];
        (answer.exit == 0 && app["epoch"] == 2 && app["phase"] == "authorised").then_some(())
    });
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(updates_from(&world, leader), before, "a leader without a quorum wrote:\n{}", world.server.log());
    assert_eq!(world.server.dig(RECORD, "A"), [WEST]);

    let healed = Instant::now();
    World::others(leader).for_each(|other| world.net.heal(other, Cut::Ways));
    let moved = watch.until(EAST, Duration::from_secs(40));
    println!("MEASURED successor: way to BIND healed to dig {} ms", moved.duration_since(healed).as_millis());
    world.net.heal(leader, Cut::Sites);
    world.cluster.leader();
    world.cluster.serves("east", 2);
    world.cluster.check_hashes();
    assert_eq!(updates_from(&world, leader), before, "the old leader wrote:\n{}", world.server.log());
    world.cluster.check_switches(&["adopt", "manual"]);
    assert_eq!(watch.end(), [WEST, EAST]);
}

/// A reconcile interval and more after the healing, nothing is written by anybody.
fn stays_moved(world: &World) {
    let updates = world.server.log().matches("updating zone").count();
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(world.server.dig(RECORD, "A"), [EAST]);
    assert_eq!(world.server.log().matches("updating zone").count(), updates, "{}", world.server.log());
}

/// How many updates BIND's log says that a site sent, taken or not.
fn updates_from(world: &World, site: u8) -> usize {
    let from = format!(" {}#", world.net.site(site));
    let of = |line: &&str| line.contains(&from) && line.contains("updat");
    world.server.log().lines().filter(of).count()
}
