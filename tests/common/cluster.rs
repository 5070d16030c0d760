//! A real cluster for tests: `quorated` processes on this machine, driven through `quoratectl` like any other.
//!
//! [`Cluster::start`] makes certificates, configurations and stores, starts three nodes and forms the cluster. Nodes are killed,
//! stopped and continued by process id. When a test fails the end of every node's log is printed; when the value is dropped
//! every process is gone, and so are they when the test itself is killed (`setpriv --pdeathsig`).
#![allow(dead_code)]

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    dns_server::{self, DnsServer, KEY_NAME, SECRET},
    fake_ovh::{self, FakeOvh},
    seat::Seat,
};

/// The cluster's id, which its fences carry.
pub const CLUSTER: &str = "e2e";
/// The provider that services name.
pub const PROVIDER: &str = "main";
/// The zone of the DNS server.
pub const ZONE: &str = "example.test";
/// The record that fails over.
pub const RECORD: &str = "app.example.test";
/// Its fence.
pub const FENCE: &str = "_quorate.app.example.test";
/// Values of the regions `west` and `east`: documentation addresses (RFC 5737), for nobody connects to them.
pub const WEST: &str = "192.0.2.10";
pub const EAST: &str = "192.0.2.20";
/// What an election may take on a busy machine, and some more.
pub const SOON: Duration = Duration::from_secs(20);

/// Faster than the defaults, for tests that wait for elections.
pub const BRISK: &str = "[timing]\nheartbeat = '150ms'\nelection = ['600ms', '1200ms']\nreport = '300ms'";
const SITES: [&str; 5] = ["paris", "frankfurt", "dublin", "madrid", "oslo"];
const LOG_TAIL: usize = 60;

/// Where a node runs and what is special about it.
#[derive(Debug, Clone)]
pub struct Place {
    /// The address that it serves on.
    pub ip: Ipv4Addr,
    /// The network namespace that it runs in.
    pub netns: Option<String>,
    /// `[provider.…]` of its configuration.
    pub provider: String,
    /// `[[control]]` of its configuration.
    pub controls: String,
    /// `[timing]` of its configuration.
    pub timing: &'static str,
}

impl Place {
    /// On loopback, with this provider.
    pub fn local(provider: impl Into<String>) -> Self {
        Self { ip: Ipv4Addr::LOCALHOST, netns: None, provider: provider.into(), controls: String::new(), timing: BRISK }
    }
}

/// `[provider.main]` for a server that takes RFC 2136 updates at `server`, and is asked itself afterwards.
pub fn rfc2136(server: SocketAddr, nameserver: SocketAddr) -> String {
    format!(
        "[provider.{PROVIDER}]\ntype = 'rfc2136'\nserver = '{server}'\nnameservers = ['{nameserver}']\n\
         key = {{ name = '{KEY_NAME}', algorithm = 'hmac-sha256', secret_env = 'E2E_TSIG' }}\n"
    )
}

/// `[provider.main]` for OVH's API, as the fake plays it.
pub fn ovh(fake: &FakeOvh) -> String {
    format!(
        "[provider.{PROVIDER}]\ntype = 'ovh'\nbase_url = '{}'\nnameservers = ['{}']\napplication_key_env = 'E2E_AK'\n\
         application_secret_env = 'E2E_AS'\nconsumer_key_env = 'E2E_CK'\n",
        fake.url(),
        fake.dns
    )
}

/// The credentials that configurations name; nodes have them in their environment.
const CREDENTIALS: [(&str, &str); 6] = [
    ("E2E_TSIG", SECRET),
    ("E2E_AK", fake_ovh::APPLICATION_KEY),
    ("E2E_AS", fake_ovh::APPLICATION_SECRET),
    ("E2E_CK", fake_ovh::CONSUMER_KEY),
    ("E2E_AWS", "test"),
    // An account of ministack.
    ("E2E_AWS", "test"),
];

/// The nodes and everything that is theirs.
pub struct Cluster {
    // The processes go before their files, and the seat is the last to be given up.
    pub nodes: Vec<Node>,
    admin: Person,
    dir: TempDir,
    _seat: Seat,
}

/// One node.
pub struct Node {
    pub id: u64,
    pub site: &'static str,
    pub grpc: SocketAddr,
    place: Place,
    home: PathBuf,
    child: Option<Child>,
}

