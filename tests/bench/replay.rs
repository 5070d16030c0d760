//! How long a replay of a day takes: 24 h of 100 endpoints seen from 3 sites, a report a site and second, with outages, flaps and
//! elections; under the recorded policy and under a stricter one at once, as `quoratectl replay` does it.
//!
//! `cargo bench --bench replay [-- HOURS]` prints a line of JSON for each shape of the 100 endpoints: `services` × 2 regions × `probes`.

#[path = "../common/recording.rs"]
mod recording;

use std::time::Instant;

use quorate::replay::{self, Options, Source, Tried};
use recording::{Fault, World};

const HOUR: u64 = 3_600_000;

fn main() {
    let hours = std::env::args().filter(|argument| argument != "--bench").nth(1);
    let hours: u64 = hours.map_or(24, |text| text.parse().expect("hours"));
    for (services, probes) in [(5, 10), (50, 1)] {
        measure(hours, services, probes);
    }
}

fn measure(hours: u64, services: usize, probes: usize) {
    let names: Vec<String> = (0..services).map(|i| format!("s{i}")).collect();
    let files: Vec<String> = names
        .iter()
        .map(|name| recording::service(name, probes, "2s", "budget = 100\nfailback = 'automatic'\n"))
        .collect();
    let mut world = World::new(&files, 2_000);
    for hour in 0..hours {
        for (i, name) in names.iter().enumerate().filter(|(i, _)| i % 5 == 0) {
            // A long one, and a short one that two sites see.
            let from = hour * HOUR + 600_000 + i as u64 * 5_000;
            let fault = |from, to, nodes| Fault { service: name.clone(), region: "west".into(), from, to, nodes };
            world.faults = world.faults.drain(..).filter(|of| of.to > world.now).collect();
            world.faults.push(fault(from, from + 900_000, vec![1, 2, 3]));
            world.faults.push(fault(from + 1_800_000, from + 1_809_000, vec![1, 3]));
        }
        world.run(hour * HOUR + HOUR / 2);
        world.snapshot();
        world.run((hour + 1) * HOUR);
        if hour % 8 == 7 {
            world.elect();
        }
    }
    let policy = "[policy]\nfall = 8\nquorum = 'all'\nbudget = 100\nfailback = 'automatic'\n";
    let tried = Tried::new(vec![("strict.toml".into(), policy.into())], vec![]);
    let bytes = world.bytes.len();
    let source = Source::Bytes(std::mem::take(&mut world.bytes));
    let began = Instant::now();
    let report = replay::run(&source, &Options { tried, ..Options::default() }).expect("a report");
    let took = began.elapsed().as_secs_f64();
    assert!(report.faithful, "the recorded policy must make the recorded switches");
    assert!(report.recording.holes.is_empty() && report.recording.diverged.is_empty());
    println!(
        "{}",
        serde_json::json!({
            "hours": hours,
            "services": services,
            "probes": probes,
            "entries": report.recording.entries,
            "megabytes": bytes / 1_000_000,
            "switches_recorded": report.recorded.automatic,
            "switches_tried": report.tried.automatic,
            "replay_seconds": (took * 100.0).round() / 100.0,
        })
    );
}
