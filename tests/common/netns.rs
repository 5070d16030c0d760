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
        let (ip, port) = (target.ip().to_string(), target.port().to_string());
        self.rule(site, "output", &["ip", "daddr", &ip, "tcp", "dport", &port, "drop"]);
    }

    /// Cuts everything between two sites, both ways.
    pub fn cut_between(&self, site: u8, other: u8) {
        let ip = self.site(other).to_string();
        self.rule(site, "output", &["ip", "daddr", &ip, "drop"]);
        self.rule(site, "input", &["ip", "saddr", &ip, "drop"]);
    }

    fn rule(&self, site: u8, hook: &str, rule: &[&str]) {
        let space = self.space(site);
        let inside = |words: &[&str]| run(&[&["ip", "netns", "exec", &space, "nft"], words].concat()).expect("nft");
        inside(&["add", "table", "inet", "cut"]);
        inside(&["add", "chain", "inet", "cut", hook, &format!("{{ type filter hook {hook} priority 0; }}")]);
        inside(&[&["add", "rule", "inet", "cut", hook], rule].concat());
    }

    /// Undoes every cut of a site.
    pub fn heal(&self, site: u8) {
        run(&["ip", "netns", "exec", &self.space(site), "nft", "delete", "table", "inet", "cut"]).expect("nft");
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
