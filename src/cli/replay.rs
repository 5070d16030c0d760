//! `quoratectl replay`: what another policy would have done.

use std::{
    fmt::Write as _,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    connect,
    failure::{Exit, Failure},
    history::{self, Bounds, for_people, moment},
    output::{Screen, ms, printable, table},
};
use crate::{
    core::names::{RegionName, ServiceName},
    grpc::Violation,
    replay::{self, Column, Options, Outage, ReplayError, Report, Source, SwitchLine, Tried, TriedError},
};

/// The largest policy or outage file, in bytes.
const FILE_LIMIT: u64 = 1 << 20;

/// What to try, and on what.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    quoratectl replay --from day.qh --policy strict.toml\n  \
    quoratectl replay --from cluster --since 24h --policy app.toml --plot app.svg\n  \
    quoratectl replay --from day.qh --policy strict.toml --service app --outages real.toml -o json")]
pub struct Arguments {
    /// A file of `history export`, or `cluster` for what the first node that answers has recorded
    #[arg(long, value_name = "FILE|cluster")]
    from: PathBuf,
    /// A service file, or one with nothing but [policy]; more than one may be given. Without any the recorded policy is tried
    #[arg(long = "policy", value_name = "FILE")]
    policies: Vec<PathBuf>,
    /// The services that a file with nothing but [policy] is for; all without any
    #[arg(long = "service", value_name = "NAME")]
    services: Vec<ServiceName>,
    #[command(flatten)]
    bounds: Bounds,
    /// From authorised to observed [default: as recorded, or their median, or 1s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    write_time: Option<Duration>,
    /// A switch is false when its outage is over within this time after it [default: the recorded cooldown]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    false_within: Option<Duration>,
    /// The real outages, TOML or JSON: [[outage]] with region, from, to and, if not for all, service
    #[arg(long, value_name = "FILE")]
    outages: Option<PathBuf>,
    /// Draws it, as SVG
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

pub async fn run(arguments: Arguments, connection: connect::Options, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let read_policy = |path: &PathBuf| Ok((path.display().to_string(), read(path)?));
    let files = arguments.policies.iter().map(read_policy).collect::<Result<Vec<_>, Failure>>()?;
    let outages = arguments.outages.as_deref().map(outages).transpose()?;
    let options = Options {
        tried: Tried::new(files, arguments.services),
        since: arguments.bounds.since,
        until: arguments.bounds.until,
        write_time: arguments.write_time,
        false_within: arguments.false_within,
        outages,
    };
    let source = if arguments.from == Path::new("cluster") {
        let session = connection.session()?;
        Source::Bytes(history::in_memory(&session, screen, &arguments.bounds).await?)
    } else {
        Source::File(arguments.from)
    };
    let report = replay::run(&source, &options).map_err(failure)?;
    if let Some(plot) = &arguments.plot {
        let cannot = |error| Failure::new(Exit::Usage, format!("cannot write {}: {error}", plot.display()));
        fs::write(plot, replay::svg(&report)).map_err(cannot)?;
    }
    screen.answer(&report, in_words)?;
    if let Some(plot) = arguments.plot.filter(|_| for_people(screen)) {
        screen.progress(&format!("plotted: {}", plot.display()))?;
    }
    Ok(Exit::Done)
}

fn failure(error: ReplayError) -> Failure {
    let exit = match &error {
        ReplayError::Io(_) => Exit::Usage,
        ReplayError::Empty(_) => Exit::Invalid,
        ReplayError::Tried(TriedError::NoService { .. }) => Exit::NotFound,
        ReplayError::Tried(_) => Exit::Invalid,
    };
    let text = error.to_string();
    let mut lines = text.trim_end().lines();
    let mut failure = Failure::new(exit, lines.next().unwrap_or_default());
    let violation = |line: &str| Violation { field: "policy".into(), description: line.to_owned() };
    failure.more.violations = lines.map(violation).collect();
    failure
}

fn read(path: &Path) -> Result<String, Failure> {
    let cannot = |why: String| Failure::new(Exit::Usage, format!("cannot read {}: {why}", path.display()));
    let file = fs::File::open(path).map_err(|error| cannot(error.to_string()))?;
    let mut text = String::new();
    file.take(FILE_LIMIT + 1).read_to_string(&mut text).map_err(|error| cannot(error.to_string()))?;
    if text.len() as u64 > FILE_LIMIT { Err(cannot(format!("it is longer than {FILE_LIMIT} bytes"))) } else { Ok(text) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutageFile {
    #[serde(default)]
    outage: Vec<OutageEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutageEntry {
    service: Option<ServiceName>,
    region: RegionName,
    from: Moment,
    to: Option<Moment>,
}

/// A text as `--since` takes it, or a date-time of TOML.
#[derive(Deserialize)]
#[serde(untagged)]
enum Moment {
    Toml(toml::value::Datetime),
    Text(String),
}

impl Moment {
    fn wall(&self) -> Result<u64, String> {
        match self {
            Self::Toml(datetime) => moment(&datetime.to_string()),
            Self::Text(text) => moment(text),
        }
    }
}

fn outages(path: &Path) -> Result<Vec<Outage>, Failure> {
    outages_of(&read(path)?).map_err(|why| Failure::new(Exit::Invalid, format!("{}: {why}", path.display())))
}

/// The outages in a text, TOML or JSON.
pub(super) fn outages_of(text: &str) -> Result<Vec<Outage>, String> {
    let file: OutageFile = if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|error| error.to_string())?
    } else {
        toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?
    };
    let outage = |(i, of): (usize, OutageEntry)| {
        let wall = |key: &str, of: &Moment| of.wall().map_err(|why| format!("outage {i}, {key}: {why}"));
        let (from, to) = (wall("from", &of.from)?, of.to.as_ref().map(|to| wall("to", to)).transpose()?);
        if to.is_some_and(|to| to < from) {
            return Err(format!("outage {i} ends before it begins"));
        }
        Ok(Outage { service: of.service, region: of.region, from, to })
    };
    file.outage.into_iter().enumerate().map(outage).collect()
}

fn clock(wall: u64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(wall) * 1_000_000);
    at.ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| format!("{wall} ms"))
}

