//! `quoratectl verdict`: what the cluster thinks of its services.

use std::fmt::Write as _;

use clap::Subcommand;
use serde::Serialize;
use time::OffsetDateTime;

use super::{
    connect::{Kind, Session, verdicts},
    failure::{Exit, Failure},
    output::{Screen, ms, printable, table},
};
use crate::{
    proto::v1,
    view::{Read, Region, Service},
};

/// The commands.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  quoratectl verdict list\n  quoratectl verdict get app --exit-code")]
pub enum Command {
    /// One service: its regions, and what each site holds of them
    #[command(after_help = "Examples:\n  quoratectl verdict get app\n  quoratectl verdict get app --exit-code -o json")]
    Get {
        /// The service
        service: String,
        /// End with 10 when the active region is down, 11 when that is undecided
        #[arg(long)]
        exit_code: bool,
    },
    /// Every service, one line each
    #[command(
        after_help = "Examples:\n  quoratectl verdict list\n  quoratectl verdict list --consistency stale -o json"
    )]
    List,
    /// The current verdicts, then each change as the node that answers applies it; ends with Ctrl-C
    #[command(after_help = "Examples:\n  quoratectl verdict watch\n  quoratectl verdict watch app shop -o json")]
    Watch {
        /// The services; all without any
        services: Vec<String>,
    },
}

#[derive(Serialize)]
struct One {
    verdict: Service,
    read: Read,
}

#[derive(Serialize)]
struct Many {
    verdicts: Vec<Service>,
    read: Read,
}

#[derive(Serialize)]
struct Change {
    verdict: Service,
    removed: bool,
    read: Read,
}

pub async fn run(command: Command, session: &Session, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let consistency = session.consistency();
    match command {
        Command::Get { service, exit_code } => {
            let request = v1::GetVerdictRequest { service, consistency };
            let get = |channel, request| async { verdicts(channel).get_verdict(request).await };
            let answer = session.call(Kind::Read, request, get).await?;
            let one = One {
                verdict: answer.verdict.unwrap_or_default().into(),
                read: answer.read.unwrap_or_default().into(),
            };
            screen.answer(&one, |one| format!("{}{}", in_full(&one.verdict), age(&one.read)))?;
            Ok(match one.verdict.active_verdict() {
                "up" => Exit::Done,
                _ if !exit_code => Exit::Done,
                "down" => Exit::Down,
                _ => Exit::Undecided,
            })
        }
        Command::List => {
            let request = v1::ListVerdictsRequest { consistency };
            let list = |channel, request| async { verdicts(channel).list_verdicts(request).await };
            let answer = session.call(Kind::Read, request, list).await?;
            let many = Many {
                verdicts: answer.verdicts.into_iter().map(Service::from).collect(),
                read: answer.read.unwrap_or_default().into(),
            };
            screen.answer(&many, |many| format!("{}{}", listed(&many.verdicts), age(&many.read)))?;
            Ok(Exit::Done)
        }
        Command::Watch { services } => watch(services, session, screen).await,
    }
}

async fn watch(services: Vec<String>, session: &Session, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let request = v1::WatchVerdictsRequest { services };
    let open = |channel, request| async { verdicts(channel).watch_verdicts(request).await };
    let mut changes = session.stream(request, open).await?;
    loop {
        match changes.message().await {
            Ok(Some(change)) => {
                let change = Change {
                    verdict: change.verdict.unwrap_or_default().into(),
                    removed: change.removed,
                    read: change.read.unwrap_or_default().into(),
                };
                screen.event(&change, line)?;
            }
            Ok(None) => return Err(Failure::new(Exit::Unreachable, "the node ended the stream: it is shutting down")),
            Err(status) => return Err(Failure::from_status(&status)),
        }
    }
}

