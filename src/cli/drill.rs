//! `quoratectl drill`: rehearses a switch without writing, and says what would stop a real one.

use clap::Args;
use tonic::Streaming;

use super::{
    connect::{Session, admin},
    failure::{Exit, Failure},
    output::{Screen, ms, printable, table},
};
use crate::{
    proto::v1,
    view::inspect::{Drill, Finding},
};

/// What to rehearse.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  quoratectl drill app\n  quoratectl drill app --to us-east-1 -o json\n\n\
    Every node probes the candidate and asks the providers with its own credentials; nothing is written. Exit code 0: nothing\n\
    would stop a real switch now. 3: something would. What could not be told stops nothing, and is shown as unknown.")]
pub struct Arguments {
    /// The service
    service: String,
    /// The region to rehearse [default: where a failover would go now]
    #[arg(long, value_name = "REGION")]
    to: Option<String>,
}

pub async fn run(arguments: Arguments, session: &Session, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let Arguments { service, to } = arguments;
    let request = v1::DrillRequest { service, to: to.unwrap_or_default() };
    let drill = |channel, request| async { admin(channel).drill(request).await };
    let messages: Streaming<v1::DrillResponse> = session.stream(request, drill).await?;
    let report = last(messages, screen, |of| match of.message? {
        v1::drill_response::Message::Progress(text) => Some(Step::Progress(text)),
        v1::drill_response::Message::Report(report) => Some(Step::Report(report)),
    })
    .await?;
    let drill = Drill::from(report);
    screen.answer(&drill, in_words)?;
    Ok(if drill.stops == 0 { Exit::Done } else { Exit::Refused })
}

/// A message of a stream that ends with a report.
pub enum Step<T> {
    /// For whoever waits.
    Progress(String),
    /// The end.
    Report(T),
}

/// Shows the progress and hands back the report.
pub async fn last<M, T>(
    mut messages: Streaming<M>,
    screen: &mut Screen<'_>,
    step: impl Fn(M) -> Option<Step<T>>,
) -> Result<T, Failure> {
    while let Some(message) = messages.message().await.map_err(|status| Failure::from_status(&status))? {
        match step(message) {
            Some(Step::Progress(text)) => screen.progress(&text)?,
            Some(Step::Report(report)) => return Ok(report),
            None => {}
        }
    }
    Err(Failure::new(Exit::Unexpected, "the node ended the answer before its end").hint("ask again, or another node"))
}

fn in_words(of: &Drill) -> String {
    let from = of.from.as_deref().map(|from| format!(" from {}", printable(from))).unwrap_or_default();
    let rehearsed = format!(
        "rehearsed: {}{from} to {}, as epoch {}, in {}; nothing was written\n",
        printable(&of.service),
        printable(&of.to),
        of.epoch,
        ms(of.took_ms)
    );
    format!("{}\n{rehearsed}\n{}{}", printable(&of.conclusion), findings(&of.findings), advice(&of.findings))
}

/// Every finding, who found it and about what.
pub fn findings(findings: &[Finding]) -> String {
    let row = |of: &Finding| {
        let seen_from = of.node.map(|node| format!("{node} {}", of.site.as_deref().unwrap_or_default()));
        let outcome =
            if of.outcome == "fail" && !of.stops { "fail (stops nothing)".into() } else { of.outcome.clone() };
        let record = of.record.clone().unwrap_or_default();
        [of.subject.clone(), outcome, seen_from.unwrap_or_default(), record, of.figure.clone()]
    };
    table(["FINDING", "OUTCOME", "NODE", "RECORD", "FIGURE"], findings.iter().map(row))
}

/// What to do about everything that does not pass, each thing once.
pub fn advice(findings: &[Finding]) -> String {
    let mut said: Vec<(String, String)> = vec![];
    for of in findings {
        let Some(hint) = &of.hint else { continue };
        let line = (of.subject.clone(), printable(hint));
        if !said.contains(&line) {
            said.push(line);
        }
    }
    if said.is_empty() {
        return String::new();
    }
    let lines: Vec<_> = said.iter().map(|(subject, hint)| format!("  {}: {hint}\n", printable(subject))).collect();
    format!("\nwhat to do\n{}", lines.concat())
}
