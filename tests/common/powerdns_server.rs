//! Debian's `PowerDNS` with a database in a file, unprivileged on loopback, killed on drop: HTTP API, DNS, and signed updates.
#![allow(dead_code)]

use std::{
    fs,
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::dns_server::{KEY_NAME, POWERLESS_KEY, SECRET, ZONE_KEY, available, dig, free_port};

pub const API_KEY: &str = "fake-powerdns-key-0815";
const SCHEMA: &str = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql";

/// A running server.
#[derive(Debug)]
pub struct PowerDnsServer {
    pub port: u16,
    pub api: u16,
    child: Child,
    dir: TempDir,
}

impl Drop for PowerDnsServer {
    fn drop(&mut self) {
        // The child is our own and not yet waited for, so its pid cannot have been given to anything else.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl PowerDnsServer {
    /// Starts it with the zone and these records (`name type ttl content`); `None` when it is not installed and skipping is
    /// allowed.
    pub fn start(zone: &str, records: &[(&str, &str, u32, &str)]) -> Option<Self> {
        let here = available("pdns_server", "pdns-server")
            && available("sqlite3", "sqlite3")
            && available("dig", "bind9-dnsutils");
        if !Path::new(SCHEMA).exists() {
            let needed = format!("{SCHEMA} is missing: apt-get install pdns-backend-sqlite3");
            assert!(std::env::var("QUORATE_NO_SKIP").as_deref() != Ok("1"), "{needed}");
            println!("SKIP: {needed}");
            return None;
        }
        here.then(|| Self::launch(zone, records))
    }

    fn launch(zone: &str, records: &[(&str, &str, u32, &str)]) -> Self {
        // A port that was free a moment ago may be taken by now: then others are tried.
        for _ in 0..5 {
            let (port, api) = (free_port(), free_port());
            let dir = tempfile::Builder::new().prefix("quorate-pdns-").tempdir().expect("a temporary directory");
            let child = spawn(dir.path(), port, api, zone, records);
            let mut server = Self { port, api, child, dir };
            let deadline = Instant::now() + Duration::from_secs(30);
            while Instant::now() < deadline && server.child.try_wait().expect("a child to ask").is_none() {
                if !dig(server.address(), zone, "SOA").is_empty()
                    && TcpStream::connect((Ipv4Addr::LOCALHOST, api)).is_ok()
                {
                    return server;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            let log = fs::read_to_string(server.dir.path().join("log")).unwrap_or_default();
            eprintln!("pdns_server did not start on port {port}:\n{log}");
        }
        panic!("pdns_server did not start");
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// What `dig +short` prints, sorted lines.
    pub fn dig(&self, name: &str, rtype: &str) -> Vec<String> {
        dig(self.address(), name, rtype)
    }

    /// Changes the database behind everybody's back.
    pub fn sql(&self, sql: &str) -> String {
        sqlite(self.dir.path(), sql)
    }

    /// Where the API is.
    pub fn api_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.api).into()
    }

    /// Puts one text where a TXT stands, behind everybody's back; `None` removes it.
    pub fn put_text(&self, name: &str, text: Option<&str>) {
        let new = text.map(|text| {
            format!(
                "INSERT INTO records (domain_id, name, type, ttl, content, prio, disabled, auth) VALUES \
                 (1, '{name}', 'TXT', 60, '\"{text}\"', 0, 0, 1);"
            )
        });
        self.sql(&format!("DELETE FROM records WHERE name = '{name}' AND type = 'TXT'; {}", new.unwrap_or_default()));
    }
}

fn sqlite(dir: &Path, sql: &str) -> String {
    let mut child = Command::new("sqlite3")
        .arg(dir.join("db"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sqlite3 to run");
    let text = format!(".timeout 5000\n{sql}\n");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("the statements");
    let output = child.wait_with_output().expect("sqlite3 to end");
    assert!(output.status.success(), "{sql}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn spawn(dir: &Path, port: u16, api: u16, zone: &str, records: &[(&str, &str, u32, &str)]) -> Child {
    let schema = fs::read_to_string(SCHEMA).expect("the schema");
    let mut lines = vec![format!("INSERT INTO domains (id, name, type) VALUES (1, '{zone}', 'NATIVE');\n")];
    let soa = format!("ns1.{zone} hostmaster.{zone} 1 3600 900 604800 300");
    let ns = format!("ns1.{zone}");
    for (name, rtype, ttl, content) in
        [(zone, "SOA", 300, soa.as_str()), (zone, "NS", 300, ns.as_str())].iter().chain(records)
    {
        lines.push(format!(
            "INSERT INTO records (domain_id, name, type, ttl, content, prio, auth) VALUES (1, '{name}', '{rtype}', {ttl}, '{content}', 0, 1);\n"
        ));
    }
    for key in [KEY_NAME, ZONE_KEY, POWERLESS_KEY] {
        lines.push(format!(
            "INSERT INTO tsigkeys (name, algorithm, secret) VALUES ('{key}', 'hmac-sha256', '{SECRET}');\n"
        ));
    }
    for (kind, content) in [
        ("ALLOW-DNSUPDATE-FROM", "127.0.0.1/32"),
        ("TSIG-ALLOW-DNSUPDATE", KEY_NAME),
        ("TSIG-ALLOW-DNSUPDATE", ZONE_KEY),
        ("SOA-EDIT-API", "DEFAULT"),
    ] {
        lines.push(format!(
            "INSERT INTO domainmetadata (domain_id, kind, content) VALUES (1, '{kind}', '{content}');\n"
        ));
    }
    sqlite(dir, &(schema + &lines.concat()));
    let conf = format!(
        "launch=gsqlite3\ngsqlite3-database={0}/db\nlocal-address=127.0.0.1\nlocal-port={port}\n\
         webserver=yes\nwebserver-address=127.0.0.1\nwebserver-port={api}\napi=yes\napi-key={API_KEY}\n\
         dnsupdate=yes\nsocket-dir={0}\nguardian=no\ndaemon=no\ncache-ttl=0\nquery-cache-ttl=0\nnegquery-cache-ttl=0\n\
         zone-cache-refresh-interval=0\nzone-metadata-cache-ttl=0\nreceiver-threads=1\ndistributor-threads=2\n",
        dir.display()
    );
    fs::write(dir.join("pdns.conf"), conf).expect("the configuration");
    let log = fs::File::create(dir.join("log")).expect("the log");
    Command::new("pdns_server")
        .env("PATH", std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin")
        .arg(format!("--config-dir={}", dir.display()))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("the server to start")
}
