//! What probing costs: 1,000 HTTP endpoints at 2 s against a server in another process.
//!
//! `cargo run --release --example bench-probe [seconds]` prints this process' share of one core and its resident memory as
//! one line of JSON.

#[path = "../common/endpoints.rs"]
mod endpoints;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};
use quorate::{
    aws::{Access, Settings},
    core::{
        names::EndpointId,
        report::{Catalogue, Endpoint, Outcome},
        service::{Check, HttpCheck, Probe, Scalar, Target},
    },
    dynamodb::DynamoDb,
    probe::{Options, Phase, Prober, public_roots, start},
};
use tokio::sync::watch;

const ENDPOINTS: u32 = 1000;
const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(1);
/// Before the measurement begins: every endpoint was probed at least twice.
const WARM_UP: Duration = Duration::from_secs(5);

fn main() -> anyhow::Result<()> {
    let argument = std::env::args().nth(1);
    if argument.as_deref() == Some("endpoints") {
        return endpoints::serve().context("serving endpoints");
    }
    let seconds = argument.map_or(Ok(20), |text| text.parse()).context("seconds")?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(measure(Duration::from_secs(seconds)))
}

async fn measure(span: Duration) -> anyhow::Result<()> {
    let server = endpoints::Endpoints::spawn()?;
    let endpoints = (0..ENDPOINTS).map(|id| endpoint(id, &server)).collect::<anyhow::Result<_>>()?;
    let (_catalogue, catalogue) = watch::channel(Arc::new(Catalogue { endpoints }));
    let (_phase, phase) = watch::channel(Phase { rank: 0, sites: 3 });
    let dynamodb = DynamoDb::new(Access::new(Settings::default()));
    let options = Options { node: 1, controls: Vec::new(), roots: public_roots(), dynamodb };
    let prober = start(options, catalogue, phase);
    tokio::time::sleep(WARM_UP).await;
    let (seen_before, cpu_before, begun) = (observations(&prober)?, cpu()?, Instant::now());
    tokio::time::sleep(span).await;
    let span = begun.elapsed().as_secs_f64();
    let (seen, cpu) = (observations(&prober)? - seen_before, cpu()?.saturating_sub(cpu_before));
    let summary = serde_json::json!({
        "bench": "probe",
        "endpoints": ENDPOINTS,
        "interval_s": INTERVAL.as_secs_f64(),
        "probes_per_s": (f64::from(seen) / span).round(),
        "core_percent": (1000.0 * cpu.as_secs_f64() / span).round() / 10.0,
        "rss_mb": rss_mb()?,
        "optimised": !cfg!(debug_assertions),
    });
    println!("{summary}");
    prober.shutdown().await;
    Ok(())
}

fn endpoint(id: u32, server: &endpoints::Endpoints) -> anyhow::Result<Endpoint> {
    let region = format!("region-{id}");
    let check = Check::Http(HttpCheck {
        target: Target { host: server.address.ip().to_string(), port: server.address.port() },
        tls: None,
        host: Some("app.example.com".into()),
        path: format!("/{region}/health"),
        method: "GET".into(),
        statuses: [200].into(),
        json: [("/status".to_owned(), Scalar::Text("UP".into()))].into(),
        headers: [].into(),
        body: None,
        redirects: 0,
    });
    let probe = Probe { interval: INTERVAL, timeout: TIMEOUT, check };
    Ok(Endpoint { id: EndpointId(id), service: "app".parse()?, region: region.parse()?, probe, settle: 3 })
}

/// How many observations passed; fails if any endpoint does not.
fn observations(prober: &Prober) -> anyhow::Result<u32> {
    let ledger = prober.ledger();
    (0..ENDPOINTS)
        .map(|id| match ledger.run(EndpointId(id)) {
            Some((Outcome::Pass, count)) => Ok(count),
            other => anyhow::bail!("endpoint {id}: {other:?}"),
        })
        .sum()
}

fn cpu() -> anyhow::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(micros.try_into()?))
}

/// Resident memory in MB, from /proc.
fn rss_mb() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok((kilobytes / 102.4).round() / 10.0)
}