/// Who calls, by certificate.
#[derive(Debug, Clone)]
pub struct Person {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What a command of `quoratectl` ended with.
#[derive(Debug, Clone)]
pub struct Answer {
    pub exit: i32,
    /// The answer, or what stands on stderr when there is none.
    pub json: Value,
    pub stderr: String,
    pub took: Duration,
}

impl Answer {
    /// The answer of a command that must have succeeded.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.exit, 0, "quoratectl failed: {} {}", self.json, self.stderr);
        self.json
    }

    /// The error of a command that must have failed with this exit code.
    #[track_caller]
    pub fn refused(self, exit: i32) -> Value {
        assert_eq!(self.exit, exit, "another exit code was expected: {} {}", self.json, self.stderr);
        self.json["error"].clone()
    }
}

/// Waits for a condition; panics with the reason when it does not come true in time.
#[track_caller]
pub fn until<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {within:?} in vain for this: {what}");
        std::thread::sleep(Duration::from_millis(40));
    }
}

/// Runs `quoratectl` to its end.
pub fn quoratectl(args: &[&str]) -> Answer {
    let began = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_quoratectl"))
        .args(["--output", "json"])
        .args(args)
        // Nobody's own context may have a say in a test.
        .env_clear()
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .stdin(Stdio::null())
        .output()
        .expect("quoratectl to run");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let said = if output.status.success() || !out.trim().is_empty() { &out } else { &err };
    let json = serde_json::from_str(said).unwrap_or(Value::String(said.trim().to_owned()));
    Answer { exit: output.status.code().unwrap_or(-1), json, stderr: err.into_owned(), took: began.elapsed() }
}

/// Makes a CA in `dir`.
pub fn make_ca(dir: &Path, cluster: &str) {
    quoratectl(&["pki", "init", path(dir), "--cluster", cluster, "--days", "2"]).ok();
}

