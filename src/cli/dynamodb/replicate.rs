//! `quoratectl dynamodb replicate`: asks for a replica, and waits until it can be used.
//!
//! Nothing is kept here: what AWS says is all there is to go on from, so that the same command after Ctrl-C goes on waiting.

use std::{
    cell::Cell,
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use clap::Args;
use serde::Serialize;
use tokio::time::sleep;

use super::{At, failure};
use crate::{
    aws::Fault,
    cli::{
        failure::{Exit, Failure},
        output::{Output, Screen, printable},
    },
    core::{explain::words, service::Table},
    dynamodb::{Description, DynamoDb, ReplicaLine, Tables, status::meaning},
};

/// How often in a row AWS may not answer before the waiting ends.
const PATIENCE: u32 = 30;
/// The only version of global tables that is made here.
const VERSION: &str = "2019.11.21";
/// How many characters wide the bar is.
const BAR: u32 = 40;

/// What to replicate, and where to.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    at: At,
    /// The AWS region that shall have a replica
    #[arg(long, value_name = "REGION")]
    to: String,
    /// The table is provisioned, and its write capacity scales by itself in every region
    #[arg(long)]
    auto_scaled: bool,
    /// How often AWS is asked meanwhile
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    every: Duration,
}

/// One line a change, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Step {
    region: String,
    status: String,
    percent: Option<String>,
    means: &'static str,
}

pub(super) async fn run(arguments: Arguments, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let Arguments { at, to, auto_scaled, every } = arguments;
    let (dynamodb, at) = at.open();
    let asked = Cell::new(false);
    let work = async {
        begin(&dynamodb, &at, &to, auto_scaled, &asked, screen).await?;
        watch(&dynamodb, &at, &to, every, screen).await
    };
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => Err(stopped(asked.get())),
    }
}

fn stopped(asked: bool) -> Failure {
    if asked {
        Failure::new(Exit::OutcomeUnknown, "you stopped waiting; AWS goes on with it")
            .hint("run the same command again to go on waiting")
    } else {
        Failure::new(Exit::Unexpected, "you stopped it before AWS was asked for a replica: nothing was changed")
    }
}

/// Asks for the replica, unless it is there or under way.
async fn begin(
    dynamodb: &DynamoDb,
    at: &Table,
    to: &str,
    auto_scaled: bool,
    asked: &Cell<bool>,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    let seen = dynamodb.describe(at).await.map_err(|fault| failure(dynamodb, at, &fault))?;
    if at.region == to {
        return Err(Failure::new(Exit::Usage, format!("{to} is where the table is: give another region with --to")));
    }
    if let Some(line) = seen.replicas.get(to) {
        asked.set(true);
        return match unusable(to, line) {
            Some(why) => Err(why),
            None => Ok(screen.progress(&format!("{} has a replica in {to}: {}", at.table, line.status))?),
        };
    }
    prerequisites(at, &seen, auto_scaled)?;
    let there = Table { table: at.table.clone(), region: to.to_owned() };
    match dynamodb.describe(&there).await {
        Err(fault) if fault.is("ResourceNotFoundException") => {}
        Err(fault) => return Err(failure(dynamodb, &there, &fault)),
        Ok(_) => {
            let said = format!("{to} has a table `{}` already, which is no replica of this one", at.table);
            return Err(
                Failure::new(Exit::Refused, said).hint("a replica takes its place only once that table is gone")
            );
        }
    }
    // From here on it may have arrived, whatever comes of the answer.
    asked.set(true);
    dynamodb.replicate(at, to).await.map_err(|fault| failure(dynamodb, at, &fault))?;
    screen.progress(&format!("{}: a replica in {to} is asked for", at.table))?;
    Ok(())
}

/// A replica that waiting will not bring.
fn unusable(region: &str, line: &ReplicaLine) -> Option<Failure> {
    let of = meaning(&line.status);
    if of.usable || line.status == "CREATING" {
        return None;
    }
    let said = line.description.as_ref().map(|said| format!(" (AWS says: {said})")).unwrap_or_default();
    let text = format!("the replica in {region} is {}: {}{said}", line.status, of.means);
    Some(Failure::new(Exit::Refused, text).hint(of.advice))
}

