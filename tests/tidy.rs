//! The style that a machine can check, so that reviews can be about the rest.
//!
//! Each rule looks at one file's path and text and says what is wrong with it, line by line.

use std::path::{Path, PathBuf};

/// A file stays readable in one sitting.
const MAX_LINES: usize = 500;

type Rule = fn(&str, &str) -> Vec<String>;

const RULES: &[Rule] = &[
    files_are_short,
    files_say_what_they_are,
    nothing_is_unfinished,
    only_the_store_names_its_engine,
    the_core_is_pure,
    dependencies_run_one_way,
    inspections_cannot_write,
    nothing_is_unwrapped,
    each_thing_has_one_word,
];

#[test]
fn the_sources_are_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for directory in ["src", "tests", "proto"] {
        collect(&root.join(directory), &mut files);
    }
    assert!(files.len() > 20, "the sources were not found");
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
        let text = std::fs::read_to_string(file).unwrap();
        let name = file.strip_prefix(root).unwrap().to_str().unwrap();
        found.extend(RULES.iter().flat_map(|rule| rule(name, &text)));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

/// The lines of code with their numbers: without comments, and without the tests at the end of the file.
fn code<'t>(name: &str, text: &'t str) -> Vec<(usize, &'t str)> {
    if name.ends_with("/tests.rs") || name.contains("/tests/") || name.starts_with("tests/") {
        return Vec::new();
    }
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let numbered = lines.enumerate().map(|(i, line)| (i + 1, line));
    numbered.take_while(|(_, line)| !line.trim_start().starts_with("#[cfg(test)]")).collect()
}

/// Whether `word` stands in the line on its own.
fn has_word(line: &str, word: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(inner) && (word.ends_with(':') || !line[at + word.len()..].starts_with(inner))
    })
}

fn files_are_short(name: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    let long = name.starts_with("src/") && lines > MAX_LINES;
    if long {
        vec![format!("{name}: {lines} lines, {MAX_LINES} at most: split it by responsibility")]
    } else {
        Vec::new()
    }
}

fn files_say_what_they_are(name: &str, text: &str) -> Vec<String> {
    if text.starts_with("//!") { Vec::new() } else { vec![format!("{name}:1: begin with //! and what this is")] }
}

fn nothing_is_unfinished(name: &str, text: &str) -> Vec<String> {
    // Split, so that this file does not break its own rule.
    let words = [
        concat!("to", "do!"),
        concat!("unimple", "mented!"),
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
        concat!("db", "g!"),
    ];
    let lines = text.lines().enumerate();
    let wrong = lines.filter_map(|(i, line)| Some((i, words.iter().find(|word| line.contains(**word))?)));
    wrong.map(|(i, word)| format!("{name}:{}: {word} is not finished work", i + 1)).collect()
}

fn only_the_store_names_its_engine(name: &str, text: &str) -> Vec<String> {
    if name.starts_with("src/raft/store") {
        return Vec::new();
    }
    let lines = code(name, text).into_iter().filter(|(_, line)| has_word(line, "sled"));
    lines
        .map(|(i, _)| format!("{name}:{i}: only src/raft/store names sled, so that another engine can take its place"))
        .collect()
}

/// std without the world, serde, thiserror and itself; and what evidence is sealed with, there alone.
fn the_core_is_pure(name: &str, text: &str) -> Vec<String> {
    // What breaks rules in test builds is the one thing in there that a process shares.
    if !name.starts_with("src/core/") || name == "src/core/sabotage.rs" {
        return Vec::new();
    }
    let manifest = include_str!("../Cargo.toml");
    let section =
        manifest.split("\n[dependencies]\n").nth(1).and_then(|rest| rest.split("\n[").next()).unwrap_or_default();
    let crates = section.lines().filter_map(|line| line.split([' ', '=']).next());
    let sealing: &[&str] = if name == "src/core/seal.rs" { &["sha2", "hex", "serde_json"] } else { &[] };
    let known = |name: &&str| ["serde", "thiserror", "time"].contains(name) || sealing.contains(name);
    let crates = crates.filter(|name| !name.is_empty() && !known(name));
    let mut forbidden: Vec<String> = crates.map(|name| format!("{}::", name.replace('-', "_"))).collect();
    let world = ["fs", "env", "thread", "process", "sync", "io", "os", "time::Instant", "time::SystemTime"];
    forbidden.extend(world.map(|module| format!("std::{module}")));
    // `time::` alone is a module of std as well.
    forbidden.extend(["use time::", "OffsetDateTime", "HashMap", "HashSet", "async", "await"].map(str::to_owned));
    let mut wrong = Vec::new();
    for (i, line) in code(name, text) {
        for word in forbidden.iter().filter(|word| has_word(line, word)) {
            wrong.push(format!("{name}:{i}: the core is pure, without `{word}`"));
        }
        if line.replace("crate::core", "").contains("crate::") {
            wrong.push(format!("{name}:{i}: the core sees nothing but itself"));
        }
    }
    wrong
}

