//! `quoratectl explain`: why a switch is or is not due. One sentence first, then the votes and the rules under it.

use clap::Args;

use super::{
    connect::{Kind, Session, verdicts},
    failure::{Exit, Failure},
    output::{Screen, ms, printable, table},
    verdict::{age, headline, votes},
};
use crate::{
    proto::v1,
    view::{Explanation, Rule},
};

/// What to explain.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  quoratectl explain app\n  quoratectl explain app --to us-east-1 -o json")]
pub struct Arguments {
    /// The service
    service: String,
    /// The region that it would switch to [default: the first by preference that is up]
    #[arg(long, value_name = "REGION")]
    to: Option<String>,
}

pub async fn run(arguments: Arguments, session: &Session, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let Arguments { service, to } = arguments;
    let request = v1::ExplainRequest { service, to: to.unwrap_or_default(), consistency: session.consistency() };
    let explain = |channel, request| async { verdicts(channel).explain(request).await };
    let answer = session.call(Kind::Read, request, explain).await?;
    screen.answer(&Explanation::from(answer), in_words)?;
    Ok(Exit::Done)
}

fn in_words(of: &Explanation) -> String {
    let mut parts = vec![format!("{}\n", printable(&of.conclusion)), headline(&of.verdict), votes(&of.verdict.regions)];
    if let Some(candidate) = &of.candidate {
        let rules = rules(&of.rules);
        if !rules.is_empty() {
            parts.push(format!("rules for a switch to {}\n{rules}{}", printable(candidate), holds(of)));
        }
    }
    format!("{}{}", parts.join("\n"), age(&of.read))
}

/// What holds it longest, and until when.
fn holds(of: &Explanation) -> String {
    let Some(rule) = &of.held_by else { return String::new() };
    let until = match of.earliest_in_ms {
        Some(left) => format!("a switch could come in {} at the earliest", ms(left)),
        None => "no time brings it: it waits for a person or an event".to_owned(),
    };
    format!("held by {}: {until}\n", printable(rule))
}

/// Every rule with its answer and figure.
pub fn rules(rules: &[Rule]) -> String {
    let row = |rule: &Rule| {
        let outcome = if rule.overridden { format!("{} (overridden)", rule.outcome) } else { rule.outcome.clone() };
        let clears = match (rule.clears_in_ms, rule.earliest_in_ms) {
            (Some(left), _) => format!("in {}", ms(left)),
            (None, Some(left)) => format!("in {} at the earliest", ms(left)),
            (None, None) => String::new(),
        };
        [rule.rule.clone(), outcome, rule.figure.clone(), clears]
    };
    table(["RULE", "OUTCOME", "FIGURE", "PASSES"], rules.iter().map(row))
}
