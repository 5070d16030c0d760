//! Real DNS servers for tests: Debian's BIND and Knot, unprivileged on a free loopback port, killed on drop.
//!
//! `DnsServer::bind(zone, hosts)` and `DnsServer::knot(zone, hosts)` serve `zone` with `NS ns1`, and let the key
//! [`KEY_NAME`] update exactly the hosts named, their type A, AAAA and CNAME, and the TXT of the fence beside them:
//! the least privilege that the README tells people to grant.
#![allow(dead_code)]

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// The key that may update.
pub const KEY_NAME: &str = "quorate-key";
/// Its secret in base64 (hmac-sha256).
pub const SECRET: &str = "bm90IGEgc2VjcmV0OiBhIHRlc3Qga2V5LCAzMiBieXQ=";
/// A second key, hmac-sha512, with the same rights.
pub const KEY_512: &str = "quorate-key-512";
/// A key that the server knows and that may do nothing.
pub const POWERLESS_KEY: &str = "powerless-key";
/// A key that may change the records and not their fences.
pub const FENCELESS_KEY: &str = "fenceless-key";
/// A key that may change anything in the zone.
pub const ZONE_KEY: &str = "zone-key";
/// Where Debian has libfaketime.
const FAKETIME: [&str; 2] =
    ["/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"];