fn in_words(of: &Report) -> String {
    let r = &of.recording;
    let mut text = format!(
        "{} to {}: {}, {} entries, {} reports, {} {}\n",
        clock(r.from_wall_ms),
        clock(r.to_wall_ms),
        ms(r.span_ms),
        r.entries,
        r.reports,
        r.terms,
        if r.terms == 1 { "term" } else { "terms" },
    );
    for hole in &r.holes {
        let until = hole.until_wall_ms.map_or_else(|| "the end".to_owned(), clock);
        let _ =
            writeln!(text, "missing: entries after {} ({}) until {until}", hole.after_index, clock(hole.after_wall_ms));
    }
    for damage in &r.damage {
        let _ = writeln!(text, "damaged: {}", printable(damage));
    }
    if !of.faithful {
        text.push_str("note: the recorded policy does not make the recorded switches here; see holes, or what people did meanwhile\n");
    }
    if !of.policy.is_empty() {
        let rows = of.policy.iter().map(|l| [l.service.clone(), l.key.into(), l.recorded.clone(), l.tried.clone()]);
        let _ = write!(text, "\n{}", table(["SERVICE", "POLICY", "RECORDED", "TRIED"], rows));
    }
    let _ = write!(text, "\n{}", summary(of));
    let mut all = vec![];
    for (column, switches) in
        [("happened", &of.happened), ("recorded", &of.recorded.switches), ("tried", &of.tried.switches)]
    {
        all.extend(switches.iter().map(|switch| (column, switch)));
    }
    all.sort_by_key(|(_, switch)| (switch.service.clone(), switch.log_ms));
    let header = ["SERVICE", "AT", "COLUMN", "EPOCH", "CAUSE", "FROM", "TO", "INDEX", "DETECTED IN", "FALSE"];
    let _ = write!(text, "\n{}", table(header, all.into_iter().map(|(column, switch)| row(column, switch))));
    let notes = [("recorded", &of.recorded), ("tried", &of.tried)];
    for (column, of) in notes {
        for frozen in &of.frozen {
            let _ = writeln!(
                text,
                "{column}: {} frozen at {}: {}",
                frozen.service,
                clock(frozen.wall_ms),
                printable(&frozen.reason)
            );
        }
        for missed in &of.missed {
            let to = missed.to_wall_ms.map_or_else(|| "the end".to_owned(), clock);
            let _ = writeln!(
                text,
                "{column}: {} stayed in {} from {} to {to}: a missed outage",
                missed.service,
                missed.region,
                clock(missed.from_wall_ms)
            );
        }
        for note in &of.notes {
            let _ = writeln!(text, "{column}: {}", printable(note));
        }
    }
    text
}

fn summary(of: &Report) -> String {
    let happened = of.happened.iter().filter(|of| matches!(of.cause, "failover" | "failback")).count();
    let span = |span: Option<u64>| span.map(ms).unwrap_or_default();
    let (old, new): (&Column, &Column) = (&of.recorded, &of.tried);
    let row = |what: &str, happened: String, of: fn(&Column) -> String| [what.to_owned(), happened, of(old), of(new)];
    let rows = [
        row("automatic switches", happened.to_string(), |of| of.automatic.to_string()),
        row("false ones", String::new(), |of| of.false_switches.to_string()),
        row("missed outages", String::new(), |of| of.missed.len().to_string()),
        row("freezes, budget spent", String::new(), |of| of.frozen.len().to_string()),
        ["detection, median".to_owned(), String::new(), span(old.detection_p50_ms), span(new.detection_p50_ms)],
        ["detection, slowest".to_owned(), String::new(), span(old.detection_max_ms), span(new.detection_max_ms)],
    ];
    table(["", "HAPPENED", "RECORDED POLICY", "TRIED POLICY"], rows)
}

fn row(column: &str, of: &SwitchLine) -> [String; 10] {
    [
        of.service.clone(),
        clock(of.wall_ms),
        column.to_owned(),
        of.epoch.to_string(),
        of.cause.to_owned(),
        of.from.clone().unwrap_or_default(),
        of.to.clone(),
        of.index.to_string(),
        of.detection_ms.map(ms).unwrap_or_default(),
        of.false_because.clone().unwrap_or_default(),
    ]
}
