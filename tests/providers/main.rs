//! The contract that every provider passes, against a real server or a stand-in that an independent client passes, too; and
//! the table of it.
//!
//! A provider adds a file with a [`contract::Subject`] and a line in [`subjects`].

#[path = "../common/dns_fault_proxy.rs"]
mod dns_fault_proxy;
#[path = "../common/dns_server.rs"]
mod dns_server;
#[path = "../common/fake_accelerator.rs"]
mod fake_accelerator;
#[path = "../common/fake_http.rs"]
mod fake_http;
#[path = "../common/fake_ovh/mod.rs"]
mod fake_ovh;
#[path = "../common/fault_proxy.rs"]
mod fault_proxy;

#[path = "../common/ministack.rs"]
mod ministack;
#[path = "../common/python.rs"]
mod python;
#[path = "../common/route53.rs"]
mod route53_zone;

mod accelerator;
mod cases;
mod contract;
mod ovh;
mod rfc2136;
mod route53;

use contract::Subject;

/// Every provider that can be had here.
async fn subjects() -> Vec<Box<dyn Subject>> {
    let mut subjects: Vec<Box<dyn Subject>> = vec![];
    subjects.extend(rfc2136::bind().await);
    subjects.extend(rfc2136::knot().await);
    subjects.push(ovh::subject().await);
    subjects.extend(route53::subject().await);
    subjects.push(accelerator::subject().await);
    subjects
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_provider_passes_every_case() {
    let mut columns = vec![];
    for subject in subjects().await {
        let title = format!("{} ({})", subject.name(), subject.provider().grade());
        columns.push((title, contract::run(subject.as_ref()).await));
    }
    contract::conclude(&columns);
}

/// A provider that takes whatever stands there for what was read must not pass. Of the cases of stale writes it passes those in
/// which the epoch alone is too old: that is refused by the order of epochs, and not by the condition.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_finds_a_provider_that_checks_nothing() {
    let Some(subject) = rfc2136::bind().await else { return };
    let unconditional = contract::Unconditional(subject);
    let outcomes = contract::run(&unconditional).await;
    let titles = cases::CASES.iter().map(|(title, _)| *title);
    let failed: Vec<_> = titles
        .zip(&outcomes)
        .filter(|(_, o)| matches!(o, contract::Outcome::Failed(_)))
        .map(|(title, _)| title)
        .collect();
    for wanted in [
        "stale write: the old reading",
        "stale write: the fence moved, the values did not",
        "stale write: the values moved, the fence did not",
        "duplicate",
    ] {
        assert!(failed.contains(&wanted), "{wanted} passes without a condition; these fail: {failed:?}");
    }
    println!("TABLE: a provider without a condition fails {} cases: {}", failed.len(), failed.join("; "));
}
