//! `quoratectl audit`: who did what to the cluster.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{
    connect::{Kind, Session, admin},
    failure::{Exit, Failure},
    history::moment,
    output::{Screen, table},
    verdict::age,
};
use crate::{
    proto::v1,
    view::{AuditEntry, Read},
};

/// The most that a node hands out at once.
const PAGE: u32 = 1000;

/// The commands.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  quoratectl audit list --service app")]
pub enum Command {
    /// The administrative acts, the newest first: who asked for what, and what came of it
    #[command(after_help = "Examples:\n  \
        quoratectl audit list\n  \
        quoratectl audit list --service app --limit 10 -o json\n  \
        quoratectl audit list --since 24h\n\n\
        What the state refused is listed too. An act on members or leadership that stays `begun` lost the node that was asked\n\
        before its end was known: `quoratectl member list` shows what became of it. The last 1,000 acts are kept.")]
    List(List),
}

/// Which of them.
#[derive(Debug, Args)]
pub struct List {
    /// Of this service; of all and of the cluster without one
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
    /// From then: `2026-11-23T00:00` (UTC), RFC 3339, or so long ago (`24h`)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<u64>,
}

#[derive(Serialize)]
struct Listed {
    entries: Vec<AuditEntry>,
    /// How many older ones the cluster forgot.
    forgotten: u64,
    read: Read,
}

pub async fn run(command: Command, session: &Session, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let Command::List(List { service, limit, since }) = command;
    let request = v1::ListAuditLogRequest {
        service: service.unwrap_or_default(),
        limit: limit.min(PAGE),
        before_index: 0,
        since_wall_ms: since.unwrap_or_default(),
        consistency: session.consistency(),
    };
    let list = |channel, request| async { admin(channel).list_audit_log(request).await };
    let answer = session.call(Kind::Read, request, list).await?;
    let listed = Listed {
        entries: answer.entries.into_iter().map(AuditEntry::from).collect(),
        forgotten: answer.forgotten,
        read: answer.read.unwrap_or_default().into(),
    };
    screen.answer(&listed, in_words)?;
    Ok(Exit::Done)
}

fn in_words(of: &Listed) -> String {
    let row = |of: &AuditEntry| {
        let outcome = of.why.as_ref().map_or_else(|| of.outcome.clone(), |why| format!("{}: {why}", of.outcome));
        [
            of.at.clone().unwrap_or_default(),
            format!("{} ({})", of.by, of.role),
            of.act.clone(),
            of.service.clone().unwrap_or_default(),
            of.detail.clone().unwrap_or_default(),
            of.reason.clone().unwrap_or_default(),
            outcome,
            of.index.to_string(),
        ]
    };
    let header = ["AT", "BY", "ACT", "SERVICE", "WHAT", "REASON", "OUTCOME", "INDEX"];
    let entries = table(header, of.entries.iter().map(row));
    let entries = if entries.is_empty() { "no administrative act is recorded\n".to_owned() } else { entries };
    format!("{entries}{}", age(&of.read))
}
