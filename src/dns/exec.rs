//! A program of your own on the node, for whatever has no provider of its own. The question is `hook`'s, on its
//! standard input; the answer is on its standard output.
//!
//! | exit code | meaning (names of `sysexits.h`) |
//! |---|---|
//! | 0 | done |
//! | 65 `EX_DATAERR` | a write: what stands is not what was expected, nothing was changed |
//! | 75 `EX_TEMPFAIL` | nothing was changed, it may work later; `{"retry_after": 30}` on standard output says when, in seconds |
//! | 77 `EX_NOPERM`, 78 `EX_CONFIG` | nothing was changed, somebody must do something |
//! | any other, a signal, too late | a write is in doubt, and read before anything else |
//!
//! The program runs without a shell, in a process group of its own that is killed as a whole when the time is over or the
//! caller gave up, with nothing of the node's environment but a fixed `PATH` and `LANG`. What it prints on standard error
//! stands in errors: it must not print secrets.
//!
//! It must be an absolute path to a file that only root or the node's own user can change, itself and its directory: whoever
//! could change it would be the node.
//!
//! Grade C, unless whoever wrote the program asserts `grade = "B"`: that it compares `expected` and writes in one transaction.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::{Pid, geteuid},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use super::{
    Change, Finding, Grade, Provider, ProviderError, Reading, Receipt, clip,
    hook::{self, ANSWER_LIMIT},
    http::Effect,
    inspect::subject::{CREDENTIALS, RIGHTS, ZONE},
};
use crate::core::{names::ServiceName, record::Record};

/// What the program finds in its environment, and nothing else.
const ENVIRONMENT: [(&str, &str); 2] = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("LANG", "C.UTF-8")];

/// Which program.
#[derive(Debug, Clone)]
pub struct ExecConfig {
    /// The program, absolute.
    pub program: PathBuf,
    /// Its arguments, the same for each call.
    pub arguments: Vec<String>,
    /// What its author asserts: B or C.
    pub grade: Grade,
    /// How long each run may take.
    pub timeout: Duration,
}

impl ExecConfig {
    /// The time each run may take, unless configured.
    pub const TIMEOUT: Duration = Duration::from_secs(10);
}

/// One program, asked for one service or for none in particular.
#[derive(Debug)]
pub struct Exec(ExecConfig, Option<ServiceName>);

/// How a run ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

/// A run that brought nothing.
#[derive(Debug)]
enum RunError {
    /// It never began.
    NotStarted(String),
    /// It began, and what it did is unknown.
    Unknown(String),
}

/// Kills the whole group when it goes, unless the run ended by itself.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // No such group means that all of it has ended meanwhile.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

impl Exec {
    /// Checks the program. Does not run it.
    ///
    /// # Errors
    /// Why the program cannot be trusted, or the grade is not to be had.
    pub fn new(config: &ExecConfig) -> Result<Self, String> {
        if config.grade == Grade::A {
            return Err("a program has grade B or C".to_owned());
        }
        trustworthy(&config.program)?;
        Ok(Self(config.clone(), None))
    }

    async fn run(&self, question: &Value) -> Result<Ended, RunError> {
        let ExecConfig { program, arguments, timeout, .. } = &self.0;
        // Once more: what was checked at the start may have been changed since.
        trustworthy(program).map_err(RunError::NotStarted)?;
        let shown = program.display();
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(ENVIRONMENT)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| RunError::NotStarted(format!("{shown} cannot be run: {error}")))?;
        let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(RunError::Unknown(format!("{shown} has no pipes")));
        };
        let input = question.to_string();
        let talk = async {
            let ask = async {
                // A program that needs no input closes it, which is no failure.
                let _ = stdin.write_all(input.as_bytes()).await;
                drop(stdin);
            };
            let ((), stdout, stderr, status) = tokio::join!(ask, all(stdout), all(stderr), child.wait());
            Ok::<_, std::io::Error>((stdout?, stderr?, status?))
        };
        let (stdout, stderr, status) = match tokio::time::timeout(*timeout, talk).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(error)) => return Err(RunError::Unknown(format!("{shown}: {error}"))),
            Err(_) => {
                let limit = humantime::format_duration(*timeout);
                return Err(RunError::Unknown(format!("{shown} was killed after {limit}")));
            }
        };
        // Its number is free for others from now on.
        group.0 = None;
        Ok(Ended { code: status.code(), stdout, stderr: clip(String::from_utf8_lossy(&stderr).trim()) })
    }

    /// The standard output of a run that went well.
    async fn ask(&self, question: &Value, effect: Effect) -> Result<Vec<u8>, ProviderError> {
        let transient = |message| ProviderError::Transient { message, retry_after: None };
        let ended = self.run(question).await.map_err(|error| match error {
            RunError::NotStarted(said) => ProviderError::Permanent {
                message: said,
                hint: "check that `program` is executable and owned by root".to_owned(),
            },
            RunError::Unknown(said) if effect == Effect::Change => ProviderError::Indeterminate(said),
            RunError::Unknown(said) => transient(said),
        })?;
        let code = ended.code.map_or("by a signal".to_owned(), |code| format!("with {code}"));
        let message = format!("{} ended {code}: {}", self.0.program.display(), ended.stderr);
        match (ended.code, effect) {
            (Some(0), _) => Ok(ended.stdout),
            (Some(65), Effect::Change) => Err(ProviderError::Stale(message)),
            (Some(75), _) => Err(ProviderError::Transient { message, retry_after: hook::retry_after(&ended.stdout) }),
            (Some(77 | 78), _) => Err(ProviderError::Permanent {
                message,
                hint: "the program says that it lacks a right or a setting: see its own words".to_owned(),
            }),
            (_, Effect::Change) => Err(ProviderError::Indeterminate(message)),
            (_, Effect::None) => Err(transient(message)),
        }
    }
}

