//! Probing: how a node learns whether regions are up.
//!
//! ```text
//!   catalogue, phase ──▶ schedule ──▶ check (http, tcp, dns, grpc, dynamodb) ──▶ ledger ──▶ reports
//!   controls ──▶ sight ──────────────────────────────────────────────────▲
//! ```
//!
//! The schedule says when, a check asks once, the ledger counts runs and words the reports. Probing judges nothing: rise,
//! fall and verdicts are the state's affair, and it never sees Raft. What was gathered blind never counts (invariant 4).

mod body;
pub mod check;
mod connect;
pub mod controls;
mod dns;
mod dynamodb;
#[cfg(feature = "testing")]
pub(crate) mod fuzz;
mod grpc;
mod http;
pub mod ledger;
mod schedule;
mod tcp;
mod tls;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use rustls::RootCertStore;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

use crate::{
    core::{
        names::{EndpointId, NodeId},
        report::{Catalogue, Observation},
    },
    dynamodb::DynamoDb,
};
use check::Client;
use controls::Control;
use ledger::Ledger;

/// What a prober is started with.
#[derive(Debug)]
pub struct Options {
    /// Whose reports they are.
    pub node: NodeId,
    /// What tells the node whether it sees; without any it is never blind.
    pub controls: Vec<Control>,
    /// The authorities that endpoints' certificates are verified against.
    pub roots: RootCertStore,
    /// How tables are reached.
    pub dynamodb: DynamoDb,
}

/// The authorities of Mozilla's programme, as built in.
#[must_use]
pub fn public_roots() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

/// Where in an interval this site probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phase {
    /// The site's place among the sites in order of name, from 0.
    pub rank: u32,
    /// How many sites there are; 0 counts as 1.
    pub sites: u32,
}

/// Probing under way; dropping it stops it at once.
#[derive(Debug)]
pub struct Prober {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts probing; needs a tokio runtime.
#[must_use]
pub fn start(options: Options, catalogue: watch::Receiver<Arc<Catalogue>>, phase: watch::Receiver<Phase>) -> Prober {
    let Options { node, controls, roots, dynamodb } = options;
    let shared = Arc::new(Shared { ledger: Mutex::new(Ledger::new(node)), news: Notify::new() });
    let client = Client::with(roots, dynamodb);
    let mut tasks = Vec::new();
    if controls.is_empty() {
        tracing::warn!("no controls are configured: this node cannot tell an outage of its own network from theirs");
    } else {
        // Blind from the first instant on, not from when the controls' task first runs.
        shared.set_blind(Some("the controls have not answered yet".to_owned()), now());
        let seen = Arc::clone(&shared);
        let change = move |told| match told {
            controls::Told::Blind(blind, now) => seen.set_blind(blind, now),
            controls::Told::Controls(lines) => seen.change(|ledger| ledger.set_controls(lines)),
        };
        tasks.push(tokio::spawn(controls::watch_controls(Arc::clone(&client), controls, change)));
    }
    tasks.push(tokio::spawn(schedule::run(Arc::clone(&shared), client, catalogue, phase)));
    Prober { shared, tasks }
}

impl Prober {
    /// Resolves when the ledger holds something that should be reported before the next tick; at once if it does already.
    /// Dropping the future loses nothing. For one waiter at a time.
    pub async fn news(&self) {
        while !self.ledger().urgent() {
            self.shared.news.notified().await;
        }
    }

    /// The ledger, locked. Never hold it across an await.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.shared.ledger()
    }

    /// Stops all probes, also those under way, and waits until they have ended.
    pub async fn shutdown(mut self) {
        for task in std::mem::take(&mut self.tasks) {
            task.abort();
            // An aborted task ends with an error that says so.
            let _ = task.await;
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// This instant by the runtime's clock, which a simulation moves.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What the schedule, the controls and the reporter share.
#[derive(Debug)]
struct Shared {
    ledger: Mutex<Ledger>,
    news: Notify,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn observe(&self, id: EndpointId, seen: Observation, started: Instant) {
        self.change(|ledger| ledger.observe(id, seen, started, now()));
    }

    fn set_blind(&self, blind: Option<String>, now: Instant) {
        if let Some(reason) = &blind {
            tracing::warn!(reason, "this node is blind: its opinions are unknown");
        } else {
            tracing::info!("this node sees");
        }
        self.change(|ledger| ledger.set_blind(blind, now));
    }

    fn change(&self, change: impl FnOnce(&mut Ledger)) {
        let mut ledger = self.ledger();
        change(&mut ledger);
        if ledger.urgent() {
            self.news.notify_one();
        }
    }
}