/// Issues a person's certificate from the CA in `dir`.
pub fn make_person(dir: &Path, name: &str, role: &str) -> Person {
    let issued = quoratectl(&["pki", "issue", path(dir), "--person", name, "--role", role, "--days", "1"]).ok();
    let of = |key: &str| PathBuf::from(issued[key].as_str().expect("a path"));
    Person { ca: dir.join("ca.crt"), certificate: of("certificate"), key: of("key") }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

impl Cluster {
    /// Three nodes, or as many as places are given, formed and led.
    pub fn start(places: Vec<Place>) -> Self {
        let seat = Seat::take();
        let dir = tempfile::Builder::new().prefix("quorate-e2e-").tempdir().expect("a temporary directory");
        let pki = dir.path().join("pki");
        make_ca(&pki, CLUSTER);
        let admin = make_person(&pki, "e2e", "admin");
        let mut cluster = Self { nodes: vec![], admin, dir, _seat: seat };
        for place in places {
            cluster.add_node(place);
        }
        for node in &mut cluster.nodes {
            node.start();
        }
        let members: Vec<String> = cluster.nodes.iter().map(Node::as_member).collect();
        let mut args = vec!["cluster", "init"];
        args.extend(members.iter().flat_map(|member| ["--member", member.as_str()]));
        until("the first node forms the cluster", SOON, || (cluster.at(1, &args).exit == 0).then_some(()));
        cluster.leader();
        cluster
    }

    /// Three nodes on loopback that update `server`.
    pub fn on(server: &DnsServer) -> Self {
        Self::start(vec![Place::local(rfc2136(server.address(), server.address())); 3])
    }

    /// Makes a node's certificate, configuration and store; starts nothing.
    pub fn add_node(&mut self, place: Place) -> &mut Node {
        let id = self.nodes.len() as u64 + 1;
        let pki = self.pki();
        quoratectl(&["pki", "issue", path(&pki), "--node-id", &id.to_string(), "--days", "1"]).ok();
        let home = self.dir.path().join(format!("node-{id}"));
        fs::create_dir(&home).expect("a directory");
        // In a namespace of its own a node has all ports to itself.
        let port = if place.netns.is_some() { 7700 } else { dns_server::free_port_on(place.ip) };
        let grpc = (place.ip, port).into();
        let site = SITES[self.nodes.len() % SITES.len()];
        let node = Node { id, site, grpc, place, home, child: None };
        node.configure(&pki);
        let made = node.quorated("init");
        assert!(made.0, "quorated init failed: {}", made.1);
        self.nodes.push(node);
        self.nodes.last_mut().expect("it was just added")
    }

    /// Where the certificates are.
    pub fn pki(&self) -> PathBuf {
        self.dir.path().join("pki")
    }

    /// A place for files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The node of this number.
    pub fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.id == id).expect("the node")
    }

    /// Asks whichever node answers, as the admin.
    pub fn ctl(&self, args: &[&str]) -> Answer {
        let nodes: Vec<String> = self.nodes.iter().filter(|n| n.child.is_some()).map(|n| n.grpc.to_string()).collect();
        self.admin.ctl(&nodes.join(","), args)
    }

    /// Asks this node only, as the admin.
    pub fn at(&self, id: u64, args: &[&str]) -> Answer {
        let node = self.nodes.iter().find(|node| node.id == id).expect("the node");
        self.admin.ctl(&node.grpc.to_string(), args)
    }

    /// The same, to be asked from another thread.
    pub fn asker(&self, id: u64) -> impl FnOnce(&[&str]) -> Answer + Send + 'static {
        let node = self.nodes.iter().find(|node| node.id == id).expect("the node");
        let (admin, address) = (self.admin.clone(), node.grpc.to_string());
        move |args| admin.ctl(&address, args)
    }

    /// The leader that a quorum follows. Asked with a read that the leader must confirm.
    #[track_caller]
    pub fn leader(&self) -> u64 {
        until("the nodes agree on a leader", SOON, || {
            let seen = self.seen();
            let leader = seen.first()?["leader"].as_u64()?;
            let agree = seen.iter().all(|of| of["leader"].as_u64() == Some(leader));
            let running = self.nodes.iter().filter(|node| node.runs()).count();
            (agree && seen.len() == running && self.at(leader, &["verdict", "list"]).exit == 0).then_some(leader)
        })
    }

    /// `member list` of every node that runs.
    pub fn seen(&self) -> Vec<Value> {
        // All at once, so that they have a chance to be seen at one index.
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let running: Vec<_> = self.nodes.iter().filter(|node| node.runs()).map(|node| node.id).collect();
            let ask = |id| scope.spawn(move || self.at(id, &["--timeout", "2s", "member", "list"]));
            let asked: Vec<_> = running.into_iter().map(ask).collect();
            asked.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        answers.into_iter().filter(|answer| answer.exit == 0).map(|answer| answer.json).collect()
    }

    /// Waits until every node that runs was seen at one index, and checks that their states are equal there (invariant 8).
    #[track_caller]
    pub fn check_hashes(&self) -> u64 {
        let running = self.nodes.iter().filter(|node| node.runs()).count();
        let mut at = std::collections::BTreeMap::<u64, std::collections::BTreeMap<u64, String>>::new();
        until("all nodes tell their state at one index", SOON, || {
            for of in self.seen() {
                let (index, node) = (of["applied_index"].as_u64()?, of["answered_by"].as_u64()?);
                at.entry(index).or_default().insert(node, of["state_hash"].as_str()?.to_owned());
            }
            for (index, hashes) in &at {
                let mut all = hashes.values();
                let first = all.next();
                assert!(all.all(|hash| Some(hash) == first), "states differ at index {index}: {hashes:?}");
            }
            at.iter().find(|(_, hashes)| hashes.len() == running).map(|(index, _)| *index)
        })
    }

    /// Writes a service file and applies it; waits until it is adopted and both regions are up.
    #[track_caller]
    pub fn apply(&self, toml: &str) {
        let file = self.file("app.toml", toml);
        until("the service is applied", SOON, || {
            let answer = self.ctl(&["service", "apply", path(&file)]);
            // A leader that was elected a moment ago may be none any more.
            assert!([0, 5, 6].contains(&answer.exit), "{answer:?}");
            (answer.exit == 0).then_some(())
        });
        until("the service is adopted and its regions are up", SOON, || {
            let app = self.app()?;
            let regions = app["regions"].as_array()?;
            (app["phase"] == "serving" && regions.iter().all(|region| region["verdict"] == "up")).then_some(())
        });
    }

    /// Writes a file.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let file = self.dir.path().join(name);
        fs::write(&file, text).expect("the file");
        file
    }

    /// `verdict get app`, linearizable; `None` while nobody can answer.
    pub fn app(&self) -> Option<Value> {
        let answer = self.ctl(&["verdict", "get", "app"]);
        (answer.exit == 0).then(|| answer.json["verdict"].clone())
    }

    /// Waits until the service serves this region under this epoch.
    #[track_caller]
    pub fn serves(&self, region: &str, epoch: u64) {
        until(&format!("app serves {region} under epoch {epoch}"), SOON, || {
            let app = self.app()?;
            assert!(app["epoch"].as_u64()? <= epoch, "one switch too many: {app}");
            (app["phase"] == "serving" && app["active_region"] == region && app["epoch"] == epoch).then_some(())
        });
    }

    /// The switches of the service, the oldest first.
    #[track_caller]
    pub fn switches(&self) -> Vec<Value> {
        let answer = until("the switches can be read", SOON, || {
            Some(self.ctl(&["switch", "list", "app"])).filter(|answer| answer.exit == 0)
        });
        let mut switches = answer.json["switches"].as_array().expect("switches").clone();
        switches.sort_by_key(|switch| switch["epoch"].as_u64());
        switches
    }

    /// Checks that the switches are numbered 1, 2, 3 … and have these causes (invariant 1).
    #[track_caller]
    pub fn check_switches(&self, causes: &[&str]) {
        let switches = self.switches();
        let epochs: Vec<_> = switches.iter().map(|switch| switch["epoch"].as_u64().unwrap()).collect();
        assert_eq!(epochs, (1..=switches.len() as u64).collect::<Vec<_>>(), "epochs rise by one: {switches:?}");
        let found: Vec<_> = switches.iter().map(|switch| switch["cause"].as_str().unwrap()).collect();
        assert_eq!(found, causes, "{switches:?}");
    }

    /// Says what happened on the nodes.
    fn tell_logs(&self) {
        for node in &self.nodes {
            eprintln!("--- node {} ({}, {}), the end of its log:\n{}", node.id, node.site, node.grpc, node.log_tail());
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell_logs();
        }
        for node in &mut self.nodes {
            node.kill();
        }
    }
}

