//! How a command ends when it does not succeed: an exit code, the reason, every violation, and what to do about it.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use serde::Serialize;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::output::{Output, printable};
use crate::grpc::{
    Violation,
    errors::{self, LEADER, LEADER_ADDRESS},
};

/// The exit codes; the top command's `--help` says what they mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// What nobody foresaw.
    Unexpected = 1,
    /// Options, context file, unreadable files.
    Usage = 2,
    /// `FAILED_PRECONDITION`, `ABORTED`.
    Refused = 3,
    /// `NOT_FOUND`.
    NotFound = 4,
    /// `UNAVAILABLE`, or no node answered.
    Unreachable = 5,
    /// `DEADLINE_EXCEEDED`, or the connection broke after the request was sent.
    OutcomeUnknown = 6,
    /// `PERMISSION_DENIED`, `UNAUTHENTICATED`, or a certificate was not accepted.
    Forbidden = 7,
    /// `INVALID_ARGUMENT`.
    Invalid = 8,
    /// `verdict get --exit-code`: down.
    Down = 10,
    /// `verdict get --exit-code`: neither up nor down.
    Undecided = 11,
}

impl Exit {
    /// Every exit code.
    pub const ALL: &[Self] = &[
        Self::Done,
        Self::Unexpected,
        Self::Usage,
        Self::Refused,
        Self::NotFound,
        Self::Unreachable,
        Self::OutcomeUnknown,
        Self::Forbidden,
        Self::Invalid,
        Self::Down,
        Self::Undecided,
    ];

    fn of(code: Code) -> Self {
        match code {
            Code::Ok => Self::Done,
            Code::FailedPrecondition | Code::Aborted | Code::AlreadyExists | Code::ResourceExhausted => Self::Refused,
            Code::NotFound => Self::NotFound,
            Code::Unavailable => Self::Unreachable,
            Code::DeadlineExceeded | Code::Cancelled => Self::OutcomeUnknown,
            Code::PermissionDenied | Code::Unauthenticated => Self::Forbidden,
            Code::InvalidArgument | Code::OutOfRange => Self::Invalid,
            Code::Unknown | Code::Unimplemented | Code::Internal | Code::DataLoss => Self::Unexpected,
        }
    }
}

/// Why a command did not succeed.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What went wrong, in one line.
    pub message: String,
    /// What else is known.
    pub more: Box<More>,
}

/// What else is known of a failure.
#[derive(Debug, Default)]
pub struct More {
    /// For programs: `RULE`, `NO_LEADER` …
    pub reason: Option<String>,
    /// Everything that is wrong with the input.
    pub violations: Vec<Violation>,
    /// The nodes that were tried, and why each did not answer.
    pub attempts: Vec<Attempt>,
    /// Who leads, as far as the node that answered knows.
    pub leader: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

/// One node that did not answer.
#[derive(Debug, Clone, Serialize)]
pub struct Attempt {
    /// Its address as configured.
    pub node: String,
    /// Why it did not answer.
    pub error: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), more: Box::default() }
    }

    /// The same with what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.more.hint = Some(hint.into());
        self
    }

    /// What a node answered.
    pub fn from_status(status: &Status) -> Self {
        let info = status.get_details_error_info();
        let of = |key: &str| info.as_ref().and_then(|info| info.metadata.get(key)).cloned();
        let leader = match (of(LEADER), of(LEADER_ADDRESS)) {
            (Some(id), Some(address)) => Some(format!("node {id} at {address}")),
            (Some(id), None) => Some(format!("node {id}")),
            _ => None,
        };
        let message = if status.message().is_empty() { status.code().description() } else { status.message() };
        let more = More {
            reason: info.as_ref().map(|info| info.reason.clone()),
            violations: errors::violations(status),
            attempts: vec![],
            leader,
            hint: advice(status.code(), info.as_ref().map_or("", |info| &info.reason)).map(str::to_owned),
        };
        Self { exit: Exit::of(status.code()), message: message.into(), more: Box::new(more) }
    }

    /// Prints it to stderr, in the format that the answer would have had.
    pub fn print(&self, format: Output, err: &mut dyn Write) -> io::Result<()> {
        match format {
            Output::Table => write!(err, "{}", self.text())?,
            Output::Json => writeln!(err, "{}", serde_json::json!({ "error": self.json() }))?,
        }
        err.flush()
    }

    fn json(&self) -> serde_json::Value {
        let violation = |v: &Violation| serde_json::json!({ "field": v.field, "description": v.description });
        serde_json::json!({
            "exit_code": self.exit as u8,
            "message": self.message,
            "reason": self.more.reason,
            "violations": self.more.violations.iter().map(violation).collect::<Vec<_>>(),
            "attempts": self.more.attempts,
            "leader": self.more.leader,
            "hint": self.more.hint,
        })
    }

    fn text(&self) -> String {
        let mut text = format!("error: {}", printable(&self.message));
        if let Some(reason) = self.more.reason.as_deref().filter(|reason| !reason.is_empty()) {
            let _ = write!(text, " ({})", printable(reason));
        }
        text.push('\n');
        // One that is all there is to say was said.
        let said = |of: &&Violation| self.message == format!("{}: {}", of.field, of.description);
        for Violation { field, description } in self.more.violations.iter().filter(|of| !said(of)) {
            let _ = writeln!(text, "  {}: {}", printable(field), printable(description));
        }
        for Attempt { node, error } in &self.more.attempts {
            let _ = writeln!(text, "  {node}: {}", printable(error));
        }
        if let Some(leader) = &self.more.leader {
            let _ = writeln!(text, "leader: {}", printable(leader));
        }
        if let Some(hint) = &self.more.hint {
            let _ = writeln!(text, "hint: {hint}");
        }
        text
    }
}

