//! The gates with real nodes: what holds a switch, what `explain` says about it, and what the evidence states afterwards.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    PARIS, SESSIONS, VIRGINIA, World,
    cluster::{Cluster, EAST, Place, SOON, WEST, ZONE, rfc2136, until},
    dns_server::DnsServer,
    proxy::Health as Db,
    stage::{Health, POLICY, Regions, Watch},
};

/// How long a switch must be held before it counts as held: the failover alone takes less.
const HELD: Duration = Duration::from_secs(6);

pub(crate) struct Stage {
    pub(crate) world: World,
    server: DnsServer,
    regions: Regions,
    pub(crate) cluster: Cluster,
}

impl Stage {
    /// A service in Paris (`west`) and Virginia (`east`), adopted in Paris.
    pub(crate) async fn set(world: World, policy: &str) -> Option<Self> {
        Self::with(world, policy, |file| file).await
    }

    /// The same, and the tables are probed as well.
    pub(crate) async fn probing(world: World) -> Option<Self> {
        let with_probe = |file: String| {
            let mut regions = [PARIS, VIRGINIA].into_iter();
            let line = |line: &str| match line.strip_prefix("probe = ") {
                Some(http) => {
                    let at = regions.next().expect("a region for each probe");
                    let item = format!("table = '{SESSIONS}', region = '{at}', key = {{ pk = 'health' }}");
                    format!("probe = [{http}, {{ dynamodb = {{ {item} }} }}]\n")
                }
                None => format!("{line}\n"),
            };
            file.lines().map(line).collect::<String>()
        };
        Self::with(world, "", with_probe).await
    }

    async fn with(world: World, policy: &str, change: impl Fn(String) -> String) -> Option<Self> {
        let server = DnsServer::bind(ZONE, &["app"])?;
        let regions = Regions::start().await;
        let node = format!("{}{}", rfc2136(server.address(), server.address()), world.section());
        let cluster = Cluster::start(vec![Place::local(node); 3]);
        let mut file = regions.service(&format!("{POLICY}{policy}"));
        for (region, at) in [("west", PARIS), ("east", VIRGINIA)] {
            let table = format!("name = '{region}'\ndynamodb = {{ table = '{SESSIONS}', region = '{at}' }}");
            file = file.replace(&format!("name = '{region}'"), &table);
        }
        cluster.apply(&change(file));
        Some(Self { world, server, regions, cluster })
    }

    fn explained(&self, args: &[&str]) -> Value {
        self.cluster.ctl(&[&["explain", "app"], args].concat()).ok()
    }

    /// One rule of what is explained.
    fn rule(&self, name: &str) -> Value {
        let explained = self.explained(&[]);
        let rules = explained["rules"].as_array().cloned().unwrap_or_default();
        rules.into_iter().find(|rule| rule["rule"] == name).unwrap_or_default()
    }

    /// The one line of `dynamodb lag`.
    fn lag(&self) -> Value {
        self.cluster.ctl(&["dynamodb", "lag", "app"]).ok()["replications"][0].clone()
    }

    pub(crate) fn until_lag(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        until(what, SOON * 2, || Some(self.lag()).filter(&is))
    }

    /// Nothing moves, and the reason is this gate alone.
    fn is_held(&self, gate: &str, outcome: &str, value: &str) -> String {
        let held = until(&format!("{gate} is all that holds it"), SOON, || {
            let explained = self.explained(&[]);
            let rules = explained["rules"].as_array()?;
            let holding: Vec<_> =
                rules.iter().filter(|rule| rule["outcome"] != "pass" && rule["overridden"] == false).collect();
            let only = holding.iter().all(|rule| rule["rule"] == gate && rule["outcome"] == outcome);
            (only && !holding.is_empty()).then(|| explained["conclusion"].as_str().unwrap_or_default().to_owned())
        });
        let since = Instant::now();
        while since.elapsed() < HELD {
            assert_eq!(self.server.dig("app.example.test", "A"), [value], "the gate holds it");
            std::thread::sleep(Duration::from_millis(200));
        }
        held
    }

    fn lost_writes(&self, epoch: &str) -> Value {
        self.cluster.ctl(&["evidence", "get", "app", epoch]).ok()["evidence"]["lost_writes"].clone()
    }
}

/// A replica 3 s behind holds a switch that allows 2 s; 1 s behind it lets it through. The way back waits for the other replica.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_too_far_behind_holds_the_switch_until_it_has_caught_up() {
    let Some(world) = World::replicated().await else { return };
    world.virginia.set_lag(Duration::from_secs(3));
    let policy = "max_replication_lag = '2s'\nfailback = 'automatic'\ndwell = '1s'\n";
    let Some(stage) = Stage::set(world, policy).await else { return };
    let watch = Watch::begin(stage.server.address());
    let lag = stage.until_lag("the lag is measured", |lag| lag["lag_ms"].as_u64().is_some());
    assert!(lag["lag_ms"].as_u64() >= Some(3000), "never less than it is: {lag}");
    assert_eq!((&lag["through"], &lag["replica"]["outcome"]), (&"west".into(), &"pass".into()), "{lag}");

    stage.regions.west.set(Health::Closed);
    let said = stage.is_held("gate:dynamodb-lag", "fail", WEST);
    println!("EXPLAINED {said}");
    assert!(
        said.contains("gate:dynamodb-lag ") && said.contains(" > 2 s (last heartbeat seen in us-east-1 is "),
        "{said}"
    );
    assert!(said.ends_with("no switch, west stays"), "{said}");

    stage.world.virginia.set_lag(Duration::from_secs(1));
    watch.until(EAST, SOON);
    stage.cluster.serves("east", 2);
    let lost = stage.lost_writes("2");
    println!("EVIDENCE {lost}");
    let bound = lost["bound_ms"].as_u64().expect("a bound");
    assert!((1000..=2000).contains(&bound), "at least what it was, at most what is allowed: {lost}");
    assert!(lost["text"].as_str().unwrap().starts_with("last heartbeat seen in us-east-1 is "), "{lost}");

    // The region comes back 3 s behind the one that took its place.
    stage.world.paris.set_lag(Duration::from_secs(3));
    stage.regions.west.set(Health::Up);
    let said = stage.is_held("gate:dynamodb-lag", "fail", EAST);
    assert!(said.contains("last heartbeat seen in eu-west-3 is"), "{said}");
    stage.world.paris.set_lag(Duration::ZERO);
    watch.until(WEST, SOON);
    stage.cluster.serves("west", 3);
    assert_eq!(watch.end(), [WEST, EAST, WEST]);
    stage.cluster.check_switches(&["adopt", "failover", "failback"]);
    stage.cluster.check_hashes();
}

