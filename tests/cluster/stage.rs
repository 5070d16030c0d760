//! What every scenario needs besides the cluster: two regions that can be killed, a service file, and the world's view of the
//! record.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

pub use quorate::demo::region::{Health, Region};

use crate::cluster::{EAST, PROVIDER, RECORD, WEST, ZONE, until};

/// From one probe of a site to its next.
pub const INTERVAL: Duration = Duration::from_millis(500);
/// A policy that makes tests short: `fall` and `rise` 2, a second of cooldown, any number of switches.
pub const POLICY: &str = "fall = 2\nrise = 2\ncooldown = '1s'\nbudget = 100\nreconcile = '5s'\nopinion_ttl = '4s'\n";

/// The service's two regions, `west` preferred.
pub struct Regions {
    pub west: Region,
    pub east: Region,
}

impl Regions {
    pub async fn start() -> Self {
        Self::on(Ipv4Addr::LOCALHOST).await
    }

    /// On an address that nodes in other namespaces reach.
    pub async fn on(ip: Ipv4Addr) -> Self {
        let region = async |name| Region::start(name, ip).await.expect("a region");
        Self { west: region("west").await, east: region("east").await }
    }

    /// A service file with this policy.
    pub fn service(&self, policy: &str) -> String {
        let region = |region: &Region, value: &str| {
            format!(
                "[[region]]\nname = '{}'\nvalues = {{ A = ['{value}'] }}\nprobe = {{ http = 'http://{}/health', \
                 interval = '{}ms', timeout = '300ms', json = {{ '/status' = 'UP' }} }}\n",
                region.name(),
                region.address(),
                INTERVAL.as_millis(),
            )
        };
        format!(
            "name = 'app'\n[[record]]\nprovider = '{PROVIDER}'\nzone = '{ZONE}'\nname = 'app'\ntype = 'A'\nttl = 30\n\
             {}{}[policy]\n{policy}",
            region(&self.west, WEST),
            region(&self.east, EAST)
        )
    }
}

/// Asks a DNS server for the record all the time, as the world does, with `dig`.
///
/// Whatever else happens, the record is never empty and never holds what is no region's (invariant 5). That is checked
/// when the watch ends.
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    over: bool,
    answers: u64,
    /// When the answer became another, and what it was then.
    changes: Vec<(Instant, Vec<String>)>,
}

impl Watch {
    /// Begins; the record must stand already.
    pub fn begin(server: SocketAddr) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            while !lock(&shared).over {
                if let Some(answer) = ask(server, RECORD, "A") {
                    let mut seen = lock(&shared);
                    seen.answers += 1;
                    if seen.changes.last().is_none_or(|(_, last)| *last != answer) {
                        seen.changes.push((Instant::now(), answer));
                    }
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { seen, thread: Some(thread) }
    }

    /// Waits until the record answers this alone; says since when it has.
    #[track_caller]
    pub fn until(&self, value: &str, within: Duration) -> Instant {
        until(&format!("{RECORD} answers {value}"), within, || {
            let seen = lock(&self.seen);
            seen.changes.last().filter(|(_, answer)| *answer == [value]).map(|(at, _)| *at)
        })
    }

    /// Ends it: every value that the record ever had, in order.
    #[track_caller]
    pub fn end(mut self) -> Vec<String> {
        self.join();
        let seen = lock(&self.seen);
        assert!(seen.answers > 0, "the server never answered");
        let one = |(_, answer): &(Instant, Vec<String>)| {
            assert!(*answer == [WEST] || *answer == [EAST], "the record was {answer:?}: empty, or no region's (5)");
            answer[0].clone()
        };
        seen.changes.iter().map(one).collect()
    }

    fn join(&mut self) {
        lock(&self.seen).over = true;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.join();
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `dig` finds, sorted; `None` when no server answered at all.
pub fn ask(server: SocketAddr, name: &str, rtype: &str) -> Option<Vec<String>> {
    let output = Command::new("dig")
        .args(["+noall", "+comments", "+answer", "+norecurse", "+tries=1", "+time=2", &format!("@{}", server.ip())])
        .args(["-p", &server.port().to_string(), name, rtype])
        .output()
        .expect("dig to run");
    let text = String::from_utf8_lossy(&output.stdout);
    // Without the flag `qr` it is the question itself: now and then the kernel gives dig the server's own port.
    if !text.contains(";; flags: qr") {
        return None;
    }
    let answers = text.lines().filter(|line| !line.starts_with(';') && !line.is_empty());
    let mut values: Vec<String> =
        answers.filter_map(|line| line.split_whitespace().nth(4)).map(str::to_owned).collect();
    values.sort();
    Some(values)
}
