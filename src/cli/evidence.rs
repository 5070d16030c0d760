//! `quoratectl evidence`: what a switch rested on, and what came of it.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde::Serialize;

use super::{
    connect::{Kind, Session, verdicts},
    explain::rules,
    failure::{Exit, Failure},
    output::{Screen, printable, table},
    switch::switches,
    verdict::age,
};
use crate::{
    proto::v1,
    view::{Answer, Evidence, Read, RegionEvidence, Switch},
};

/// The commands.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  quoratectl evidence get app")]
pub enum Command {
    /// The evidence of one switch: votes, rules, receipts, nameserver answers
    #[command(after_help = "Examples:\n  quoratectl evidence get app\n  quoratectl evidence get app 7 -o json")]
    Get {
        /// The service
        service: String,
        /// The switch's epoch [default: the newest]
        epoch: Option<u64>,
    },
}

#[derive(Serialize)]
struct Answered {
    switch: Switch,
    evidence: serde_json::Value,
    read: Read,
}

pub async fn run(command: Command, session: &Session, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let Command::Get { service, epoch } = command;
    let request =
        v1::GetEvidenceRequest { service, epoch: epoch.unwrap_or_default(), consistency: session.consistency() };
    let get = |channel, request| async { verdicts(channel).get_evidence(request).await };
    let answer = session.call(Kind::Read, request, get).await?;
    let evidence = serde_json::from_str(&answer.evidence_json)
        .map_err(|error| Failure::new(Exit::Unexpected, format!("the evidence is no JSON: {error}")))?;
    let answered = Answered {
        switch: answer.switch.unwrap_or_default().into(),
        evidence,
        read: answer.read.unwrap_or_default().into(),
    };
    screen.answer(&answered, in_words)?;
    Ok(Exit::Done)
}

/// What a person is shown of evidence in JSON.
#[cfg(feature = "testing")]
pub(super) fn shown(evidence: serde_json::Value) -> String {
    in_words(&Answered { switch: v1::Switch::default().into(), evidence, read: v1::ReadInfo::default().into() })
}

fn in_words(of: &Answered) -> String {
    let mut parts = vec![switches(std::slice::from_ref(&of.switch))];
    match serde_json::from_value::<Evidence>(of.evidence.clone()) {
        Ok(evidence) => {
            parts.extend(evidence.lost_writes.iter().map(|lost| format!("lost writes: {}\n", printable(&lost.text))));
            parts.extend(evidence.reason.iter().map(|reason| format!("reason: {}\n", printable(reason))));
            parts.extend([
                votes(&evidence.regions),
                rules(&evidence.rules),
                receipts(&evidence.receipts),
                answers(&evidence.answers),
            ]);
        }
        // A newer node's evidence is still worth showing, if not as tables.
        Err(_) => {
            let text = format!("{:#}\n", of.evidence);
            parts.push(text.split_inclusive('\n').map(|line| printable(line.trim_end()) + "\n").collect());
        }
    }
    parts.retain(|part| !part.is_empty());
    format!("{}{}", parts.join("\n"), age(&of.read))
}

fn votes(regions: &[RegionEvidence]) -> String {
    let rows = regions.iter().flat_map(|region| {
        region.votes.iter().map(|vote| {
            let runs = vote.runs.iter().map(|run| {
                format!("probe {}: {} × {} (term {}, index {})", run.probe, run.count, run.outcome, run.term, run.index)
            });
            [
                region.region.clone(),
                vote.site.clone(),
                vote.node.to_string(),
                vote.opinion.clone(),
                vote.reason.clone(),
                runs.collect::<Vec<_>>().join(", "),
            ]
        })
    });
    table(["REGION", "SITE", "NODE", "OPINION", "WHY", "RUNS"], rows)
}

fn receipts(receipts: &BTreeMap<String, String>) -> String {
    table(["RECORD", "PROVIDER SAID"], receipts.iter().map(|(record, said)| [record.clone(), said.clone()]))
}

fn answers(answers: &[Answer]) -> String {
    let row = |of: &Answer| {
        let agrees = if of.agrees { "yes" } else { "no" };
        [of.record.clone(), of.server.clone(), agrees.into(), of.answer.clone()]
    };
    table(["RECORD", "NAMESERVER", "AGREES", "ANSWER"], answers.iter().map(row))
}