/// What AWS asks of a table before it replicates it (Amazon DynamoDB's "Global tables: prerequisites").
fn prerequisites(at: &Table, seen: &Description, auto_scaled: bool) -> Result<(), Failure> {
    let Table { table, region } = at;
    let refused = |why: String, hint: String| Err(Failure::new(Exit::Refused, why).hint(hint));
    let update = format!("aws dynamodb update-table --region {region} --table-name {table}");
    if let Some(version) = seen.global_version.as_ref().filter(|version| *version != VERSION) {
        let hint = format!("upgrade it to version {VERSION} in AWS's console first; that cannot be undone");
        return refused(format!("{table} is a global table of version {version}, which is not extended here"), hint);
    }
    if !meaning(&seen.status).usable {
        let of = meaning(&seen.status);
        return refused(format!("{table} in {region} is {}: {}", seen.status, of.means), of.advice.to_owned());
    }
    match seen.stream.as_deref() {
        Some("NEW_AND_OLD_IMAGES") => {}
        Some(other) => {
            let hint = "disable that stream (its readers lose it), then enable one with NEW_AND_OLD_IMAGES".to_owned();
            return refused(format!("the stream of {table} shows {other}, replication needs NEW_AND_OLD_IMAGES"), hint);
        }
        None => {
            let hint = format!("{update} --stream-specification StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES");
            return refused(format!("{table} has no stream, and replication needs one"), hint);
        }
    }
    if seen.billing != "PAY_PER_REQUEST" && !auto_scaled {
        let hint = format!(
            "{update} --billing-mode PAY_PER_REQUEST, or give --auto-scaled if its write capacity scales by itself"
        );
        return refused(format!("{table} has provisioned capacity: replicated writes need room in every region"), hint);
    }
    Ok(())
}

async fn watch(
    dynamodb: &DynamoDb,
    at: &Table,
    to: &str,
    every: Duration,
    screen: &mut Screen<'_>,
) -> Result<Exit, Failure> {
    let began = Instant::now();
    let bar = screen.format == Output::Table && io::stderr().is_terminal();
    let mut last: Option<Step> = None;
    let mut silent = 0;
    loop {
        match dynamodb.describe(at).await {
            Ok(seen) => {
                silent = 0;
                let line = seen.replicas.get(to);
                if let Some(why) = line.and_then(|line| unusable(to, line)) {
                    return Err(why);
                }
                // What was asked for may not be listed yet.
                let status = line.map_or("CREATING", |line| line.status.as_str());
                let percent = line.and_then(|line| line.progress.clone());
                let step =
                    Step { region: to.to_owned(), status: status.to_owned(), percent, means: meaning(status).means };
                if last.as_ref() != Some(&step) {
                    show(&step, bar, screen)?;
                    last = Some(step);
                }
                if meaning(status).usable {
                    if bar {
                        writeln!(screen.err)?;
                    }
                    screen.progress(&format!("{} in {to} can be used, after {}", at.table, words(began.elapsed())))?;
                    return Ok(Exit::Done);
                }
            }
            Err(fault @ Fault::Down(_)) if silent < PATIENCE => {
                silent += 1;
                if silent == 1 {
                    screen.progress(&format!("{} does not answer ({fault}); asking again", at.region))?;
                }
            }
            Err(fault) => {
                let mut why = failure(dynamodb, at, &fault);
                why.message.push_str("; AWS goes on with the replica, and the same command with waiting");
                return Err(why);
            }
        }
        sleep(every).await;
    }
}

/// A bar where there is a person to see it, else a line a change.
fn show(step: &Step, bar: bool, screen: &mut Screen<'_>) -> io::Result<()> {
    let percent = step.percent.as_deref().and_then(|text| text.trim_end_matches('%').trim().parse::<f64>().ok());
    if bar {
        write!(screen.err, "\r\x1b[K{}", drawn(&step.region, &step.status, percent))?;
        return screen.err.flush();
    }
    match screen.format {
        Output::Json => screen.event(step, |_| String::new()),
        Output::Table => {
            let percent = percent.map(|percent| format!(" {percent} %")).unwrap_or_default();
            screen.progress(&format!("{}: {}{percent}, {}", step.region, step.status, step.means))
        }
    }
}

/// `[========                        ]  25 % us-east-1 CREATING`; without the figure while AWS gives none.
fn drawn(region: &str, status: &str, percent: Option<f64>) -> String {
    let part = if meaning(status).usable { 1.0 } else { percent.unwrap_or_default().clamp(0.0, 100.0) / 100.0 };
    let full = (1..=BAR).filter(|cell| f64::from(*cell) <= part * f64::from(BAR)).count();
    let figure = percent.map(|percent| format!("{percent:>3} % ")).unwrap_or_default();
    printable(&format!("[{:<width$}] {figure}{region} {status}", "=".repeat(full), width = BAR as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_grows_with_what_aws_says() {
        assert_eq!(drawn("us-east-1", "CREATING", None), format!("[{}] us-east-1 CREATING", " ".repeat(40)));
        let quarter = format!("[{}{}]  25 % us-east-1 CREATING", "=".repeat(10), " ".repeat(30));
        assert_eq!(drawn("us-east-1", "CREATING", Some(25.0)), quarter);
        assert_eq!(drawn("us-east-1", "ACTIVE", None), format!("[{}] us-east-1 ACTIVE", "=".repeat(40)));
        assert!(
            drawn("x", "CREATING", Some(f64::NAN)).starts_with("[  ") && drawn("x", "\u{1b}", Some(1e9)).len() < 99
        );
    }
}
