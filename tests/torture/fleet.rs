//! The nodes: real `quorated` processes, one network namespace and one disk each.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use quorate::{core::names::ClusterId, pki, tls::Identity};
use tempfile::TempDir;

use crate::{
    ctl::{Answer, Ctl},
    disk::Disk,
    dns_server::SECRET,
    fake_ovh,
    history::History,
    netns::Net,
};

pub const CLUSTER: &str = "torture";
/// A site a slot.
pub const SITES: [&str; 5] = ["paris", "frankfurt", "dublin", "madrid", "oslo"];
/// Heartbeats and elections: fast enough that a run has many, slow enough for a busy machine.
pub const TIMING: &str = "[timing]\nheartbeat = '200ms'\nelection = ['1s', '2s']\nreport = '500ms'\n";
/// The longest lease that a leader can hold after its last confirmation.
pub const LEASE_MS: u64 = 2_000;
const PORT: u16 = 7700;

/// One node.
struct Node {
    slot: u8,
    home: PathBuf,
    disk: Disk,
    child: Option<Child>,
}

struct Inner {
    nodes: BTreeMap<u64, Node>,
    next_id: u64,
}

/// All of them.
pub struct Fleet {
    // The processes go before their disks, the disks before their directories.
    inner: Mutex<Inner>,
    pub net: Net,
    pub history: Arc<History>,
    pub ctl: Ctl,
    /// What every node's configuration says besides its own.
    common: String,
    /// More of the environment: a rule to be broken.
    environment: Vec<(String, String)>,
    faketime: Option<PathBuf>,
    cluster: ClusterId,
    dir: TempDir,
}

/// The library that steps a process's wall clock, where Debian puts it.
fn faketime() -> Option<PathBuf> {
    let dirs = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let found = dirs.map(|dir| dir.join("faketime/libfaketimeMT.so.1")).find(|library| library.exists());
    if found.is_none() {
        let needed = "libfaketime is missing: apt-get install faketime";
        assert!(std::env::var("QUORATE_NO_SKIP").as_deref() != Ok("1"), "{needed}");
        println!("SKIP: clocks are not stepped, {needed}");
    }
    found
}

