//! Planned work: a region dies within a maintenance window, nothing moves by itself, a switch by hand does; then the window goes.

use std::time::Duration;

use time::{OffsetDateTime, macros::format_description};

use crate::{
    cluster::{Cluster, EAST, SOON, WEST, ZONE, until},
    dns_server::DnsServer,
    stage::{Health, POLICY, Regions, Watch},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_holds_until_it_is_over() {
    let Some(server) = DnsServer::bind(ZONE, &["app"]) else { return };
    let regions = Regions::start().await;
    let cluster = Cluster::on(&server);
    // From an hour ago for two hours, by this machine's clock, which is the leader's.
    let from = OffsetDateTime::now_utc() - Duration::from_secs(3600);
    let from = from.format(format_description!("[year]-[month]-[day]T[hour]:[minute]Z")).unwrap();
    cluster.apply(&regions.service(&format!("{POLICY}windows = ['{from}/PT2H']\n")));
    let watch = Watch::begin(server.address());
    watch.until(WEST, SOON);
    regions.west.set(Health::Closed);
    let explained = until("explain names the window as what holds", SOON, || {
        let explained = cluster.ctl(&["explain", "app"]).json;
        // Time alone brings it once the verdict is there.
        (explained["held_by"] == "window" && explained["due_in_ms"].is_u64()).then_some(explained)
    });
    let left = explained["due_in_ms"].as_u64().unwrap_or_else(|| panic!("{explained:#}"));
    assert!((58 * 60_000..=60 * 60_000).contains(&left), "an hour is left, to the minute: {explained:#}");
    assert_eq!(explained["earliest_in_ms"], explained["due_in_ms"], "{explained:#}");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(cluster.app().expect("the service")["epoch"], 1, "nothing moves by itself");
    let held = cluster.ctl(&["drill", "app"]);
    assert_eq!(held.exit, 3, "{}", held.json);
    let window = held.json["findings"].as_array().unwrap().iter().find(|of| of["subject"] == "window").unwrap();
    assert!(window["stops"] == true && window["hint"] == "it passes by itself", "{window}");

    // By hand it moves.
    cluster.ctl(&["switch", "start", "app", "--to", "east", "--wait=20s"]).ok();
    watch.until(EAST, SOON);
    // Back up, and the other one dies: held again, until the window is taken out of the file.
    regions.west.set(Health::Up);
    until("west is up again", SOON, || (cluster.app()?["regions"][0]["verdict"] == "up").then_some(()));
    regions.east.set(Health::Closed);
    until("the window holds", SOON, || {
        let explained = cluster.ctl(&["explain", "app"]).json;
        (explained["held_by"] == "window" && explained["due_in_ms"].is_u64()).then_some(())
    });
    let file = cluster.file("open.toml", &regions.service(POLICY));
    cluster.ctl(&["service", "apply", file.to_str().unwrap()]).ok();
    watch.until(WEST, SOON);
    assert_eq!(watch.end(), [WEST, EAST, WEST]);
    cluster.check_switches(&["adopt", "manual", "failover"]);
    cluster.check_hashes();
}