const KEYS: [(&str, &str); 5] = [
    (KEY_NAME, "hmac-sha256"),
    (KEY_512, "hmac-sha512"),
    (POWERLESS_KEY, "hmac-sha256"),
    (FENCELESS_KEY, "hmac-sha256"),
    (ZONE_KEY, "hmac-sha256"),
];

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bind,
    Knot,
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Self::Bind => "named",
            Self::Knot => "knotd",
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct DnsServer {
    pub kind: Kind,
    pub port: u16,
    ip: Ipv4Addr,
    child: Child,
    dir: TempDir,
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        // The child is our own and not yet waited for, so its pid cannot have been given to anything else.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the program is there; when it is not, says so and, under `QUORATE_NO_SKIP=1`, fails.
pub fn available(program: &str, package: &str) -> bool {
    let paths = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let found = paths.split(':').any(|dir| Path::new(dir).join(program).is_file());
    if !found {
        let needed = format!("`{program}` is missing: apt-get install {package}");
        assert!(std::env::var("QUORATE_NO_SKIP").as_deref() != Ok("1"), "{needed}");
        println!("SKIP: {needed}");
    }
    found
}

impl DnsServer {
    /// Starts BIND; `None` when it is not installed and skipping is allowed.
    pub fn bind(zone: &str, hosts: &[&str]) -> Option<Self> {
        (available("named", "bind9") && available("dig", "bind9-dnsutils"))
            .then(|| Self::start(Kind::Bind, Ipv4Addr::LOCALHOST, zone, hosts))
    }

    /// Starts BIND on an address other than loopback, for clients in namespaces of their own.
    pub fn bind_on(ip: Ipv4Addr, zone: &str, hosts: &[&str]) -> Option<Self> {
        (available("named", "bind9") && available("dig", "bind9-dnsutils"))
            .then(|| Self::start(Kind::Bind, ip, zone, hosts))
    }

    /// Starts Knot; `None` when it is not installed and skipping is allowed.
    pub fn knot(zone: &str, hosts: &[&str]) -> Option<Self> {
        (available("knotd", "knot") && available("dig", "bind9-dnsutils"))
            .then(|| Self::start(Kind::Knot, Ipv4Addr::LOCALHOST, zone, hosts))
    }

    /// Starts a server that grants what this text says: BIND's `update-policy { … };`, or Knot's `acl:` with a rule `quorate`.
    pub fn granting(kind: Kind, zone: &str, policy: &str) -> Option<Self> {
        let here = match kind {
            Kind::Bind => available("named", "bind9"),
            Kind::Knot => available("knotd", "knot"),
        };
        let grants = Grants { policy: Some(policy), ..Grants::default() };
        (here && available("dig", "bind9-dnsutils")).then(|| Self::start_with(kind, Ipv4Addr::LOCALHOST, zone, grants))
    }

    /// Starts Knot with a clock that is off by so many seconds; `None` where libfaketime is missing and skipping is allowed. (BIND
    /// does not start under libfaketime, whose calls and jemalloc's go round in a circle.)
    pub fn knot_at(zone: &str, hosts: &[&str], offset: i64) -> Option<Self> {
        let here = available("knotd", "knot") && available("dig", "bind9-dnsutils");
        let library = FAKETIME.into_iter().find(|path| Path::new(path).exists());
        if library.is_none() {
            let needed = "libfaketimeMT is missing: apt-get install faketime";
            assert!(std::env::var("QUORATE_NO_SKIP").as_deref() != Ok("1"), "{needed}");
            println!("SKIP: {needed}");
        }
        let clock = Some((library?, offset));
        let grants = Grants { hosts, clock, ..Grants::default() };
        here.then(|| Self::start_with(Kind::Knot, Ipv4Addr::LOCALHOST, zone, grants))
    }

    fn start(kind: Kind, ip: Ipv4Addr, zone: &str, hosts: &[&str]) -> Self {
        Self::start_with(kind, ip, zone, Grants { hosts, ..Grants::default() })
    }

    fn start_with(kind: Kind, ip: Ipv4Addr, zone: &str, grants: Grants<'_>) -> Self {
        // A port that was free a moment ago may be taken by now: then another one is tried.
        for _ in 0..5 {
            let port = free_port_on(ip);
            let dir = tempfile::Builder::new().prefix("quorate-dns-").tempdir().expect("a temporary directory");
            let child = launch(kind, dir.path(), (ip, port).into(), zone, grants);
            let mut server = Self { kind, port, ip, child, dir };
            if server.wait_until_it_answers(zone) {
                return server;
            }
            eprintln!("{} did not start on port {port}:\n{}", kind.program(), server.log());
        }
        panic!("{} did not start", kind.program());
    }

    fn wait_until_it_answers(&mut self, zone: &str) -> bool {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if self.child.try_wait().expect("a child to ask").is_some() {
                return false;
            }
            if !self.dig(zone, "SOA").is_empty() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    pub fn address(&self) -> SocketAddr {
        (self.ip, self.port).into()
    }

    /// SIGSTOP: it takes connections and answers nothing.
    pub fn stand_still(&self) {
        self.signal(nix::sys::signal::Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn go_on(&self) {
        self.signal(nix::sys::signal::Signal::SIGCONT);
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().expect("a pid"));
        nix::sys::signal::kill(pid, signal).expect("to signal our own child");
    }

    /// What the server wrote to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// What `dig +short` prints, sorted lines; empty for no answer and for no such name.
    pub fn dig(&self, name: &str, rtype: &str) -> Vec<String> {
        dig(self.address(), name, rtype)
    }
}

/// `dig +short @server name rtype`, sorted lines.
pub fn dig(server: SocketAddr, name: &str, rtype: &str) -> Vec<String> {
    let output = Command::new("dig")
        .args(["+short", "+norecurse", "+tries=1", "+time=2", &format!("@{}", server.ip()), "-p"])
        .args([&server.port().to_string(), name, rtype])
        .output()
        .expect("dig to run");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines: Vec<String> =
        text.lines().filter(|line| !line.starts_with(';') && !line.is_empty()).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// A port that is free for both TCP and UDP on 127.0.0.1.
pub fn free_port() -> u16 {
    free_port_on(Ipv4Addr::LOCALHOST)
}

/// The same on another address of this machine. Below the ports that the kernel gives to clients (32768 and up): `dig` and
/// BIND share ports (`SO_REUSEPORT`), and a client that got the server's own port would hear itself.
pub fn free_port_on(ip: Ipv4Addr) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..1000 {
        let offset = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        let port = 20_000 + u16::try_from(offset).expect("below 12,000");
        if TcpListener::bind((ip, port)).is_ok() && UdpSocket::bind((ip, port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free for TCP and UDP");
}

fn zone_file(zone: &str) -> String {
    format!(
        "$ORIGIN {zone}.\n$TTL 300\n\
         @ SOA ns1 hostmaster 1 3600 900 604800 300\n@ NS ns1\nns1 A 127.0.0.1\n\
         www 60 A 192.0.2.10\n\
         alias CNAME target.example.net.\n\
         occupied TXT \"in use\"\n\
         *.wild A 192.0.2.77\n"
    )
}

/// Who may change what, and by which clock it is judged.
#[derive(Clone, Copy, Default)]
struct Grants<'a> {
    hosts: &'a [&'a str],
    policy: Option<&'a str>,
    clock: Option<(&'a str, i64)>,
}

fn launch(kind: Kind, dir: &Path, address: SocketAddr, zone: &str, grants: Grants<'_>) -> Child {
    let dir_text = dir.display();
    fs::write(dir.join("zone.db"), zone_file(zone)).expect("the zone file");
    let conf = dir.join("conf");
    let text = match kind {
        Kind::Bind => bind_conf(&dir_text.to_string(), address, zone, grants),
        Kind::Knot => knot_conf(&dir_text.to_string(), address, zone, grants),
    };
    fs::write(&conf, text).expect("the configuration");
    let log = fs::File::create(dir.join("log")).expect("the log");
    let mut command = match kind {
        Kind::Bind => Command::new("named"),
        Kind::Knot => Command::new("knotd"),
    };
    command.env("PATH", std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin");
    if let Some((library, offset)) = grants.clock {
        command.env("LD_PRELOAD", library).env("FAKETIME", format!("{offset:+}s"));
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
    match kind {
        Kind::Bind => command.arg("-g").args(["-n", "1"]).arg("-c").arg(&conf),
        Kind::Knot => command.arg("-c").arg(&conf),
    };
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("the server to start")
}

fn bind_conf(dir: &str, address: SocketAddr, zone: &str, granted: Grants<'_>) -> String {
    let hosts = granted.hosts;
    let (ip, port) = (address.ip(), address.port());
    let keys: String = KEYS
        .map(|(name, algorithm)| format!("key \"{name}\" {{ algorithm {algorithm}; secret \"{SECRET}\"; }};\n"))
        .concat();
    let grants: Vec<String> = hosts
        .iter()
        .flat_map(|host| [KEY_NAME, KEY_512].map(|key| (host, key)))
        .map(|(host, key)| {
            format!("grant {key} name {host}.{zone}. A AAAA CNAME; grant {key} name _quorate.{host}.{zone}. TXT; ")
        })
        .collect();
    let fenceless = hosts.iter().map(|host| format!("grant {FENCELESS_KEY} name {host}.{zone}. A AAAA CNAME; "));
    let all = format!("grant {ZONE_KEY} zonesub A AAAA CNAME TXT; ");
    let own: Vec<String> = grants.into_iter().chain(fenceless).chain([all]).collect();
    let policy = granted.policy.map_or_else(|| format!("update-policy {{ {} }};", own.concat()), str::to_owned);
    format!(
        "options {{ directory \"{dir}\"; listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }};\n\
         pid-file \"{dir}/pid\"; session-keyfile \"{dir}/session.key\"; managed-keys-directory \"{dir}\";\n\
         recursion no; dnssec-validation no; notify no; allow-transfer {{ none; }}; }};\n\
         controls {{ }};\n{keys}\
         zone \"{zone}\" {{ type primary; file \"{dir}/zone.db\"; {policy} }};\n"
    )
}

fn knot_conf(dir: &str, address: SocketAddr, zone: &str, granted: Grants<'_>) -> String {
    let hosts = granted.hosts;
    let (ip, port) = (address.ip(), address.port());
    let keys: String = KEYS
        .map(|(name, algorithm)| format!("  - id: {name}\n    algorithm: {algorithm}\n    secret: {SECRET}\n"))
        .concat();
    let names: Vec<String> = hosts.iter().flat_map(|host| [(*host).to_owned(), format!("_quorate.{host}")]).collect();
    let rule = |id: &str, keys: &str, names: &str, types: &str| {
        format!(
            "  - id: {id}\n    key: [{keys}]\n    action: update\n    update-owner: name\n    update-owner-match: equal\n    \
             update-owner-name: [{names}]\n    update-type: [{types}]\n"
        )
    };
    let own = format!(
        "acl:\n{}{}  - id: all\n    key: {ZONE_KEY}\n    action: update\n",
        rule("quorate", &format!("{KEY_NAME}, {KEY_512}"), &names.join(", "), "A, AAAA, CNAME, TXT"),
        rule("fenceless", FENCELESS_KEY, &hosts.join(", "), "A, AAAA, CNAME"),
    );
    let (acl, rules) = granted.policy.map_or((own.as_str(), "quorate, fenceless, all"), |policy| (policy, "quorate"));
    format!(
        "server:\n    rundir: \"{dir}\"\n    listen: {ip}@{port}\n    udp-workers: 1\n    tcp-workers: 2\n    background-workers: 1\n\
         log:\n  - target: stderr\n    any: info\n\
         database:\n    storage: \"{dir}\"\n    journal-db-max-size: 16M\n    kasp-db-max-size: 16M\n    timer-db-max-size: 16M\n    catalog-db-max-size: 16M\n\
         key:\n{keys}\
         {acl}\
         zone:\n  - domain: {zone}\n    storage: \"{dir}\"\n    file: zone.db\n    zonefile-sync: -1\n    zonefile-load: difference-no-serial\n    journal-content: all\n    acl: [{rules}]\n"
    )
}
