//! `quoratectl explain`: why a switch is or is not due. One sentence first, then the votes and the rules under it.

use std::time::Duration;

use clap::Args;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

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
        Some(left) => format!("a switch could come in {} at the earliest{}", ms(left), clock_in(left)),
        None => "no time brings it: it waits for a person or an event".to_owned(),
    };
    format!("held by {}: {until}\n", printable(rule))
}

/// When that is by this machine's clock; nothing for what is about to come.
fn clock_in(left: u64) -> String {
    const FAR: u64 = 60_000;
    // Beyond a year nobody asks for the hour, and dates end somewhere.
    const MOST: u64 = 366 * 24 * 3_600_000;
    let at = OffsetDateTime::now_utc() + Duration::from_millis(left.min(MOST));
    let at =
        at.replace_nanosecond(0).ok().and_then(|at| at.format(&Rfc3339).ok()).filter(|_| (FAR..MOST).contains(&left));
    at.map(|at| format!(", about {at} by this machine's clock")).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_told_of_what_is_far_enough_and_not_too_far() {
        assert_eq!((clock_in(59_999), clock_in(u64::MAX)), (String::new(), String::new()));
        let said = clock_in(3_600_000);
        let at = said.strip_prefix(", about ").and_then(|rest| rest.strip_suffix(" by this machine's clock")).unwrap();
        let left = OffsetDateTime::parse(at, &Rfc3339).unwrap() - OffsetDateTime::now_utc();
        assert!((58..=60).contains(&left.whole_minutes()), "{said}");
    }
}