/// Probes and providers know nothing of Raft; nothing but the binaries knows the node and the CLI.
fn dependencies_run_one_way(name: &str, text: &str) -> Vec<String> {
    const UPWARDS: &[(&str, &[&str])] = &[
        ("src/probe", &["raft", "leader", "node", "grpc", "cli", "dns"]),
        ("src/dns", &["raft", "leader", "node", "grpc", "cli", "probe", "config"]),
        ("src/raft", &["leader", "node", "grpc", "cli", "dns", "probe"]),
        ("src/leader", &["node", "grpc", "cli"]),
        ("src/inspect", &["raft", "node", "grpc", "cli", "config"]),
        ("src/grpc", &["node", "cli"]),
        ("src/config", &["raft", "leader", "node", "grpc", "cli", "probe"]),
    ];
    let mut wrong = Vec::new();
    for (_, above) in UPWARDS.iter().filter(|(directory, _)| name.starts_with(directory)) {
        for (i, line) in code(name, text) {
            for module in above.iter().filter(|module| has_word(line, &format!("crate::{module}"))) {
                wrong.push(format!("{name}:{i}: dependencies run one way, crate::{module} lies above"));
            }
        }
    }
    wrong
}

/// What looks has no way to write: not a provider, only what can be asked of one, and no proposal.
fn inspections_cannot_write(name: &str, text: &str) -> Vec<String> {
    if !name.starts_with("src/inspect/") {
        return Vec::new();
    }
    let words = ["Provider", "Providers", "Office", "propose", "write("];
    let lines = code(name, text).into_iter();
    let wrong = lines.filter_map(|(i, line)| Some((i, words.iter().find(|word| names_it(line, word))?)));
    wrong.map(|(i, word)| format!("{name}:{i}: an inspection must not be able to write, and names `{word}`")).collect()
}

/// A call of that method, or the word on its own.
fn names_it(line: &str, word: &str) -> bool {
    match word.strip_suffix('(') {
        Some(method) => line.contains(&format!(".{method}(")),
        None => has_word(line, word),
    }
}

fn nothing_is_unwrapped(name: &str, text: &str) -> Vec<String> {
    let lines = code(name, text).into_iter().filter(|(_, line)| line.contains(".unwrap()"));
    lines.map(|(i, _)| format!("{name}:{i}: return the error, or say with expect() why there is none")).collect()
}

/// The words of the design, not their synonyms.
fn each_thing_has_one_word(name: &str, text: &str) -> Vec<String> {
    let synonyms = [
        (concat!("white", "list"), "allow list"),
        (concat!("black", "list"), "refuse"),
        (concat!("split", "-brain"), "two leaders"),
        (concat!("health ", "opinion"), "opinion"),
        (concat!("fail", "-over"), "failover"),
        (concat!("fencing ", "token"), "fence"),
    ];
    let mut wrong = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.to_lowercase();
        for (synonym, word) in synonyms.iter().filter(|(synonym, _)| line.contains(synonym)) {
            wrong.push(format!("{name}:{}: say `{word}`, not `{synonym}`", i + 1));
        }
    }
    wrong
}

#[test]
fn each_rule_finds_what_it_looks_for() {
    let long = format!("//! Long.\n{}", "\n".repeat(MAX_LINES));
    let table: &[(Rule, &str, &str, usize)] = &[
        (files_are_short, "src/a.rs", &long, 1),
        (files_are_short, "tests/a.rs", &long, 0),
        (files_say_what_they_are, "src/a.rs", "fn a() {}", 1),
        (nothing_is_unfinished, "src/a.rs", concat!("fn a() {\n to", "do!()\n}"), 1),
        (only_the_store_names_its_engine, "src/raft/mod.rs", "use sled::Db;", 1),
        (only_the_store_names_its_engine, "src/raft/store.rs", "use sled::Db;", 0),
        (only_the_store_names_its_engine, "src/raft/mod.rs", "// sled is slow\nlet sledge = 1;", 0),
        (the_core_is_pure, "src/core/a.rs", "use tokio::time;", 1),
        (the_core_is_pure, "src/core/a.rs", "use serde_json::Value;", 1),
        (the_core_is_pure, "src/core/seal.rs", "use serde_json::Value;\nuse tokio::time;", 1),
        (the_core_is_pure, "src/core/a.rs", "use crate::dns::Provider;", 1),
        (the_core_is_pure, "src/core/a.rs", "use std::{time::Duration};\nlet x = std::env::var(\"A\");", 1),
        (
            the_core_is_pure,
            "src/core/a.rs",
            "use serde::Serialize;\nuse crate::core::names;\n#[cfg(test)]\nuse proptest::x;",
            0,
        ),
        (dependencies_run_one_way, "src/dns/ovh.rs", "use crate::raft::Node;", 1),
        (dependencies_run_one_way, "src/leader.rs", "use crate::raft::Node;", 0),
        (inspections_cannot_write, "src/inspect/a.rs", "use crate::dns::Provider;\nprovider.write(&change);", 2),
        (inspections_cannot_write, "src/inspect/a.rs", "struct ProviderSeen; // Provider", 0),
        (nothing_is_unwrapped, "src/a.rs", "a.unwrap();\n// a.unwrap()\n#[cfg(test)]\nb.unwrap();", 1),
        (each_thing_has_one_word, "src/a.rs", concat!("// A white", "list."), 1),
    ];
    for (i, (rule, name, text, wanted)) in table.iter().enumerate() {
        assert_eq!(rule(name, text).len(), *wanted, "row {i}: {:?}", rule(name, text));
    }
}
