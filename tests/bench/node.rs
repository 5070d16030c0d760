//! What a node costs: its memory when idle, and its share of a core with 1,000 endpoints at 2 s. Three real nodes run on
//! this machine; each figure is the largest of the three.
//!
//! `cargo bench --bench node [-- SECONDS]` prints one line of JSON: `idle_rss_mb` (resident memory, MB of 10^6 bytes),
//! `busy_rss_mb`, and `busy_cpu_percent` (user and system time over elapsed time, percent of one core). The nodes run with the
//! default timing.

#[path = "../common/cluster.rs"]
mod cluster;
#[path = "../common/dns_server.rs"]
mod dns_server;
#[path = "../common/endpoints.rs"]
mod endpoints;
#[path = "../common/fake_ovh/mod.rs"]
mod fake_ovh;
#[path = "../common/seat.rs"]
mod seat;

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    thread::sleep,
    time::{Duration, Instant},
};

use cluster::{Cluster, Place, ZONE, rfc2136};
use dns_server::DnsServer;
use endpoints::Endpoints;

/// Services × regions × probes of each region: 1,000 endpoints.
const SERVICES: usize = 50;
const PROBES: usize = 10;
/// Before a measurement begins.
const WARM_UP: Duration = Duration::from_secs(8);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().map(String::as_str) == Some("endpoints") {
        endpoints::serve().expect("serving endpoints");
        return;
    }
    let seconds = arguments.first().map_or(20, |text| text.parse().expect("seconds"));
    let names: Vec<String> = (0..SERVICES).map(|i| format!("s{i}")).collect();
    let hosts: Vec<&str> = names.iter().map(String::as_str).collect();
    let Some(server) = DnsServer::bind(ZONE, &hosts) else { return };
    let provider = rfc2136(server.address(), server.address());
    let mut nodes = Cluster::start(vec![Place { timing: "", ..Place::local(provider) }; 3]);
    sleep(WARM_UP);
    let idle = largest(&nodes, rss_mb);

    let endpoints = Endpoints::spawn().expect("the endpoints' process");
    for name in &names {
        let file = nodes.file(&format!("{name}.toml"), &service(name, endpoints.address));
        nodes.ctl(&["service", "apply", file.to_str().expect("a UTF-8 path")]).ok();
    }
    cluster::until("every service is adopted and up", Duration::from_secs(60), || {
        let list = nodes.ctl(&["verdict", "list"]).ok();
        let services = list["verdicts"].as_array()?;
        let up = |region: &serde_json::Value| region["verdict"] == "up";
        let good = |of: &serde_json::Value| {
            of["phase"] == "serving" && of["regions"].as_array().is_some_and(|r| r.iter().all(up))
        };
        (services.len() == SERVICES && services.iter().all(good)).then_some(())
    });
    sleep(WARM_UP);
    let before: Vec<f64> = nodes.nodes.iter().map(|node| cpu_seconds(node.pid())).collect();
    let began = Instant::now();
    sleep(Duration::from_secs(seconds));
    let elapsed = began.elapsed().as_secs_f64();
    let spent = nodes.nodes.iter().zip(before).map(|(node, before)| cpu_seconds(node.pid()) - before);
    let busy_cpu = spent.map(|spent| spent / elapsed * 100.0).fold(0.0, f64::max);
    println!(
        "{}",
        serde_json::json!({
            "endpoints": SERVICES * PROBES * 2,
            "seconds": seconds,
            "idle_rss_mb": idle,
            "busy_rss_mb": largest(&nodes, rss_mb),
            "busy_cpu_percent": (busy_cpu * 10.0).round() / 10.0,
        })
    );
    for node in &mut nodes.nodes {
        node.kill();
    }
}

fn largest(nodes: &Cluster, of: impl Fn(Option<u32>) -> f64) -> f64 {
    nodes.nodes.iter().map(|node| of(node.pid())).fold(0.0, f64::max)
}

/// Resident memory in MB, as `/proc/PID/status` says.
fn rss_mb(pid: Option<u32>) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.expect("it runs"))).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    (kib * 1024.0 / 1e5).round() / 10.0
}

/// User and system time in seconds, as `/proc/PID/stat` says (fields 14 and 15, in ticks of 1/100 s on Linux).
fn cpu_seconds(pid: Option<u32>) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.expect("it runs"))).expect("its stat");
    let after_name = stat.rsplit_once(')').expect("a process name").1;
    let ticks = after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("ticks"));
    ticks.sum::<f64>() / 100.0
}

fn service(name: &str, address: SocketAddr) -> String {
    let mut text = format!(
        "name = '{name}'\n[[record]]\nprovider = 'main'\nzone = '{ZONE}'\nname = '{name}'\ntype = 'A'\nttl = 60\n"
    );
    for (region, value) in [("west", cluster::WEST), ("east", cluster::EAST)] {
        let _ = write!(text, "[[region]]\nname = '{region}'\nvalues = {{ A = ['{value}'] }}\n");
        for i in 0..PROBES {
            // A path of its own makes each probe another one.
            let _ = write!(
                text,
                "[[region.probe]]\nhttp = 'http://{address}/{region}/health?{i}'\ninterval = '2s'\ntimeout = '1s'\n\
                 json = {{ '/status' = 'UP' }}\n"
            );
        }
    }
    text
}
