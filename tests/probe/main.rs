//! Probes against real local servers, the schedule, and the ledger against a dumb oracle.

#[path = "../common/servers.rs"]
mod servers;

mod checks;
mod http;
mod ledger;
mod schedule;
mod tls;

use std::{net::SocketAddr, time::Duration};

use quorate::core::{
    report::Observation,
    service::{Check, HttpCheck, Probe, Target},
};
use quorate::probe::check::{self, Client};

/// The target at that address.
fn target(address: SocketAddr) -> Target {
    Target { host: address.ip().to_string(), port: address.port() }
}

/// A plain `GET /health` that wants 200.
fn get(address: SocketAddr) -> HttpCheck {
    HttpCheck {
        target: target(address),
        tls: None,
        host: None,
        path: "/health".into(),
        method: "GET".into(),
        statuses: [200].into(),
        json: [].into(),
        headers: [].into(),
        body: None,
        redirects: 0,
    }
}

/// Asks once, as for region eu-west-3.
async fn ask(check: Check, timeout: Duration) -> Observation {
    let client = Client::new(rustls::RootCertStore::empty());
    ask_with(&client, check, timeout).await
}

async fn ask_with(client: &Client, check: Check, timeout: Duration) -> Observation {
    let probe = Probe { interval: timeout * 2, timeout, check };
    let region = "eu-west-3".parse().unwrap();
    check::run(client, &probe, Some(&region)).await.expect("this process did not stand still")
}
