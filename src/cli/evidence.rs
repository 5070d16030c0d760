//! `quoratectl evidence`: what a switch rested on, and what came of it.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde::Serialize;

use super::{
    connect::{Kind, Session, verdicts},
    explain::rules,
    failure::{Exit, Failure},
    output::{Screen, ms, printable, table},
    sealed,
    switch::switches,
    verdict::age,
};
use crate::{
    proto::v1,
    view::{Answer, Evidence, LostWrites, Read, RegionEvidence, Sight, Switch},
};

/// The commands.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  \
    quoratectl evidence get app\n  \
    quoratectl evidence export app --out app.json\n  \
    quoratectl evidence verify app.json")]
pub enum Command {
    /// The evidence of one switch: votes, rules, receipts, nameserver answers
    #[command(after_help = "Examples:\n  quoratectl evidence get app\n  quoratectl evidence get app 7 -o json")]
    Get {
        /// The service
        service: String,
        /// The switch's epoch [default: the newest]
        epoch: Option<u64>,
    },
    /// Writes the evidence of every switch that is over into one file, which can be verified without a cluster
    #[command(after_help = "Examples:\n  \
        quoratectl evidence export --out all.json\n  \
        quoratectl evidence export app --out app.json\n  \
        quoratectl evidence export app --epoch 7")]
    Export(sealed::Export),
    /// Verifies a file that was exported, without a cluster: every hash, the chain, the votes and the rules
    #[command(after_help = "Examples:\n  \
        quoratectl evidence verify app.json\n  \
        quoratectl evidence verify app.json --expect-head 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n  \
        quoratectl evidence verify today.json --previous yesterday.json\n\n\
        A chain of hashes proves that nothing was changed since its head was seen, and nothing of who saw it first: compare the\n\
        head with another node's, or with an earlier export. Exit code 8 when anything is wrong; each fault is named.")]
    Verify(sealed::Verify),
}

#[derive(Serialize)]
struct Answered {
    switch: Switch,
    evidence: serde_json::Value,
    /// Over the bundle; `null` while the switch is not over.
    hash: Option<String>,
    /// Of the bundle before it.
    previous_hash: Option<String>,
    read: Read,
}

pub async fn run(command: Command, session: &Session, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let (service, epoch) = match command {
        Command::Get { service, epoch } => (service, epoch),
        Command::Export(export) => return sealed::export(export, session, screen).await,
        Command::Verify(verify) => return sealed::verify(&verify, screen),
    };
    let request =
        v1::GetEvidenceRequest { service, epoch: epoch.unwrap_or_default(), consistency: session.consistency() };
    let get = |channel, request| async { verdicts(channel).get_evidence(request).await };
    let answer = session.call(Kind::Read, request, get).await?;
    let evidence = serde_json::from_str(&answer.evidence_json)
        .map_err(|error| Failure::new(Exit::Unexpected, format!("the evidence is no JSON: {error}")))?;
    let answered = Answered {
        switch: answer.switch.unwrap_or_default().into(),
        evidence,
        hash: Some(answer.hash).filter(|hash| !hash.is_empty()),
        previous_hash: Some(answer.previous_hash).filter(|hash| !hash.is_empty()),
        read: answer.read.unwrap_or_default().into(),
    };
    screen.answer(&answered, in_words)?;
    Ok(Exit::Done)
}

/// What a person is shown of evidence in JSON.
#[cfg(feature = "testing")]
pub(super) fn shown(evidence: serde_json::Value) -> String {
    let (switch, read) = (v1::Switch::default().into(), v1::ReadInfo::default().into());
    in_words(&Answered { switch, evidence, hash: None, previous_hash: None, read })
}

/// Not known is said as loudly as a figure.
fn lost_writes(of: &LostWrites) -> String {
    let bound = of.bound_ms.map_or_else(|| "not known".to_owned(), |bound| format!("those of {} at most", ms(bound)));
    format!("lost writes: {bound} ({})\n", printable(&of.text))
}

fn in_words(of: &Answered) -> String {
    let mut parts = vec![switches(std::slice::from_ref(&of.switch))];
    match serde_json::from_value::<Evidence>(of.evidence.clone()) {
        Ok(evidence) => {
            parts.extend(evidence.lost_writes.iter().map(lost_writes));
            parts.extend(evidence.reason.iter().map(|reason| format!("reason: {}\n", printable(reason))));
            parts.extend([
                votes(&evidence.regions),
                sights(&evidence.sight),
                rules(&evidence.rules),
                receipts(&evidence.receipts),
                answers(&evidence.answers),
            ]);
            parts.extend(evidence.file.iter().map(|file| format!("service file: SHA-256 {}\n", printable(file))));
        }
        // A newer node's evidence is still worth showing, if not as tables.
        Err(_) => {
            let text = format!("{:#}\n", of.evidence);
            parts.push(text.split_inclusive('\n').map(|line| printable(line.trim_end()) + "\n").collect());
        }
    }
    if let Some(hash) = &of.hash {
        let after =
            of.previous_hash.as_ref().map_or("the first".to_owned(), |hash| format!("after {}", printable(hash)));
        parts.push(format!("sealed: {} {after}\n", printable(hash)));
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

/// What each node saw of its own controls and peers.
fn sights(sights: &[Sight]) -> String {
    let ids = |ids: &[u64]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let row = |of: &Sight| {
        let failing = of.controls.iter().filter_map(|of| Some(format!("{} ({})", of.control, of.fails.as_ref()?)));
        let failing = failing.collect::<Vec<_>>();
        let working = format!("{} of {}", of.controls.len() - failing.len(), of.controls.len());
        [
            of.site.clone(),
            of.node.to_string(),
            of.blind.as_ref().map_or_else(|| "sees".to_owned(), |why| format!("blind: {why}")),
            working,
            failing.join(", "),
            ids(&of.peers_reached),
            ids(&of.peers_missed),
        ]
    };
    let header = ["SITE", "NODE", "SIGHT", "CONTROLS WORK", "FAILING", "PEERS REACHED", "MISSED"];
    table(header, sights.iter().map(row))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A bound that nobody measured must not read like one.
    #[test]
    fn lost_writes_that_are_not_known_are_said_to_be_so() {
        let text = || "us-east-1: no heartbeat has arrived".to_owned();
        let unknown = lost_writes(&LostWrites { bound_ms: None, text: text() });
        assert_eq!(unknown, "lost writes: not known (us-east-1: no heartbeat has arrived)\n");
        let known = lost_writes(&LostWrites { bound_ms: Some(1800), text: "1.8 s older than the outage".into() });
        assert_eq!(known, "lost writes: those of 1.8 s at most (1.8 s older than the outage)\n");
    }
}
