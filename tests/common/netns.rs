//! A site of its own for each node: network namespaces on one bridge, so that a single way can be cut and nothing else.
//!
//! The names are unique to the process and removed on drop. It needs root; without it the test says `SKIP: …`, and under
//! `QUORATE_NO_SKIP=1` fails.
#![allow(dead_code)]

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    sync::atomic::{AtomicU8, Ordering},
};

static NETS: AtomicU8 = AtomicU8::new(0);

/// What is cut at a site.
#[derive(Debug, Clone, Copy)]
pub enum Cut {
    /// Ways to single addresses and ports.
    Ways,
    /// All that goes to and comes from other sites.
    Sites,
    /// Ways to a service's region, so that several can be cut and healed apart.
    Region(u8),
    /// Ways to the controls.
    Controls,
}

impl Cut {
    fn table(self) -> &'static str {
        match self {
            Self::Ways => "ways",
            Self::Sites => "sites",
            Self::Region(0) => "region0",
            Self::Region(_) => "region1",
            Self::Controls => "controls",
        }
    }
}

/// The bridge, and a namespace a site.
pub struct Net {
    bridge: String,
    spaces: Vec<String>,
    prefix: [u8; 3],
}

fn run(words: &[&str]) -> Result<(), String> {
    let output = Command::new(words[0]).args(&words[1..]).output().map_err(|error| format!("{words:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

impl Net {
    /// A bridge with this many sites; `None` when that is not possible here and skipping is allowed.
    pub fn build(sites: u8) -> Option<Self> {
        let number = NETS.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        // Interface names hold 15 characters; two test processes at once get other numbers and other addresses.
        let tag = format!("{:x}{number:x}", pid % 0x10_0000);
        let [low, high, ..] = pid.to_le_bytes();
        let mut net = Self {
            bridge: format!("qb{tag}"),
            spaces: vec![],
            prefix: [10, 64 + (high & 0x3f), low.wrapping_add(number)],
        };
        match net.raise(&tag, sites) {
            Ok(()) => Some(net),
            Err(why) => {
                let needed = format!("network namespaces cannot be made: {why}");
                assert!(std::env::var("QUORATE_NO_SKIP").as_deref() != Ok("1"), "{needed}");
                println!("SKIP: {needed}");
                None
            }
        }
    }

    fn raise(&mut self, tag: &str, sites: u8) -> Result<(), String> {
        let bridge = self.bridge.clone();
        run(&["nft", "--version"])?;
        run(&["ip", "link", "add", &bridge, "type", "bridge"])?;
        run(&["ip", "addr", "add", &format!("{}/24", self.gateway()), "dev", &bridge])?;
        run(&["ip", "link", "set", &bridge, "up"])?;
        for site in 1..=sites {
            let (space, outer, inner) = (format!("qn{tag}-{site}"), format!("qv{tag}-{site}"), "eth0");
            run(&["ip", "netns", "add", &space])?;
            self.spaces.push(space.clone());
            run(&["ip", "link", "add", &outer, "type", "veth", "peer", "name", inner, "netns", &space])?;
            run(&["ip", "link", "set", &outer, "master", &bridge, "up"])?;
            let inside = |words: &[&str]| run(&[&["ip", "-n", &space], words].concat());
            inside(&["addr", "add", &format!("{}/24", self.site(site)), "dev", inner])?;
            inside(&["link", "set", inner, "up"])?;
            inside(&["link", "set", "lo", "up"])?;
        }
        Ok(())
    }

    /// This side's address, where the regions and the DNS server are.
    pub fn gateway(&self) -> Ipv4Addr {
        let [a, b, c] = self.prefix;
        Ipv4Addr::new(a, b, c, 1)
    }

    /// The address of a site, from 1.
    pub fn site(&self, site: u8) -> Ipv4Addr {
        let [a, b, c] = self.prefix;
        Ipv4Addr::new(a, b, c, 10 + site)
    }

    /// Its namespace.
    pub fn space(&self, site: u8) -> String {
        self.spaces[usize::from(site) - 1].clone()
    }

    /// Cuts a site's way to one address and port: packets vanish, as they do in the world.
    pub fn cut_to(&self, site: u8, target: SocketAddr) {
        self.cut_to_as(Cut::Ways, site, target);
    }

    /// The same, to be healed under another name.
    pub fn cut_to_as(&self, cut: Cut, site: u8, target: SocketAddr) {
        let (ip, port) = (target.ip().to_string(), target.port().to_string());
        for protocol in ["tcp", "udp"] {
            self.rule(site, cut, "output", &["ip", "daddr", &ip, protocol, "dport", &port, "drop"]);
        }
    }

    /// Cuts everything between two sites, both ways.
    pub fn cut_between(&self, site: u8, other: u8) {
        let ip = self.site(other).to_string();
        self.rule(site, Cut::Sites, "output", &["ip", "daddr", &ip, "drop"]);
        self.rule(site, Cut::Sites, "input", &["ip", "saddr", &ip, "drop"]);
    }

    /// Cuts what one site sends to another; what comes back goes through, and finds nobody.
    pub fn cut_one_way(&self, from: u8, to: u8) {
        let ip = self.site(to).to_string();
        self.rule(from, Cut::Sites, "output", &["ip", "daddr", &ip, "drop"]);
    }

    /// Leads a port of a site's loopback to an address of ours: what speaks without TLS speaks to loopback only.
    pub fn lead_loopback(&self, site: u8, port: u16, target: SocketAddr) {
        let (port, target) = (port.to_string(), target.to_string());
        let space = self.space(site);
        let route = "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet";
        run(&["ip", "netns", "exec", &space, "sh", "-c", route]).expect("to route loopback");
        self.nft(site, &["add", "table", "ip", "relay"]);
        let chain = |name, hook, priority: i32| {
            let hook = format!("{{ type nat hook {hook} priority {priority}; }}");
            self.nft(site, &["add", "chain", "ip", "relay", name, &hook]);
        };
        chain("out", "output", -100);
        chain("post", "postrouting", 100);
        let to = ["add", "rule", "ip", "relay", "out", "ip", "daddr", "127.0.0.1", "tcp", "dport", &port];
        self.nft(site, &[&to[..], &["dnat", "to", &target]].concat());
        self.nft(
            site,
            &["add", "rule", "ip", "relay", "post", "ip", "saddr", "127.0.0.1", "oif", "eth0", "masquerade"],
        );
    }

    fn rule(&self, site: u8, cut: Cut, hook: &str, rule: &[&str]) {
        let table = cut.table();
        self.nft(site, &["add", "table", "inet", table]);
        self.nft(site, &["add", "chain", "inet", table, hook, &format!("{{ type filter hook {hook} priority 0; }}")]);
        self.nft(site, &[&["add", "rule", "inet", table, hook], rule].concat());
    }

    /// Undoes every cut of one kind at a site.
    pub fn heal(&self, site: u8, cut: Cut) {
        self.nft(site, &["delete", "table", "inet", cut.table()]);
    }

    fn nft(&self, site: u8, words: &[&str]) {
        run(&[&["ip", "netns", "exec", &self.space(site), "nft"], words].concat()).expect("nft");
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for space in &self.spaces {
            let _ = run(&["ip", "netns", "del", space]);
        }
        let _ = run(&["ip", "link", "del", &self.bridge]);
    }
}
