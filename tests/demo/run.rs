//! The whole demo, as a user runs it.

use std::{
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

struct Demo {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    files: tempfile::TempDir,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let files = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_quorated"))
            .args(["demo", "--format", "json"])
            .args(arguments)
            .env("TMPDIR", files.path())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, files }
    }

    async fn event(&mut self) -> Option<Value> {
        let line = tokio::time::timeout(Duration::from_secs(60), self.lines.next_line()).await;
        let line = line.expect("the demo says nothing for a minute").unwrap()?;
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }

    /// The pids of the nodes, once the first region is adopted.
    async fn nodes(&mut self) -> Vec<i32> {
        let mut pids = Vec::new();
        while pids.len() < 3 {
            let event = self.event().await.expect("the demo ended early");
            if event["event"] == "node" {
                pids.push(i32::try_from(event["pid"].as_i64().unwrap()).unwrap());
            }
        }
        pids
    }

    async fn exit_code(&mut self) -> Option<i32> {
        tokio::time::timeout(Duration::from_secs(10), self.child.wait()).await.expect("the demo stays").unwrap().code()
    }
}

/// A zombie is gone: nobody but its parent's reaper has to do with it any more.
fn runs(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

async fn all_gone(pids: &[i32]) {
    let start = Instant::now();
    while pids.iter().any(|pid| runs(*pid)) {
        assert!(start.elapsed() < Duration::from_secs(5), "nodes outlive the demo: {pids:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

#[tokio::test]
async fn a_leader_killed_on_either_side_of_its_write_costs_no_second_epoch() {
    for crash in ["before-write", "after-write"] {
        let mut demo = Demo::start(&["--crash", crash]);
        let mut events = Vec::new();
        while let Some(event) = demo.event().await {
            events.push(event);
        }
        let summary = events.last().expect("the demo says something");
        assert_eq!(summary["event"], "summary", "{crash}: {events:#?}");
        assert_eq!(summary["violations"], serde_json::json!([]), "{crash}");
        let causes: Vec<_> = summary["switches"].as_array().unwrap().iter().map(|s| s["cause"].clone()).collect();
        assert_eq!(causes, ["adopt", "failover", "manual"], "{crash}");
        assert_eq!(demo.exit_code().await, Some(0), "{crash}");
        assert!(is_empty(demo.files.path()), "{crash}: files stay behind");
        let pids = events.iter().filter(|e| e["event"] == "node").filter_map(|e| e["pid"].as_i64());
        assert!(!pids.map(|pid| i32::try_from(pid).unwrap()).any(runs), "{crash}: processes stay behind");
    }
}

#[tokio::test]
async fn no_node_outlives_the_demo_however_it_ends() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let mut demo = Demo::start(&[]);
        let pids = demo.nodes().await;
        let own = Pid::from_raw(i32::try_from(demo.child.id().unwrap()).unwrap());
        kill(own, signal).unwrap();
        let code = demo.exit_code().await;
        all_gone(&pids).await;
        if signal != Signal::SIGKILL {
            assert_eq!(code, Some(130), "{signal}");
            assert!(is_empty(demo.files.path()), "{signal}: files stay behind");
        }
    }
}
