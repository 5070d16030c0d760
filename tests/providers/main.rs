//! The contract that every provider passes, against a real server or a stand-in that an independent client passes, too; and
//! the table of it.
//!
//! A provider adds a file with a [`contract::Subject`], and a line in [`subjects`]. What it alone can do is tested in the same
//! file.

#[path = "../common/dns_fault_proxy.rs"]
mod dns_fault_proxy;
#[path = "../common/dns_frame.rs"]
mod dns_frame;
#[path = "../common/dns_server.rs"]
mod dns_server;
#[path = "../common/fake_accelerator.rs"]
mod fake_accelerator;
#[path = "../common/fake_cloudflare/mod.rs"]
mod fake_cloudflare;
#[path = "../common/fake_http.rs"]
mod fake_http;
#[path = "../common/fake_ovh/mod.rs"]
mod fake_ovh;
#[path = "../common/fault_proxy.rs"]
mod fault_proxy;
#[path = "../common/ministack.rs"]
mod ministack;
#[path = "../common/powerdns_server.rs"]
mod powerdns_server;
#[path = "../common/python.rs"]
mod python;
#[path = "../common/route53.rs"]
mod route53_zone;

mod book;
mod careless;
mod cases;
mod changes;
mod contract;
mod over_http;
mod table;

mod accelerator;
mod cloudflare;
mod cloudflare_pools;
mod exec;
mod iplb;
mod ovh;
mod powerdns;
mod rfc2136;
mod route53;
mod webhook;

use cases::CASES;
use contract::{Column, Outcome, Subject};
use futures::{
    FutureExt,
    future::{BoxFuture, ready},
};

/// Every provider that can be had here, in the order of the table.
fn subjects() -> Vec<BoxFuture<'static, Option<Box<dyn Subject>>>> {
    vec![
        cloudflare::subject().boxed(),
        cloudflare_pools::subject().boxed(),
        ready(exec::subject()).boxed(),
        iplb::subject().boxed(),
        ovh::subject().boxed(),
        powerdns::subject().boxed(),
        rfc2136::bind().boxed(),
        rfc2136::knot().boxed(),
        rfc2136::powerdns().boxed(),
        route53::subject().boxed(),
        accelerator::subject().boxed(),
        webhook::subject().boxed(),
    ]
}

/// All of them at the same time, because each waits most of its time for what never comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_provider_passes_every_case() {
    let mut running = vec![];
    // Started from this thread: some of the servers end with the thread that started them.
    for subject in subjects() {
        let Some(subject) = subject.await else { continue };
        running.push(tokio::spawn(async move { contract::run(subject.as_ref(), CASES).await }));
    }
    let columns: Result<Vec<Column>, _> = futures::future::join_all(running).await.into_iter().collect();
    table::conclude(&columns.expect("a panic of a case is caught"));
}

/// A provider that takes whatever stands there for what was read must not pass. Of the cases of stale writes it passes those in
/// which the epoch alone is too old: that is refused by the order of epochs, and not by the condition.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_finds_a_provider_that_checks_nothing() {
    let Some(subject) = rfc2136::bind().await else { return };
    let cases: Vec<_> = CASES.iter().copied().filter(|(_, case)| !case.is_trouble()).collect();
    let column = contract::run(&careless::Unconditional(subject), &cases).await;
    let outcomes = cases.iter().map(|(title, _)| *title).zip(&column.outcomes);
    let failed: Vec<_> =
        outcomes.filter(|(_, outcome)| matches!(outcome, Outcome::Failed(_))).map(|(title, _)| title).collect();
    for wanted in ["stale: the old reading", "stale: only the fence moved", "stale: only the values moved", "duplicate"]
    {
        assert!(failed.contains(&wanted), "{wanted} passes without a condition; these fail: {failed:?}");
    }
    println!("TABLE: a provider without a condition fails {} cases: {}", failed.len(), failed.join("; "));
}