/// Reads to the end, and no more than the limit.
async fn all(from: impl AsyncRead + Unpin) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(ANSWER_LIMIT).unwrap_or(u64::MAX);
    from.take(limit + 1).read_to_end(&mut bytes).await?;
    if bytes.len() > ANSWER_LIMIT {
        return Err(std::io::Error::other(format!("the answer is longer than {ANSWER_LIMIT} bytes")));
    }
    Ok(bytes)
}

/// Whether nobody but root and this process' user can change the program or put another in its place.
fn trustworthy(program: &Path) -> Result<(), String> {
    let shown = program.display();
    if !program.is_absolute() {
        return Err(format!("{shown} is not an absolute path"));
    }
    let whole = program.canonicalize().map_err(|error| format!("{shown}: {error}"))?;
    for (path, what) in whole.ancestors().take(2).zip(["program", "directory"]) {
        let meta = path.metadata().map_err(|error| format!("{}: {error}", path.display()))?;
        if what == "program" && (!meta.is_file() || meta.mode() & 0o111 == 0) {
            return Err(format!("{shown} is no executable file: chmod 755 it"));
        }
        if meta.mode() & 0o022 != 0 {
            return Err(format!(
                "{} may be changed by others (mode {:04o}): chmod go-w it",
                path.display(),
                meta.mode() & 0o7777
            ));
        }
        if meta.uid() != 0 && meta.uid() != geteuid().as_raw() {
            return Err(format!("{} belongs to user {}: chown it to root", path.display(), meta.uid()));
        }
    }
    Ok(())
}

#[async_trait]
impl Provider for Exec {
    fn kind(&self) -> &'static str {
        "exec"
    }

    fn grade(&self) -> Grade {
        self.0.grade
    }

    /// A program that is killed may have handed its request on; what it reached is given as long as it had itself.
    fn longest_request(&self) -> Duration {
        self.0.timeout + Duration::from_mins(2)
    }

    fn serving(&self, service: &ServiceName) -> Option<Arc<dyn Provider>> {
        Some(Arc::new(Self(self.0.clone(), Some(service.clone()))))
    }

    fn fence_place(&self, record: &Record) -> String {
        hook::fence_place("the program", record)
    }

    async fn read(&self, record: &Record) -> Result<Reading, ProviderError> {
        let stdout = self.ask(&hook::read(self.1.as_ref(), record), Effect::None).await?;
        hook::reading(record, &stdout).map_err(|error| ProviderError::Transient {
            message: clip(&format!("{} gave {error}", self.0.program.display())),
            retry_after: None,
        })
    }

    async fn write(&self, change: &Change) -> Result<Receipt, ProviderError> {
        change.check_values(|_| true)?;
        let stdout = self.ask(&hook::write(self.1.as_ref(), change), Effect::Change).await?;
        hook::receipt(&stdout)
            .map_err(|error| ProviderError::Indeterminate(clip(&format!("{} gave {error}", self.0.program.display()))))
    }

    async fn rights(&self, record: &Record) -> Vec<Finding> {
        match self.read(record).await {
            Ok(_) => vec![
                Finding::pass(CREDENTIALS, "the program runs and answers"),
                Finding::pass(ZONE, format!("the program answers for {record}")),
                Finding::unknown(RIGHTS, "only a write shows whether it may write", "try the program by itself"),
            ],
            Err(error) => vec![Finding::of_error(CREDENTIALS, &error)],
        }
    }
}
