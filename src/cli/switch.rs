//! `quoratectl switch`: switches under way and done, starting one by hand, and aborting one.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{
    connect::{Kind, Session, admin, verdicts},
    failure::{Exit, Failure},
    output::{Screen, ms, table},
    verdict::age,
};
use crate::{
    core::explain::words,
    proto::v1,
    view::{Read, Switch},
};

/// How often a switch that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// The commands.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  quoratectl switch list app\n  quoratectl switch start app --to us-east-1 --wait\n  \
    quoratectl switch abort app --wait"
)]
pub enum Command {
    /// The switches, the newest first
    #[command(after_help = "Examples:\n  quoratectl switch list\n  quoratectl switch list app --limit 5 -o json")]
    List {
        /// Of this service; of all without one
        service: Option<String>,
        /// How many at most
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Moves a service by hand, under a new epoch that fences whatever was under way
    #[command(after_help = "Examples:\n  \
        quoratectl switch start app --to us-east-1 --reason 'move before the upgrade'\n  \
        quoratectl switch start app --to us-east-1 --expected-epoch 7 --wait=5m\n  \
        quoratectl switch start app --to us-east-1 --override cooldown --override gate:dynamodb-lag")]
    Start(Start),
    /// Ends the switch that is under way: back to the region that was active before, under a new epoch that fences it
    #[command(after_help = "Examples:\n  \
        quoratectl switch abort app --reason 'false alarm, the probes were wrong'\n  \
        quoratectl switch abort app --expected-epoch 7 --wait\n\n\
        No rule holds an abort. The cooldown begins once it is observed; then the cluster may decide the same again, unless\n\
        `quoratectl freeze` keeps it. Refused when no switch is under way, or when it left no region that was active before.")]
    Abort(Abort),
}

/// What to switch, and how.
#[derive(Debug, Args)]
pub struct Start {
    /// The service
    service: String,
    /// The region to make active
    #[arg(long, value_name = "REGION")]
    to: String,
    /// A rule to override, by the name that `explain` gives; kept with the evidence
    #[arg(long = "override", value_name = "RULE")]
    overrides: Vec<String>,
    /// Refuse unless this is the service's epoch now
    #[arg(long, value_name = "N")]
    expected_epoch: Option<u64>,
    /// Kept with the evidence
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Wait until every nameserver was asked [default when given without a time: 10m]
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "10m",
          value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
}

/// What to abort.
#[derive(Debug, Args)]
pub struct Abort {
    /// The service
    service: String,
    /// Refuse unless this is the epoch of the switch under way
    #[arg(long, value_name = "N")]
    expected_epoch: Option<u64>,
    /// Kept with the evidence
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Wait until every nameserver was asked [default when given without a time: 10m]
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "10m",
          value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
}

#[derive(Serialize)]
struct Many {
    switches: Vec<Switch>,
    read: Read,
}

#[derive(Serialize)]
struct Started {
    service: String,
    epoch: u64,
    to: String,
    /// How far it was when the command ended.
    status: String,
}

pub async fn run(command: Command, session: &Session, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    match command {
        Command::List { service, limit } => {
            let answer = list(session, service.unwrap_or_default(), limit).await?;
            let many = Many {
                switches: answer.switches.into_iter().map(Switch::from).collect(),
                read: answer.read.unwrap_or_default().into(),
            };
            screen.answer(&many, |many| format!("{}{}", switches(&many.switches), age(&many.read)))?;
            Ok(Exit::Done)
        }
        Command::Start(start) => self::start(start, session, screen).await,
        Command::Abort(abort) => self::abort(abort, session, screen).await,
    }
}

async fn list(session: &Session, service: String, limit: u32) -> Result<v1::ListSwitchesResponse, Failure> {
    let request = v1::ListSwitchesRequest { service, limit, consistency: session.consistency() };
    let list = |channel, request| async { verdicts(channel).list_switches(request).await };
    session.call(Kind::Read, request, list).await
}

async fn start(start: Start, session: &Session, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let Start { service, to, overrides, expected_epoch, reason, wait } = start;
    let request =
        v1::SwitchRequest { service: service.clone(), to: to.clone(), r#override: overrides, expected_epoch, reason };
    let switch = |channel, request| async { admin(channel).switch(request).await };
    let epoch = session.call(Kind::Write, request, switch).await?.epoch;
    let started = Started { service, epoch, to, status: "authorised".into() };
    follow(started, "switch to", wait, session, screen).await
}

async fn abort(abort: Abort, session: &Session, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let Abort { service, expected_epoch, reason, wait } = abort;
    let request = v1::AbortSwitchRequest { service: service.clone(), expected_epoch, reason };
    let abort = |channel, request| async { admin(channel).abort_switch(request).await };
    let v1::AbortSwitchResponse { epoch, to } = session.call(Kind::Write, request, abort).await?;
    let started = Started { service, epoch, to, status: "authorised".into() };
    follow(started, "abort, back to", wait, session, screen).await
}

/// Says what was authorised, after having waited for its end if asked to.
async fn follow(
    mut started: Started,
    what: &str,
    wait: Option<Duration>,
    session: &Session,
    screen: &mut Screen<'_>,
) -> Result<Exit, Failure> {
    if let Some(limit) = wait {
        let Started { service, epoch, to, .. } = &started;
        screen.progress(&format!("{service}: {what} {to} authorised under epoch {epoch}"))?;
        wait_for(&mut started, limit, session, screen).await?;
    }
    screen.answer(&started, |of| format!("{}: {what} {}, epoch {}: {}\n", of.service, of.to, of.epoch, of.status))?;
    Ok(Exit::Done)
}

async fn wait_for(
    started: &mut Started,
    limit: Duration,
    session: &Session,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    let since = Instant::now();
    let mut unreachable: Option<String> = None;
    loop {
        // A leader lost in mid-switch costs time, never a second epoch (invariant 10): unreachable is no reason to stop.
        match list(session, started.service.clone(), 0).await {
            Ok(answer) => {
                unreachable = None;
                let ours = answer.switches.into_iter().map(Switch::from).find(|of| of.epoch == started.epoch);
                let status = ours.map_or_else(|| started.status.clone(), |of| of.status);
                if status != started.status {
                    screen.progress(&format!("{}: {status} after {}", started.service, words(since.elapsed())))?;
                    started.status = status;
                }
                match started.status.as_str() {
                    "observed" => return Ok(()),
                    "superseded" => return Err(superseded(started)),
                    _ => {}
                }
            }
            Err(failure) if matches!(failure.exit, Exit::Unreachable | Exit::OutcomeUnknown) => {
                if unreachable.is_none() {
                    screen.progress(&format!("{}: {}, asking again", started.service, failure.message))?;
                }
                unreachable = Some(failure.message);
            }
            Err(failure) => return Err(failure),
        }
        if since.elapsed() >= limit {
            return Err(not_yet(started, limit, unreachable));
        }
        sleep(LOOK).await;
    }
}

fn superseded(started: &Started) -> Failure {
    Failure::new(Exit::Refused, format!("epoch {} was superseded by a later switch", started.epoch))
        .hint(format!("`quoratectl switch list {}` shows which", started.service))
}

fn not_yet(started: &Started, limit: Duration, unreachable: Option<String>) -> Failure {
    let far = unreachable.unwrap_or_else(|| format!("it is {}", started.status));
    Failure::new(Exit::OutcomeUnknown, format!("epoch {} is not observed after {}: {far}", started.epoch, words(limit)))
        .hint(format!("the cluster goes on with it; follow it with `quoratectl switch list {}`", started.service))
}

/// Switches as a table.
pub fn switches(switches: &[Switch]) -> String {
    if switches.is_empty() {
        return "no switches yet\n".into();
    }
    let row = |of: &Switch| {
        let after =
            |log_ms: Option<u64>| log_ms.map(|at| ms(at.saturating_sub(of.authorised_log_ms))).unwrap_or_default();
        [
            of.service.clone(),
            of.epoch.to_string(),
            of.from.clone().unwrap_or_default(),
            of.to.clone(),
            of.cause.clone(),
            of.by.clone().unwrap_or_default(),
            of.status.clone(),
            of.authorised_at.clone().unwrap_or_default(),
            after(of.written_log_ms),
            after(of.observed_log_ms),
        ]
    };
    let header =
        ["SERVICE", "EPOCH", "FROM", "TO", "CAUSE", "BY", "STATUS", "AUTHORISED", "WRITTEN AFTER", "OBSERVED AFTER"];
    table(header, switches.iter().map(row))
}
