//! What the demo says: a line of text a person reads, or one JSON object a line. It goes to standard output.

use std::{
    io::{self, IsTerminal, Write},
    time::Instant,
};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Map, Value};

/// How the demo tells its story.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// One JSON object a line; the last one is the summary
    Json,
}

/// What kind of thing happened. The words stand in both formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A chapter of the demo begins.
    Step,
    /// A node started, was killed or came back.
    Node,
    /// Who leads.
    Leader,
    /// A service was applied.
    Service,
    /// A region was killed or revived.
    Region,
    /// A site changed its opinion.
    Vote,
    /// The tally changed.
    Verdict,
    /// A switch went one phase further.
    Switch,
    /// The DNS server took or refused an update.
    Update,
    /// What the DNS server answers.
    Dns,
    /// The demo checked something.
    Check,
    /// The demo could not go on.
    Failed,
    /// The end.
    Summary,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Node => "node",
            Self::Leader => "leader",
            Self::Service => "service",
            Self::Region => "region",
            Self::Vote => "vote",
            Self::Verdict => "verdict",
            Self::Switch => "switch",
            Self::Update => "update",
            Self::Dns => "dns",
            Self::Check => "check",
            Self::Failed => "failed",
            Self::Summary => "summary",
        }
    }

    /// The ANSI colour.
    fn colour(self) -> &'static str {
        match self {
            Self::Step => "1",
            Self::Failed => "31",
            Self::Region => "33",
            Self::Vote | Self::Verdict => "36",
            Self::Switch => "35",
            Self::Update | Self::Dns | Self::Check | Self::Summary => "32",
            Self::Node | Self::Leader | Self::Service => "2",
        }
    }
}

/// The demo's last line.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// From the region's death to the verdict, in ms.
    pub outage_to_verdict_ms: u64,
    /// From the region's death to the instant from which DNS answers the other region, in ms.
    pub outage_to_dns_ms: u64,
    /// What no failover of this policy can beat: from the death to the end of the first failed probe, and fall − 1 intervals.
    pub floor_ms: u64,
    /// `outage_to_dns_ms / floor_ms`.
    pub ratio: f64,
    /// The switches, the oldest first.
    pub switches: Vec<SwitchLine>,
    /// What must not have happened and did.
    pub violations: Vec<String>,
}

/// One switch in the summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SwitchLine {
    /// Its number.
    pub epoch: u64,
    /// Empty for the adoption.
    pub from: String,
    /// The region it made active.
    pub to: String,
    /// `adopt`, `failover`, `manual` …
    pub cause: String,
    /// `observed` when it ended.
    pub status: String,
}

/// Standard output, with the demo's clock.
#[derive(Debug)]
pub struct Output {
    format: Format,
    colours: bool,
    start: Instant,
}

#[derive(Serialize)]
struct Line<'a> {
    event: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_ms: Option<u64>,
    text: &'a str,
    #[serde(flatten)]
    fields: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct SummaryEvent<'a> {
    event: Kind,
    #[serde(flatten)]
    summary: &'a Summary,
}

impl Output {
    /// Colours are used on a terminal, unless `NO_COLOR` is set (<https://no-color.org>).
    pub fn new(format: Format) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { format, colours: io::stdout().is_terminal() && !no_colour, start: Instant::now() }
    }

    /// Whether lines are JSON.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Tells one event; `fields` is a JSON object, for programs.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn event(&self, at: Instant, kind: Kind, text: &str, fields: &Value) -> io::Result<()> {
        let at = at.saturating_duration_since(self.start);
        let line = if self.is_json() {
            let none = Map::new();
            let fields = fields.as_object().unwrap_or(&none);
            serde_json::to_string(&Line { event: kind, at_ms: Some(millis(at)), text, fields })?
        } else if kind == Kind::Step {
            format!("\n{}", self.painted(kind, text))
        } else {
            format!("{:>8.3} s  {} {text}", at.as_secs_f64(), self.painted(kind, &format!("{:<8}", kind.word())))
        };
        print(&line)
    }

    /// Text alone, for people alone.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn plain(&self, text: &str) -> io::Result<()> {
        if self.is_json() { Ok(()) } else { print(text) }
    }

    /// Tells the end.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn summary(&self, summary: &Summary) -> io::Result<()> {
        if self.is_json() {
            return print(&serde_json::to_string(&SummaryEvent { event: Kind::Summary, summary })?);
        }
        let Summary { outage_to_verdict_ms, outage_to_dns_ms, floor_ms, ratio, switches, violations } = summary;
        let mut lines = vec![format!("\n{}", self.painted(Kind::Step, "Summary"))];
        lines.push(format!("  outage to verdict  {outage_to_verdict_ms:>6} ms"));
        lines.push(format!(
            "  outage to DNS      {outage_to_dns_ms:>6} ms  ({ratio:.3} times the policy's floor of {floor_ms} ms)"
        ));
        for switch in switches {
            let SwitchLine { epoch, from, to, cause, status } = switch;
            let route = if from.is_empty() { to.clone() } else { format!("{from} → {to}") };
            lines.push(format!("  epoch {epoch}            {cause:<9} {route}, {status}"));
        }
        if violations.is_empty() {
            lines.push(format!("  violations         {}", self.painted(Kind::Summary, "none")));
        }
        lines.extend(violations.iter().map(|said| format!("  {} {said}", self.painted(Kind::Failed, "VIOLATION"))));
        print(&lines.join("\n"))
    }

    fn painted(&self, kind: Kind, text: &str) -> String {
        if self.colours { format!("\x1b[{}m{text}\x1b[0m", kind.colour()) } else { text.to_owned() }
    }
}

/// Whole milliseconds.
pub fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn print(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_line_has_its_fields_in_order() {
        let line = SwitchLine {
            epoch: 1,
            from: String::new(),
            to: "eu-west-3".into(),
            cause: "adopt".into(),
            status: "observed".into(),
        };
        let summary = Summary {
            outage_to_verdict_ms: 2900,
            outage_to_dns_ms: 2950,
            floor_ms: 2600,
            ratio: 1.135,
            switches: vec![line],
            violations: vec![],
        };
        let json = serde_json::to_string(&SummaryEvent { event: Kind::Summary, summary: &summary }).unwrap();
        assert_eq!(
            json,
            "{\"event\":\"summary\",\"outage_to_verdict_ms\":2900,\"outage_to_dns_ms\":2950,\"floor_ms\":2600,\
             \"ratio\":1.135,\"switches\":[{\"epoch\":1,\"from\":\"\",\"to\":\"eu-west-3\",\"cause\":\"adopt\",\
             \"status\":\"observed\"}],\"violations\":[]}"
        );
    }
}
