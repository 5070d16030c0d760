//! The services under torture, and what the checkers must know of them.
//!
//! | service | provider | what is done to it |
//! |---|---|---|
//! | `app` | RFC 2136, grade A | its active region dies again and again |
//! | `shop` | OVH, grade C | the same, at the slower pace that its cooldown imposes |
//! | `reg` | RFC 2136 | a register: operators switch it by hand, nothing of it ever dies |

use std::{net::SocketAddr, time::Duration};

use quorate::demo::region::Region;

use crate::{
    edn::{Edn, key, map, vector},
    fleet::{CLUSTER, LEASE_MS, SITES},
    witness::ZONE,
};

/// From one probe of a site to its next.
pub const INTERVAL: Duration = Duration::from_millis(1000);
pub const TIMEOUT: Duration = Duration::from_millis(600);
pub const FALL: u32 = 3;
const TTL: Duration = Duration::from_secs(5);
const RECONCILE: Duration = Duration::from_secs(5);
/// What no failover can beat: all but the first of `fall` intervals, and the timeout of the last probe.
pub const FLOOR: Duration = Duration::from_millis(2 * 1000 + 600);

/// One service: its name, its regions with their values, and its policy.
pub struct Service {
    pub name: &'static str,
    pub grade: &'static str,
    pub provider: &'static str,
    pub regions: [(&'static str, &'static str); 2],
    pub cooldown: Duration,
}

pub const APP: Service = Service {
    name: "app",
    grade: "A",
    provider: "main",
    regions: [("west", "192.0.2.10"), ("east", "192.0.2.20")],
    cooldown: Duration::from_secs(5),
};
/// OVH refuses no late write, so the cooldown must outlive the longest request.
pub const SHOP: Service = Service {
    name: "shop",
    grade: "C",
    provider: "ovh",
    regions: [("west", "192.0.2.50"), ("east", "192.0.2.60")],
    cooldown: Duration::from_secs(120),
};
pub const REG: Service = Service {
    name: "reg",
    grade: "A",
    provider: "main",
    regions: [("north", "192.0.2.30"), ("south", "192.0.2.40")],
    cooldown: Duration::from_secs(1),
};
pub const ALL: [&Service; 3] = [&APP, &SHOP, &REG];

impl Service {
    /// The value that a region's record has.
    pub fn region_of(&self, values: &[String]) -> Option<usize> {
        self.regions.iter().position(|(_, value)| values == [*value])
    }

    /// The service file, with regions at these addresses.
    pub fn file(&self, regions: &[Region; 2]) -> String {
        let region = |(name, value): (&str, &str), at: SocketAddr| {
            format!(
                "[[region]]\nname = '{name}'\nvalues = {{ A = ['{value}'] }}\nprobe = {{ http = 'http://{at}/health', \
                 interval = '{}ms', timeout = '{}ms', json = {{ '/status' = 'UP' }} }}\n",
                INTERVAL.as_millis(),
                TIMEOUT.as_millis()
            )
        };
        format!(
            "name = '{name}'\n[[record]]\nprovider = '{}'\nzone = '{ZONE}'\nname = '{name}'\ntype = 'A'\nttl = 60\n{}{}\
             [policy]\nfall = {FALL}\nrise = 2\ncooldown = '{}s'\nbudget = 100\nreconcile = '{}s'\nopinion_ttl = '{}s'\n",
            self.provider,
            region(self.regions[0], regions[0].address()),
            region(self.regions[1], regions[1].address()),
            self.cooldown.as_secs(),
            RECONCILE.as_secs(),
            TTL.as_secs(),
            name = self.name,
        )
    }

    fn told(&self, register: Option<(u64, &str)>) -> (Edn, Edn) {
        let ms = |span: Duration| Edn::Int(u64::try_from(span.as_millis()).expect("a short span"));
        let values = self.regions.map(|(name, value)| (Edn::from(name), vector([value])));
        let about = map([
            ("grade", key(self.grade)),
            ("values", Edn::Map(values.into())),
            ("budget", 100_u64.into()),
            ("budget-window-ms", 3_600_000_u64.into()),
            ("cooldown-ms", ms(self.cooldown)),
            ("ttl-ms", ms(TTL)),
            ("reconcile-ms", ms(RECONCILE)),
            // From an opinion's first failure to the write: its age, and what an election or a fault may add.
            ("window-ms", 60_000_u64.into()),
            ("least-dead-ms", ms((INTERVAL * (FALL - 1)).saturating_sub(Duration::from_millis(500)))),
            ("bound-ms", ms(FLOOR * 2 + Duration::from_secs(3))),
            ("register", register.map_or(Edn::Nil, |(epoch, to)| Edn::Vector(vec![epoch.into(), to.into()]))),
        ]);
        (self.name.into(), about)
    }
}

/// What was set up, for the checkers.
pub fn setup(slack: Duration, register: (u64, &str)) -> Edn {
    let services = ALL.map(|service| service.told((service.name == REG.name).then_some(register)));
    let sites = (1_u64..).zip(SITES).take(3).map(|(id, site)| (id.into(), site.into()));
    map([
        ("cluster", CLUSTER.into()),
        ("sites", Edn::Map(sites.collect())),
        ("lease-ms", LEASE_MS.into()),
        ("slack-ms", u64::try_from(slack.as_millis()).expect("a short span").into()),
        // What a fault leaves behind once the nemesis has seen the cluster whole again.
        ("grace-ms", 2_000_u64.into()),
        ("services", Edn::Map(services.into())),
    ])
}