fn listed(services: &[Service]) -> String {
    if services.is_empty() {
        return "no services: apply one with `quoratectl service apply FILE`\n".into();
    }
    let row = |service: &Service| {
        let regions: Vec<_> = service.regions.iter().map(|of| format!("{} {}", of.region, of.verdict)).collect();
        [
            service.service.clone(),
            service.active_region.clone().unwrap_or_default(),
            service.epoch.to_string(),
            service.phase.clone(),
            regions.join(", "),
            notes(service).iter().map(|(what, why)| format!("{what}: {why}")).collect::<Vec<_>>().join("; "),
        ]
    };
    table(["SERVICE", "ACTIVE", "EPOCH", "PHASE", "VERDICTS", "NOTES"], services.iter().map(row))
}

/// What an operator must not miss.
fn notes(service: &Service) -> Vec<(&'static str, &str)> {
    let all = [("frozen", &service.frozen), ("drift", &service.drift), ("trouble", &service.trouble)];
    all.into_iter().filter_map(|(what, why)| Some((what, why.as_deref()?))).collect()
}

/// One service's head: name, state, and what an operator must not miss.
pub fn headline(service: &Service) -> String {
    let mut text = match &service.active_region {
        Some(region) => {
            // Until the switch is over, nobody may rely on the record's answering it.
            let standing = if service.phase == "serving" { "is active" } else { "shall be active" };
            format!("{}: {region} {standing}, epoch {}, {}\n", service.service, service.epoch, service.phase)
        }
        None => format!("{}: no region is active yet, {}\n", service.service, service.phase),
    };
    for (what, why) in notes(service) {
        let _ = writeln!(text, "{what}: {}", printable(why));
    }
    text
}

/// What each site holds, one line a region and site.
pub fn votes(regions: &[Region]) -> String {
    let rows = regions.iter().flat_map(|region| {
        region.opinions.iter().map(|of| [region.region.clone(), of.site.clone(), of.opinion.clone(), of.reason.clone()])
    });
    table(["REGION", "SITE", "OPINION", "WHY"], rows)
}

/// How old an answer is; empty for what was read from a quorum.
pub fn age(read: &Read) -> String {
    match read.age_ms {
        Some(age) => format!("\nas node {} last heard {} ago\n", read.answered_by, ms(age)),
        None => String::new(),
    }
}

fn in_full(service: &Service) -> String {
    let row = |of: &Region| {
        [
            of.region.clone(),
            of.verdict.clone(),
            ms(of.since_ms),
            format!("{} of {}", of.sites_up, of.sites_total),
            format!("{} of {}", of.sites_down, of.sites_total),
            of.sites_needed.to_string(),
            of.failing_dependencies.join(", "),
        ]
    };
    let header = ["REGION", "VERDICT", "FOR", "SITES UP", "SITES DOWN", "NEEDED", "FAILING DEPENDENCIES"];
    let regions = table(header, service.regions.iter().map(row));
    format!("{}\n{regions}\n{}", headline(service), votes(&service.regions))
}

fn line(change: &Change) -> String {
    let (hour, minute, second) = OffsetDateTime::now_utc().to_hms();
    let now = format!("{hour:02}:{minute:02}:{second:02}Z");
    let service = &change.verdict;
    if change.removed {
        return format!("{now} {}: removed\n", printable(&service.service));
    }
    let region = |of: &Region| match of.verdict.as_str() {
        "down" => format!("{} down ({} of {})", of.region, of.sites_down, of.sites_total),
        "up" => format!("{} up ({} of {})", of.region, of.sites_up, of.sites_total),
        other => format!("{} {other} ({} up, {} down of {})", of.region, of.sites_up, of.sites_down, of.sites_total),
    };
    let regions: Vec<_> = service.regions.iter().map(region).collect();
    let active = service.active_region.as_deref().unwrap_or("none");
    let mut line = format!(
        "{}: active {active}, epoch {}, {}; {}",
        service.service,
        service.epoch,
        service.phase,
        regions.join(", ")
    );
    for (what, why) in notes(service) {
        let _ = write!(line, "; {what}: {why}");
    }
    format!("{now} {}\n", printable(&line))
}
