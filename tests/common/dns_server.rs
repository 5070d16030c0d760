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

    fn start(kind: Kind, ip: Ipv4Addr, zone: &str, hosts: &[&str]) -> Self {
        // A port that was free a moment ago may be taken by now: then another one is tried.
        for _ in 0..5 {
            let port = free_port_on(ip);
            let dir = tempfile::Builder::new().prefix("quorate-dns-").tempdir().expect("a temporary directory");
            let child = launch(kind, dir.path(), (ip, port).into(), zone, hosts);
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

fn launch(kind: Kind, dir: &Path, address: SocketAddr, zone: &str, hosts: &[&str]) -> Child {
    let dir_text = dir.display();
    fs::write(dir.join("zone.db"), zone_file(zone)).expect("the zone file");
    let conf = dir.join("conf");
    let text = match kind {
        Kind::Bind => bind_conf(&dir_text.to_string(), address, zone, hosts),
        Kind::Knot => knot_conf(&dir_text.to_string(), address, zone, hosts),
    };
    fs::write(&conf, text).expect("the configuration");
    let log = fs::File::create(dir.join("log")).expect("the log");
    let mut command = match kind {
        Kind::Bind => Command::new("named"),
        Kind::Knot => Command::new("knotd"),
    };
    command.env("PATH", std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin");
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

fn bind_conf(dir: &str, address: SocketAddr, zone: &str, hosts: &[&str]) -> String {
    let (ip, port) = (address.ip(), address.port());
    let keys: String = [(KEY_NAME, "hmac-sha256"), (KEY_512, "hmac-sha512"), (POWERLESS_KEY, "hmac-sha256")]
        .map(|(name, algorithm)| format!("key \"{name}\" {{ algorithm {algorithm}; secret \"{SECRET}\"; }};\n"))
        .concat();
    let grants: Vec<String> = hosts
        .iter()
        .flat_map(|host| [KEY_NAME, KEY_512].map(|key| (host, key)))
        .map(|(host, key)| {
            format!("grant {key} name {host}.{zone}. A AAAA CNAME; grant {key} name _quorate.{host}.{zone}. TXT; ")
        })
        .collect();
    format!(
        "options {{ directory \"{dir}\"; listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }};\n\
         pid-file \"{dir}/pid\"; session-keyfile \"{dir}/session.key\"; managed-keys-directory \"{dir}\";\n\
         recursion no; dnssec-validation no; notify no; allow-transfer {{ none; }}; }};\n\
         controls {{ }};\n{keys}\
         zone \"{zone}\" {{ type primary; file \"{dir}/zone.db\"; update-policy {{ {} }}; }};\n",
        grants.concat()
    )
}

fn knot_conf(dir: &str, address: SocketAddr, zone: &str, hosts: &[&str]) -> String {
    let (ip, port) = (address.ip(), address.port());
    let keys: String = [(KEY_NAME, "hmac-sha256"), (KEY_512, "hmac-sha512"), (POWERLESS_KEY, "hmac-sha256")]
        .map(|(name, algorithm)| format!("  - id: {name}\n    algorithm: {algorithm}\n    secret: {SECRET}\n"))
        .concat();
    let names: Vec<String> = hosts.iter().flat_map(|host| [(*host).to_owned(), format!("_quorate.{host}")]).collect();
    format!(
        "server:\n    rundir: \"{dir}\"\n    listen: {ip}@{port}\n    udp-workers: 1\n    tcp-workers: 2\n    background-workers: 1\n\
         log:\n  - target: stderr\n    any: info\n\
         database:\n    storage: \"{dir}\"\n    journal-db-max-size: 16M\n    kasp-db-max-size: 16M\n    timer-db-max-size: 16M\n    catalog-db-max-size: 16M\n\
         key:\n{keys}\
         acl:\n  - id: quorate\n    key: [{KEY_NAME}, {KEY_512}]\n    action: update\n    update-owner: name\n    update-owner-match: equal\n    \
         update-owner-name: [{}]\n    update-type: [A, AAAA, CNAME, TXT]\n\
         zone:\n  - domain: {zone}\n    storage: \"{dir}\"\n    file: zone.db\n    zonefile-sync: -1\n    zonefile-load: difference-no-serial\n    journal-content: all\n    acl: [quorate]\n",
        names.join(", ")
    )
}