/// What to do, by what the server said.
fn advice(code: Code, reason: &str) -> Option<&'static str> {
    Some(match (code, reason) {
        (_, "NOT_INITIALISED") => "form the cluster once with `quoratectl cluster init --member …`",
        (_, "RULE") => {
            "`quoratectl explain SERVICE` shows every rule; `switch start --override RULE` overrides one by name"
        }
        (_, "EPOCH_CHANGED") => "look with `quoratectl verdict get SERVICE`, then decide again",
        (_, "SWITCH_OPEN" | "UNDER_WAY") => "follow it with `quoratectl switch list SERVICE`",
        (_, "NO_SERVICE") => "`quoratectl service list` names the services",
        (_, "NO_REGION") => "`quoratectl verdict get SERVICE` names its regions",
        (_, "NO_SWITCH") => "`quoratectl switch list SERVICE` shows the switches that are kept",
        (_, "PROVIDER_CHECK") => {
            "`quoratectl provider check` looks at it from every node; while a provider is down, --skip-provider-check does without reading there"
        }
        (_, "NO_MEMBER") => "`quoratectl member list` names the members",
        (Code::Unavailable, _) => "try again in a few seconds; `--consistency stale` reads what one node knows",
        (Code::DeadlineExceeded | Code::Cancelled, _) => "read the state before trying again",
        (Code::PermissionDenied, _) => "use a certificate with the role named (`quoratectl pki issue --role …`)",
        (Code::Unauthenticated, _) => "give a client certificate of this cluster with --cert and --key",
        (Code::Unimplemented, _) => "the node runs another version than this quoratectl",
        _ => return None,
    })
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // Whoever closed our stdout (`| head`) has seen enough.
        let exit = if error.kind() == io::ErrorKind::BrokenPipe { Exit::Done } else { Exit::Unexpected };
        Self::new(exit, format!("cannot write the answer: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::errors::status;

    #[test]
    fn each_code_has_its_exit() {
        for (code, exit) in [
            (Code::FailedPrecondition, 3),
            (Code::Aborted, 3),
            (Code::NotFound, 4),
            (Code::Unavailable, 5),
            (Code::DeadlineExceeded, 6),
            (Code::PermissionDenied, 7),
            (Code::Unauthenticated, 7),
            (Code::InvalidArgument, 8),
            (Code::Internal, 1),
        ] {
            assert_eq!(Failure::from_status(&Status::new(code, "x")).exit as u8, exit, "{code:?}");
        }
    }

    #[test]
    fn the_leader_is_named_and_the_terminal_is_safe() {
        let status = status(
            Code::Unavailable,
            "NO_LEADER_HERE",
            "node 1 cut \u{1b}[31moff",
            [(LEADER, "2".into()), (LEADER_ADDRESS, "192.0.2.2:7700".into())],
        );
        let text = Failure::from_status(&status).text();
        assert!(text.contains("leader: node 2 at 192.0.2.2:7700\n"), "{text}");
        assert!(text.contains("hint: try again") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn what_was_said_is_not_said_again() {
        let one = |field: &str, description: &str| Violation { field: field.into(), description: description.into() };
        let mut failure = Failure::new(Exit::Invalid, "to: `x y` is no region");
        failure.more.violations = vec![one("to", "`x y` is no region"), one("reason", "too long")];
        assert_eq!(failure.text(), "error: to: `x y` is no region\n  reason: too long\n");
    }
}