/// The whole region dies, its table's endpoint too: the evidence states what may be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_evidence_of_a_failover_states_the_bound_of_lost_writes() {
    let Some(world) = World::replicated().await else { return };
    world.virginia.set_lag(Duration::from_secs(1));
    let Some(stage) = Stage::set(world, "max_replication_lag = '5s'\n").await else { return };
    let watch = Watch::begin(stage.server.address());
    stage.until_lag("the lag is measured", |lag| lag["lag"]["outcome"] == "pass" && lag["lag_ms"].is_u64());
    // What an application writes last, which is what a bound must cover: acknowledged in Paris, not yet in Virginia.
    stage.world.paris.set_health(Db::Hangs);
    // A heartbeat that is not answered is noticed after its time limit. With the usual probes that is long before the verdict;
    // with those of this test the verdict could come first.
    stage.until_lag("heartbeats fail", |lag| {
        lag["lag_text"].as_str().is_some_and(|text| text.contains("has taken none for"))
    });
    stage.regions.west.set(Health::BlackHole);
    watch.until(EAST, SOON);
    stage.cluster.serves("east", 2);
    let lost = stage.lost_writes("2");
    println!("EVIDENCE {lost}");
    let text = lost["text"].as_str().unwrap();
    assert!(
        text.starts_with("last heartbeat seen in us-east-1 is ") && text.ends_with(" older than the outage"),
        "{text}"
    );
    assert!(lost["bound_ms"].as_u64().is_some_and(|bound| bound <= 5000), "{lost}");
    assert_eq!(watch.end(), [WEST, EAST]);
    stage.cluster.check_hashes();
}

/// The active region's table was never reached: unknown holds, says so, and an operator may override it by name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_before_anything_was_measured_holds_and_says_so() {
    let Some(world) = World::replicated().await else { return };
    world.paris.set_health(Db::Hangs);
    let Some(stage) = Stage::set(world, "max_replication_lag = '2s'\ngate_unknown = 'hold'\n").await else { return };
    let watch = Watch::begin(stage.server.address());
    stage.until_lag("the replica is read", |lag| lag["replica"]["outcome"] == "pass");
    stage.regions.west.set(Health::Closed);
    let said = stage.is_held("gate:dynamodb-lag", "unknown", WEST);
    println!("EXPLAINED {said}");
    assert!(said.contains("gate:dynamodb-lag not known, 2 s allowed (us-east-1: no heartbeat has arrived"), "{said}");
    let switch = ["switch", "start", "app", "--to", "east", "--reason", "lost writes are accepted", "--wait=20s"];
    let refused = stage.cluster.ctl(&switch).refused(3);
    assert!(refused["message"].as_str().unwrap().contains("rule `gate:dynamodb-lag` holds it"), "{refused}");
    stage.cluster.ctl(&[&switch[..], &["--override", "gate:dynamodb-lag", "--override", "cooldown"]].concat()).ok();
    watch.until(EAST, SOON);
    let lost = stage.lost_writes("2");
    assert!(
        lost["bound_ms"].is_null() && lost["text"].as_str().unwrap().contains("no heartbeat has arrived"),
        "{lost}"
    );
    assert_eq!(watch.end(), [WEST, EAST]);
}

/// A replica that is not usable holds, and so does one that is not known: its own region is asked, and nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_not_active_holds_the_switch() {
    let Some(world) = World::replicated().await else { return };
    world.virginia.set_own_status(Some("INACCESSIBLE_ENCRYPTION_CREDENTIALS"));
    let Some(stage) = Stage::set(world, "").await else { return };
    stage.until_lag("the replica is read", |lag| lag["replica"]["outcome"] == "fail");
    stage.regions.west.set(Health::Closed);
    let said = stage.is_held("gate:dynamodb-replica", "fail", WEST);
    println!("EXPLAINED {said}");
    assert!(
        said.contains("sessions in us-east-1 is INACCESSIBLE_ENCRYPTION_CREDENTIALS: DynamoDB cannot use"),
        "{said}"
    );
    stage.world.virginia.set_health(Db::Fails);
    until("not known is told", SOON, || (stage.rule("gate:dynamodb-replica")["outcome"] == "unknown").then_some(()));
    stage.world.virginia.set_own_status(None);
    stage.world.virginia.set_health(Db::Well);
    stage.cluster.serves("east", 2);
    stage.cluster.check_hashes();
}
