//! Starts a process for one decoder, watches it, and tells what became of it.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// The variables by which the processes speak.
pub const TARGET: &str = "QUORATE_FUZZ_TARGET";
pub const DIRECTORY: &str = "QUORATE_FUZZ_DIRECTORY";
pub const INPUT: &str = "QUORATE_FUZZ_INPUT";
pub const MILLISECONDS: &str = "QUORATE_FUZZ_MILLISECONDS";
pub const SEED: &str = "QUORATE_FUZZ_SEED";

/// How long one input may keep a process busy, by the clock on the wall: many times what it may take of a processor.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How one decoder is driven.
pub struct Plan {
    pub each: Duration,
    pub seed: u64,
    pub patience: Duration,
}

pub enum Outcome {
    /// With the figures for the table.
    Survived(String),
    /// With the reason, where the input is, and how to run it again.
    Failed(String),
}

pub fn run(name: &str, plan: &Plan) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["child_process", "--exact", "--ignored", "--nocapture", "--quiet"])
        .env(TARGET, name)
        .env(DIRECTORY, directory.path())
        .env(MILLISECONDS, plan.each.as_millis().to_string())
        .env(SEED, plan.seed.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let current = directory.path().join("current");
    let mut last = (Vec::new(), Instant::now());
    let ended = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        // The first bytes count the inputs.
        let counter = fs::read(&current).map(|bytes| bytes.into_iter().take(8).collect()).unwrap_or_default();
        if counter != last.0 {
            last = (counter, Instant::now());
        } else if last.1.elapsed() > plan.patience {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let said = |file: &str| fs::read_to_string(directory.path().join(file)).ok();
    if let (Some(true), Some(figures)) = (ended.map(|status| status.success()), said("figures")) {
        return Outcome::Survived(figures);
    }
    let why = said("failure").unwrap_or_else(|| match ended {
        None => format!("no end within {:?}", plan.patience),
        Some(status) => format!("the process died: {status}"),
    });
    Outcome::Failed(format!("{why}{}", keep(name, &current)))
}

/// Keeps the input where it survives the run, and says how it is run again.
fn keep(name: &str, current: &Path) -> String {
    let Ok(bytes) = fs::read(current) else { return "\n  before any input was run".to_owned() };
    let Some((length, bytes)) = bytes[8..].split_first_chunk() else { return String::new() };
    let input = &bytes[..usize::try_from(u64::from_le_bytes(*length)).unwrap()];
    let kept: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz").join(name);
    fs::create_dir_all(&kept).unwrap();
    let kept = kept.join(format!("{:08x}", crc32fast::hash(input)));
    fs::write(&kept, input).unwrap();
    let file = kept.display();
    let mut text = String::new();
    let _ = write!(text, "\n  the input is in {file}");
    let _ = write!(
        text,
        "\n  again: {TARGET}={name} {INPUT}={file} cargo test --features testing --test fuzz -- child_process --ignored --nocapture"
    );
    let _ = write!(text, "\n  when it is mended: cp {file} tests/fixtures/fuzz/{name}/");
    text
}
