//! Torture: a cluster under faults, judged by checkers that believe it nothing.
//!
//! Real `quorated` processes, a network namespace and a disk each; partitions, kills, stops, power cuts, full disks, stepped
//! clocks, changing members, providers and regions that fail in every way known; clients that read and switch all the
//! while. Everything is written into a history in Jepsen's form, which the Clojure checkers of `jepsen/` judge, and of
//! which stateright judges the register. `TORTURE_SECONDS` and `TORTURE_SEED` say how long and which; `tests/torture/long`
//! takes them as options. The seed is printed and gives the same faults in the same order; what the machine makes of them
//! in which millisecond, it cannot give.

#[path = "../common/clojure.rs"]
mod clojure;
#[path = "../common/dns_frame.rs"]
mod dns_frame;
#[path = "../common/dns_server.rs"]
mod dns_server;
#[path = "../common/fake_ovh/mod.rs"]
mod fake_ovh;
#[path = "../common/netns.rs"]
mod netns;

mod clients;
mod ctl;
mod disk;
mod edn;
mod fleet;
mod history;
mod linear;
mod members;
mod nemesis;
mod outages;
mod partition;
mod reports;
mod run;
mod sabotage;
mod services;
mod summary;
mod witness;
mod world;

use std::time::{Duration, Instant};

/// What anything may take on a busy machine.
pub const LONG: Duration = Duration::from_secs(90);

/// Waits for a condition; panics with the reason when it does not come true in time.
#[track_caller]
pub fn until<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {within:?} in vain for this: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One cluster at a time: another one's load would be a fault that no history tells.
pub async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    ALONE.lock().await
}
