//! `quoratectl dynamodb replicas`: every replica as one region sees it, and as it sees itself.

use std::fmt::Write as _;

use clap::Args;
use futures::future::join_all;
use serde::Serialize;

use super::{At, failure};
use crate::{
    cli::{
        failure::{Exit, Failure},
        output::{Screen, printable, table},
    },
    core::service::Table,
    dynamodb::{Description, DynamoDb, Tables, status::meaning},
};

/// Which table.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    at: At,
}

#[derive(Serialize)]
struct Answered {
    table: String,
    /// The region asked.
    asked: String,
    billing: String,
    stream: Option<String>,
    global_version: Option<String>,
    replicas: Vec<Line>,
}

#[derive(Clone, Serialize)]
struct Line {
    region: String,
    /// As the region asked sees it.
    status: String,
    percent: Option<String>,
    aws_says: Option<String>,
    /// As the region itself sees it; `null` when it does not answer.
    itself: Option<String>,
    itself_not_because: Option<String>,
    usable: bool,
    means: String,
    advice: Option<String>,
}

pub(super) async fn run(arguments: Arguments, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let (dynamodb, at) = arguments.at.open();
    let seen = dynamodb.describe(&at).await.map_err(|fault| failure(&dynamodb, &at, &fault))?;
    let lines = lines(&dynamodb, &at, &seen).await;
    let answered = Answered {
        table: at.table,
        asked: at.region,
        billing: seen.billing,
        stream: seen.stream,
        global_version: seen.global_version,
        replicas: lines,
    };
    screen.answer(&answered, in_words)?;
    Ok(Exit::Done)
}

/// The region asked first, for it is a replica like the others.
async fn lines(dynamodb: &DynamoDb, at: &Table, seen: &Description) -> Vec<Line> {
    let others = seen.replicas.keys().filter(|region| **region != at.region);
    let of_other = |region: &String| {
        let other = Table { table: at.table.clone(), region: region.clone() };
        let line = &seen.replicas[region];
        async move {
            let itself = dynamodb.describe(&other).await;
            let (itself, why) = match itself {
                Ok(of) => (Some(of.status), None),
                Err(fault) => (None, Some(fault.to_string())),
            };
            let percent = line.progress.clone();
            self::line(&other.region, &line.status, (itself, why), percent, line.description.clone())
        }
    };
    let own = seen.replicas.get(&at.region);
    let status = own.map_or(&seen.status, |line| &line.status);
    let description = own.and_then(|line| line.description.clone());
    let own = line(&at.region, status, (Some(seen.status.clone()), None), None, description);
    [vec![own], join_all(others.map(of_other)).await].concat()
}

fn line(
    region: &str,
    status: &str,
    (itself, why): (Option<String>, Option<String>),
    percent: Option<String>,
    aws_says: Option<String>,
) -> Line {
    let of = meaning(status);
    Line {
        region: region.to_owned(),
        status: status.to_owned(),
        percent,
        aws_says,
        usable: of.usable && itself.as_deref().is_some_and(|itself| meaning(itself).usable),
        itself,
        itself_not_because: why,
        means: of.means.to_owned(),
        advice: Some(of.advice.to_owned()).filter(|advice| !advice.is_empty()),
    }
}

fn in_words(of: &Answered) -> String {
    let row = |line: &Line| {
        let percent = line.percent.as_ref().map(|percent| format!(" {percent} %")).unwrap_or_default();
        let itself = match (&line.itself, &line.itself_not_because) {
            (Some(itself), _) => itself.clone(),
            (None, why) => format!("no answer: {}", why.as_deref().unwrap_or_default()),
        };
        let usable = if line.usable { "yes" } else { "no" };
        [line.region.clone(), format!("{}{percent}", line.status), itself, usable.to_owned(), line.means.clone()]
    };
    let seen_by = format!("SEEN BY {}", of.asked.to_uppercase());
    let mut text = table(["REGION", &seen_by, "SAYS ITSELF", "USABLE", "THAT MEANS"], of.replicas.iter().map(row));
    for line in &of.replicas {
        if let Some(said) = &line.aws_says {
            let _ = writeln!(text, "{}: AWS says: {}", line.region, printable(said));
        }
        if let Some(advice) = &line.advice {
            let _ = writeln!(text, "{}: {advice}", line.region);
        }
    }
    if of.replicas.len() == 1 {
        let way = format!("quoratectl dynamodb replicate {} --region {} --to REGION", of.table, of.asked);
        let _ = writeln!(text, "no replicas: `{way}` makes one");
    }
    text
}