impl Person {
    /// Runs `quoratectl` against these nodes as this person.
    pub fn ctl(&self, nodes: &str, args: &[&str]) -> Answer {
        let (ca, certificate, key) = (path(&self.ca), path(&self.certificate), path(&self.key));
        let connection = ["--node", nodes, "--ca", ca, "--cert", certificate, "--key", key];
        quoratectl(&[&connection, args].concat())
    }
}

impl Node {
    /// `ID=SITE@HOST:PORT`.
    pub fn as_member(&self) -> String {
        format!("{}={}@{}", self.id, self.site, self.grpc)
    }

    fn configure(&self, pki: &Path) {
        let (id, site, grpc, home, pki) = (self.id, self.site, self.grpc, self.home.display(), pki.display());
        let text = format!(
            "[node]\ncluster = '{CLUSTER}'\nid = {id}\nsite = '{site}'\ndata = '{home}/data'\nlisten = '{grpc}'\n\
             advertise = '{grpc}'\nhttp = 'off'\n\
             [tls]\nca = '{pki}/ca.crt'\ncertificate = '{pki}/node-{id}.crt'\nkey = '{pki}/node-{id}.key'\n\
             {}\n{}{}",
            self.place.timing, self.place.provider, self.place.controls
        );
        fs::write(self.home.join("node.toml"), text).expect("the configuration");
    }

    fn command(&self, what: &str) -> Command {
        let program = env!("CARGO_BIN_EXE_quorated");
        let mut words = vec!["setpriv", "--pdeathsig", "KILL", program, what, "--config"];
        if let Some(netns) = &self.place.netns {
            words = [&["ip", "netns", "exec", netns.as_str()], &words[..]].concat();
        }
        let mut command = Command::new(words[0]);
        command.envs(CREDENTIALS).args(&words[1..]).arg(self.home.join("node.toml")).stdin(Stdio::null());
        command
    }

    /// Runs a short command of the daemon; whether it succeeded, and what it said.
    pub fn quorated(&self, what: &str) -> (bool, String) {
        let output = self.command(what).output().expect("quorated to run");
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        let _ = write!(said, "{}", String::from_utf8_lossy(&output.stderr));
        (output.status.success(), said)
    }

    /// Starts it, or starts it again.
    pub fn start(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.home.join("log")).expect("the log");
        let mut command = self.command("run");
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        self.child = Some(command.spawn().expect("the node to start"));
    }

    /// Whether it was started and not killed since.
    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Its process has ended by itself.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().expect("a child to ask"))
    }

    /// Kills it as `kill -9` does and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Our own child, not yet waited for: its pid cannot be anybody else's.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGSTOP: it stands still, with its connections open.
    pub fn stop(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().expect("it runs").id();
        kill(Pid::from_raw(pid.try_into().expect("a pid")), signal).expect("to signal our own child");
    }

    /// The directory of its store.
    pub fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// Everything that it said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        // What openraft says of every call to a node that is gone would fill the screen.
        let lines: Vec<_> = log.lines().filter(|line| !line.contains("openraft::")).collect();
        lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
    }
}
