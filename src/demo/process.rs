//! Node processes that cannot outlive the demo.
//!
//! Each is this very program once more. On the way to `quorated run` the child asks the kernel to be killed when its
//! parent dies, which holds even when the demo itself is killed with SIGKILL; the usual ends are covered by the handle,
//! which kills its process when it is dropped.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::{prctl, signal::Signal},
    unistd::{Pid, getppid},
};
use tokio::process::{Child, Command};

/// How much of a log is shown when something goes wrong, in bytes.
const TAIL: u64 = 4096;

/// A running node; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `quorated run --config <config>`; what it says is appended to `log`.
    ///
    /// # Errors
    /// The log cannot be written, or the program cannot be started.
    pub fn start(config: &Path, log: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(log).context("cannot open a node's log")?;
        let child = Command::new(program()?)
            .args(["demo", "--run-node"])
            .arg(std::process::id().to_string())
            .arg(config)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a node")?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// An error if it has ended.
    ///
    /// # Errors
    /// It is not running any more.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("a node ended by itself ({status}); see {}", self.log.display());
        }
        Ok(())
    }

    /// Kills it as `kill -9` does and waits until it is gone.
    ///
    /// # Errors
    /// It does not go within 5 s, or was gone before.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.start_kill().context("the node was gone before it was killed")?;
        tokio::time::timeout(Duration::from_secs(5), self.child.wait()).await.context("a killed node stays")??;
        Ok(())
    }
}

/// Runs one of the node's own short commands to its end.
///
/// # Errors
/// It cannot be started, takes longer than 10 s or fails; the error carries what it said.
pub async fn run_to_end(arguments: &[&str], config: &Path) -> Result<()> {
    let run = Command::new(program()?).args(arguments).arg(config).stdin(Stdio::null()).kill_on_drop(true).output();
    let what = arguments.join(" ");
    let output =
        tokio::time::timeout(Duration::from_secs(10), run).await.with_context(|| format!("{what} hangs"))??;
    if !output.status.success() {
        bail!("quorated {what} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The end of a log, for an error message.
pub fn tail(path: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // The first line is likely cut in the middle.
        Ok(if length > TAIL { text.split_once('\n').map_or(text.clone(), |(_, rest)| rest.to_owned()) } else { text })
    };
    read().unwrap_or_else(|error| format!("{} cannot be read: {error}", path.display()))
}

/// Turns this process into a node that dies with `parent`. Returns only when that fails.
///
/// # Errors
/// The parent is gone already, or the program cannot be executed.
pub fn become_node(parent: &str, config: &str) -> Result<std::convert::Infallible> {
    let parent = Pid::from_raw(parent.parse().context("not a process id")?);
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // The parent may have died before the kernel was asked.
    if getppid() != parent {
        bail!("the demo that started this node is gone");
    }
    Err(std::process::Command::new(program()?).args(["run", "--config", config]).exec().into())
}

/// This program, also after its file was replaced by a newer build.
fn program() -> Result<PathBuf> {
    let path = std::env::current_exe().context("cannot find this program")?;
    Ok(if path.exists() { path } else { PathBuf::from("/proc/self/exe") })
}
