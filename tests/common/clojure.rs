//! Runs the Clojure checkers of `jepsen/` on a history. They need Debian's package `clojure`; without it the test says
//! `SKIP: …`, and under `QUORATE_NO_SKIP=1` fails.
#![allow(dead_code)]

use std::{path::Path, process::Command};

/// What the checkers said.
#[derive(Debug)]
pub struct Ran {
    pub exit: i32,
    pub said: String,
}

impl Ran {
    /// How many violations the last line counts.
    pub fn violations(&self) -> Option<u64> {
        let last = self.said.lines().rev().find(|line| line.starts_with("{:violations "))?;
        last.trim_start_matches("{:violations ").split([',', '}']).next()?.parse().ok()
    }

    /// The invariants that were broken, as the checkers write them: `6`, `:linearizability`.
    pub fn invariants(&self) -> Vec<String> {
        let last = self.said.lines().rev().find_map(|line| line.split_once(":invariants ["));
        last.map(|(_, list)| list.trim_end_matches("]}").split_whitespace().map(str::to_owned).collect())
            .unwrap_or_default()
    }
}

/// Runs `jepsen/run-checkers`; `None` when there is no Clojure and skipping is allowed.
pub fn run_checkers(args: &[&str]) -> Option<Ran> {
    run_main("quorate.main", args)
}

/// Runs the `-main` of a namespace below `jepsen/src` or `jepsen/test`.
pub fn run_main(namespace: &str, args: &[&str]) -> Option<Ran> {
    let jar = std::env::var("CLOJURE_JAR").unwrap_or_else(|_| "/usr/share/java/clojure.jar".to_owned());
    if !Path::new(&jar).exists() {
        let needed = format!("{jar} is missing: apt-get install clojure");
        assert!(std::env::var("QUORATE_NO_SKIP").as_deref() != Ok("1"), "{needed}");
        println!("SKIP: {needed}");
        return None;
    }
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/jepsen/run-checkers"))
        .args(args)
        .env("CLOJURE_MAIN", namespace)
        .output()
        .expect("the checkers to run");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Some(Ran { exit: output.status.code().unwrap_or(-1), said })
}
