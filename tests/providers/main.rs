//! The contract that every provider passes, against a real server or a stand-in that an independent client passes, too; and
//! the table of it.
//!
//! A provider adds a file with a [`contract::Subject`] and a line in [`subjects`].

#[path = "../common/dns_fault_proxy.rs"]
mod dns_fault_proxy;
#[path = "../common/dns_server.rs"]
mod dns_server;
#[path = "../common/fake_ovh/mod.rs"]
mod fake_ovh;
#[path = "../common/fault_proxy.rs"]
mod fault_proxy;

mod cases;
mod contract;
mod ovh;
mod rfc2136;

use contract::Subject;

/// Every provider that can be had here.
async fn subjects() -> Vec<Box<dyn Subject>> {
    let mut subjects: Vec<Box<dyn Subject>> = vec![];
    subjects.extend(rfc2136::bind().await);
    subjects.extend(rfc2136::knot().await);
    subjects.push(ovh::subject().await);
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
