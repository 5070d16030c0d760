//! What a steady state costs: one entry a report, whatever the number of endpoints.

use std::time::{Duration, Instant};

use openraft::entry::RaftEntry;
use prost::Message;

use crate::{
    core::{
        names::{EndpointId, LogTime},
        report::{Endpoint, Observation},
        service::{Check, Probe, Target, TcpCheck},
        state::{Action, Command},
    },
    probe::ledger::Ledger,
    raft::{
        store::format::{self, NO_HASH},
        types::{Entry, Logged, log_id},
        wire,
    },
};

const ENDPOINTS: u32 = 1_000;
/// Bytes of log for one site and tick, as the store writes them.
const LIMIT: usize = 200;

#[test]
fn a_steady_state_of_1000_endpoints_costs_few_bytes() {
    let mut ledger = Ledger::new(3);
    let check =
        Check::Tcp(TcpCheck { target: Target { host: "192.0.2.1".into(), port: 80 }, send: None, expect: None });
    let probe = Probe { interval: Duration::from_secs(2), timeout: Duration::from_secs(1), check };
    let mut now = Instant::now();
    for id in 0..ENDPOINTS {
        let (service, region) = ("app".parse().unwrap(), "eu".parse().unwrap());
        ledger.watch(&Endpoint { id: EndpointId(id), service, region, probe: probe.clone(), settle: 3 });
    }
    let mut last = 0;
    for _ in 0..5 {
        now += Duration::from_secs(2);
        for id in 0..ENDPOINTS {
            ledger.observe(EndpointId(id), Observation::pass(), now, now);
        }
        let report = ledger.next_report(now, false);
        ledger.acked(report.seq);
        let index = 3_000_000_000 + report.seq;
        let year = 365 * 24 * 3_600_000;
        let command = Command { at: LogTime(3 * year), wall: 60 * year, action: Action::Reports(vec![report]) };
        let entry = Entry::new_normal(log_id(40_000, index), Logged(command));
        last = format::record(index, &NO_HASH, &wire::entry_to(&entry).encode_to_vec()).len();
    }
    println!("{last} bytes");
    assert!(last <= LIMIT, "{last} bytes for one site and tick");
}