impl Fleet {
    /// Makes certificates and starts three nodes with this configuration of timing, providers and controls; forms the cluster.
    /// `None` where a disk cannot be made and skipping is allowed.
    pub fn start(
        net: Net,
        history: Arc<History>,
        runtime: tokio::runtime::Handle,
        common: String,
        environment: Vec<(String, String)>,
    ) -> Option<Arc<Self>> {
        let dir = tempfile::Builder::new().prefix("quorate-torture-").tempdir().expect("a temporary directory");
        let cluster: ClusterId = CLUSTER.parse().expect("a name");
        let pki_dir = dir.path().join("pki");
        pki::init(&pki_dir, &cluster, 2).expect("a CA");
        let ctl = Ctl::new(runtime, pki_dir, &cluster);
        let inner = Mutex::new(Inner { nodes: BTreeMap::new(), next_id: 1 });
        let faketime = faketime();
        let fleet = Self { inner, net, history, ctl, common, environment, faketime, cluster, dir };
        for slot in 1..=3 {
            fleet.new_node(slot)?;
        }
        let members: Vec<String> = (1..=3).map(|id| fleet.as_member(id)).collect();
        let mut args = vec!["cluster", "init"];
        args.extend(members.iter().flat_map(|member| ["--member", member.as_str()]));
        let address = [fleet.address(1).to_string()];
        crate::until("the cluster is formed", crate::LONG, || {
            let answer = fleet.ctl.call(&address, &args);
            // A node that was not there yet will be; anything else would stay as it is.
            assert!([0, 5, 6].contains(&answer.exit), "{answer:?}");
            (answer.exit == 0).then_some(())
        });
        fleet.history.electorate(&[1, 2, 3]);
        Some(Arc::new(fleet))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a node that was never there before, in this slot, and starts it. It is no member yet.
    pub fn new_node(&self, slot: u8) -> Option<u64> {
        let id = {
            let mut inner = self.lock();
            inner.next_id += 1;
            inner.next_id - 1
        };
        let node = Identity::Node { cluster: self.cluster.clone(), id };
        pki::issue(&self.dir.path().join("pki"), &node, &[], 2).expect("the node's certificate");
        let home = self.dir.path().join(format!("node-{id}"));
        fs::create_dir(&home).expect("a directory");
        let Some(disk) = Disk::make(&home) else {
            assert!(std::env::var("QUORATE_NO_SKIP").as_deref() != Ok("1"), "no xfs on a loop device here");
            println!("SKIP: no xfs on a loop device here (root and xfsprogs are needed)");
            return None;
        };
        fs::write(home.join("faketime"), "+0").expect("the clock");
        fs::write(home.join("node.toml"), self.configuration(id, slot, &home, &disk)).expect("the configuration");
        let made = self.command(&home, slot, "init").output().expect("quorated to run");
        assert!(made.status.success(), "quorated init: {}", String::from_utf8_lossy(&made.stderr));
        self.lock().nodes.insert(id, Node { slot, home, disk, child: None });
        self.start_node(id);
        Some(id)
    }

    fn configuration(&self, id: u64, slot: u8, home: &Path, disk: &Disk) -> String {
        let (site, address) = (SITES[usize::from(slot) - 1], self.slot_address(slot));
        let (pki, data) = (self.dir.path().join("pki"), disk.path().join("data"));
        format!(
            "[node]\ncluster = '{CLUSTER}'\nid = {id}\nsite = '{site}'\ndata = '{}'\nlisten = '{address}'\n\
             advertise = '{address}'\nhttp = 'off'\n[tls]\nca = '{pki}/ca.crt'\ncertificate = '{pki}/node-{id}.crt'\n\
             key = '{pki}/node-{id}.key'\n{}# {}\n",
            data.display(),
            self.common,
            home.display(),
            pki = pki.display(),
        )
    }

    fn command(&self, home: &Path, slot: u8, what: &str) -> Command {
        // Not `ip netns exec`: that gives each node a copy of the mounts, and a disk whose power was cut would stay mounted
        // in the others' copies.
        let mut command = Command::new("nsenter");
        let space = format!("--net=/run/netns/{}", self.net.space(slot));
        command.args([space.as_str(), "setpriv", "--pdeathsig", "KILL"]);
        // A build of its own may be named, so that a long run is not disturbed by the next build.
        let built = std::env::var_os("TORTURE_QUORATED").unwrap_or_else(|| env!("CARGO_BIN_EXE_quorated").into());
        command.arg(built).args([what, "--config"]).arg(home.join("node.toml"));
        command.env("TORTURE_TSIG", SECRET);
        command.env("TORTURE_AK", fake_ovh::APPLICATION_KEY).env("TORTURE_AS", fake_ovh::APPLICATION_SECRET);
        command.env("TORTURE_CK", fake_ovh::CONSUMER_KEY);
        command.env("RUST_LOG", "warn,openraft=error,quorate=info,quorate::node::reporter=debug");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(library) = &self.faketime {
            command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", home.join("faketime"));
            command.env("FAKETIME_CACHE_DURATION", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        command.stdin(Stdio::null());
        command
    }

    /// Starts a node, or starts it again. Only from a thread that outlives it: it dies with the thread.
    pub fn start_node(&self, id: u64) {
        let mut inner = self.lock();
        let node = inner.nodes.get_mut(&id).expect("the node");
        let log = fs::File::options().create(true).append(true).open(node.home.join("log")).expect("the log");
        let mut command = self.command(&node.home, node.slot, "run");
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        node.child = Some(command.spawn().expect("the node to start"));
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill_node(&self, id: u64) {
        let mut inner = self.lock();
        if let Some(mut child) = inner.nodes.get_mut(&id).and_then(|node| node.child.take()) {
            // Our own child, not yet waited for: its pid cannot be anybody else's.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether its process has ended by itself.
    pub fn ended(&self, id: u64) -> bool {
        let mut inner = self.lock();
        let child = inner.nodes.get_mut(&id).and_then(|node| node.child.as_mut());
        child.is_none_or(|child| child.try_wait().expect("a child to ask").is_some())
    }

    pub fn signal(&self, id: u64, signal: Signal) {
        let inner = self.lock();
        let Some(child) = inner.nodes.get(&id).and_then(|node| node.child.as_ref()) else { return };
        kill(Pid::from_raw(child.id().try_into().expect("a pid")), signal).expect("to signal our own child");
    }

    /// Steps a node's wall clock against the machine's.
    pub fn step_clock(&self, id: u64, seconds: i64) {
        let inner = self.lock();
        fs::write(inner.nodes[&id].home.join("faketime"), format!("{seconds:+}")).expect("the clock");
    }

    /// Something is done to a node's disk.
    pub fn with_disk<T>(&self, id: u64, act: impl FnOnce(&Disk) -> T) -> T {
        act(&self.lock().nodes[&id].disk)
    }

    /// A node is gone for good; what it had recorded of the log.
    pub fn retire(&self, id: u64) -> Vec<u8> {
        self.kill_node(id);
        let node = self.lock().nodes.remove(&id);
        let dir = node.as_ref().map(|node| node.disk.path().join("data/history"));
        let entries = dir.and_then(|dir| fs::read_dir(dir).ok()).into_iter().flatten().flatten();
        let mut segments: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        // Their names end in numbers of one length.
        segments.sort();
        segments.iter().filter_map(|segment| fs::read(segment).ok()).flatten().collect()
    }

    pub fn slot(&self, id: u64) -> u8 {
        self.lock().nodes[&id].slot
    }

    /// A slot that no node is in.
    pub fn free_slot(&self) -> Option<u8> {
        let inner = self.lock();
        (1..=5).find(|slot| inner.nodes.values().all(|node| node.slot != *slot))
    }

    /// Which node sends from this address.
    pub fn node_at(&self, ip: std::net::IpAddr) -> Option<u64> {
        let inner = self.lock();
        inner.nodes.iter().find(|(_, node)| self.net.site(node.slot) == ip).map(|(id, _)| *id)
    }

    fn slot_address(&self, slot: u8) -> SocketAddr {
        let ip: Ipv4Addr = self.net.site(slot);
        (ip, PORT).into()
    }

    pub fn address(&self, id: u64) -> SocketAddr {
        self.slot_address(self.slot(id))
    }

    /// `ID=SITE@HOST:PORT`.
    pub fn as_member(&self, id: u64) -> String {
        format!("{id}={}@{}", SITES[usize::from(self.slot(id)) - 1], self.address(id))
    }

    /// Every node that there is, members or not.
    pub fn ids(&self) -> Vec<u64> {
        self.lock().nodes.keys().copied().collect()
    }

    fn addresses(&self) -> Vec<String> {
        let inner = self.lock();
        inner.nodes.values().map(|node| self.slot_address(node.slot).to_string()).collect()
    }

    /// Asks whichever node answers.
    pub fn any(&self, args: &[&str]) -> Answer {
        self.ctl.call(&self.addresses(), args)
    }

    /// Asks this node only.
    pub fn at(&self, id: u64, args: &[&str]) -> Answer {
        self.ctl.call(&[self.address(id).to_string()], args)
    }

    /// Everything that a node said, those that are gone too.
    pub fn logs(&self) -> Vec<(u64, String)> {
        let last = self.lock().next_id;
        let log =
            |id: u64| fs::read_to_string(self.dir.path().join(format!("node-{id}/log"))).ok().map(|log| (id, log));
        (1..last).filter_map(log).collect()
    }

    /// Says what happened on the nodes.
    fn tell_logs(&self) {
        for (id, log) in self.logs() {
            let lines: Vec<_> = log.lines().filter(|line| !line.contains("took the report")).collect();
            let tail = lines[lines.len().saturating_sub(25)..].join("\n");
            eprintln!("--- node {id}, the end of its log:\n{tail}");
        }
    }

    /// A place for files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell_logs();
        }
        for id in self.ids() {
            self.signal(id, Signal::SIGCONT);
            self.kill_node(id);
        }
        self.lock().nodes.clear();
    }
}
