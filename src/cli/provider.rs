//! `quoratectl provider`: what the nodes are configured for, what their credentials may do, and the least that they need.

use clap::{Args, Subcommand};
use serde::Serialize;
use tonic::Streaming;

use super::{
    connect::{Kind, Session, admin},
    drill::{Step, advice, findings, last},
    failure::{Exit, Failure},
    output::{Screen, ms, printable, table},
};
use crate::{
    core::record::{DomainName, Record, RecordType},
    dns::policy,
    proto::v1,
    view::inspect::{Grant, Provider, ProviderFindings, SilentNode},
};

/// The commands.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  quoratectl provider list\n  quoratectl provider check\n  \
    quoratectl provider policy rfc2136 --tsig-key quorate-key --zone example.com --record app:A")]
pub enum Command {
    /// The providers: grade, longest request, TTL, services, and the nodes that have credentials
    #[command(after_help = "Examples:\n  quoratectl provider list\n  quoratectl provider list -o json")]
    List,
    /// Has every node ask the providers with its own credentials, without writing
    #[command(
        after_help = "Examples:\n  quoratectl provider check\n  quoratectl provider check main --service app\n  \
        quoratectl provider check main --zone example.com --record app:A\n  \
        quoratectl provider check main --policy\n\n\
        Exit code 0: nothing that was found would stop a switch. 3: something would."
    )]
    Check(Check),
    /// Prints the least that a provider's credentials must be allowed, to paste; asks nobody
    #[command(after_help = concat!("Examples:\n  \
        quoratectl provider policy rfc2136 --tsig-key quorate-key --zone example.com --record app:A\n  \
        quoratectl provider policy ovh --endpoint ovh-eu --zone example.com --record app:A --record app:AAAA\n  \
        quoratectl provider policy global-accelerator --zone ACCELERATOR --record LISTENER:POOL --account 123456789012\n  \
        quoratectl provider policy ovh --zone ip-203.0.113.1 --record http-12345:POOL\n\n\
        `quoratectl provider check NAME --policy` prints it for a configured provider and the records that it serves."))]
    Policy(Policy),
}

/// What to check.
#[derive(Debug, Args)]
pub struct Check {
    /// The provider [default: all]
    name: Option<String>,
    /// Only the records of this service
    #[arg(long, value_name = "SERVICE", conflicts_with = "zone")]
    service: Option<String>,
    /// With --record: a record that no service has yet
    #[arg(long, value_name = "ZONE", requires = "record", requires = "name")]
    zone: Option<String>,
    /// `NAME:TYPE`, the name relative to the zone
    #[arg(long, value_name = "NAME:TYPE", requires = "zone")]
    record: Option<String>,
    /// Print the least-privilege policy as well
    #[arg(long)]
    policy: bool,
}

/// For what.
#[derive(Debug, Args)]
pub struct Policy {
    /// The provider's `type`
    #[arg(value_name = "TYPE", value_parser = clap::builder::PossibleValuesParser::new(policy::KINDS))]
    kind: String,
    /// The zone
    #[arg(long, value_name = "ZONE")]
    zone: DomainName,
    /// `NAME:TYPE`, the name relative to the zone; more than once for more records
    #[arg(long = "record", value_name = "NAME:TYPE", required = true)]
    records: Vec<String>,
    /// rfc2136: the name of the TSIG key
    #[arg(long, value_name = "NAME", default_value = "quorate-key")]
    tsig_key: DomainName,
    /// ovh: ovh-eu, ovh-ca, ovh-us or a base URL
    #[arg(long, value_name = "ENDPOINT", default_value = "ovh-eu")]
    endpoint: String,
    /// global-accelerator: the number of the AWS account
    #[arg(long, value_name = "NUMBER")]
    account: Option<String>,
}

#[derive(Serialize)]
struct Listed {
    providers: Vec<Provider>,
    silent: Vec<SilentNode>,
}

#[derive(Serialize)]
struct Checked {
    providers: Vec<ProviderFindings>,
    silent: Vec<SilentNode>,
}

#[derive(Serialize)]
struct Printed {
    kind: String,
    policy: Vec<Grant>,
}

/// Prints a policy; needs no cluster.
pub fn print_policy(of: Policy, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let Policy { kind, zone, records, tsig_key, endpoint, account } = of;
    let records: Vec<Record> = records.iter().map(|text| record(&zone, text)).collect::<Result<_, _>>()?;
    let grants = policy::least_privilege(&kind, &policy::Options { key: tsig_key, endpoint, account }, &records)
        .map_err(|why| Failure::new(Exit::Usage, why))?;
    let printed = Printed { kind, policy: grants.into_iter().map(Grant::from).collect() };
    screen.answer(&printed, |of| in_words(&of.policy))?;
    Ok(Exit::Done)
}

pub async fn run(command: Command, session: &Session, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    match command {
        Command::List => list(session, screen).await,
        Command::Check(of) => check(of, session, screen).await,
        Command::Policy(of) => print_policy(of, screen),
    }
}

async fn list(session: &Session, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let list = |channel, request| async { admin(channel).list_providers(request).await };
    let answer = session.call(Kind::Read, v1::ListProvidersRequest {}, list).await?;
    let listed = Listed {
        providers: answer.providers.into_iter().map(Provider::from).collect(),
        silent: answer.silent.into_iter().map(SilentNode::from).collect(),
    };
    screen.answer(&listed, |of| {
        if of.providers.is_empty() {
            return format!("no provider is configured on any node that answered\n{}", silent(&of.silent));
        }
        format!("{}{}", providers(&of.providers), silent(&of.silent))
    })?;
    Ok(Exit::Done)
}

fn providers(providers: &[Provider]) -> String {
    let numbers = |nodes: &[u64]| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let row = |of: &Provider| {
        let ttl = match of.least_ttl {
            0 | 1 => "as asked for".to_owned(),
            least => format!("{least} s at least"),
        };
        [
            of.provider.clone(),
            of.kind.clone().unwrap_or_else(|| "not configured".into()),
            of.grade.clone().unwrap_or_default(),
            ms(of.longest_request_ms),
            ttl,
            of.services.join(" "),
            numbers(&of.nodes),
            numbers(&of.missing_on),
        ]
    };
    let header = ["PROVIDER", "TYPE", "GRADE", "LONGEST REQUEST", "TTL", "SERVICES", "NODES", "MISSING ON"];
    table(header, providers.iter().map(row))
}

async fn check(of: Check, session: &Session, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let Check { name, service, zone, record: named, policy } = of;
    let mut request = v1::CheckProvidersRequest {
        provider: name.unwrap_or_default(),
        service: service.unwrap_or_default(),
        ..Default::default()
    };
    if let (Some(zone), Some(text)) = (zone, named) {
        let zone: DomainName = zone.parse().map_err(|error| usage(format!("{error}")))?;
        let record = record(&zone, &text)?;
        (request.zone, request.name, request.r#type) =
            (record.zone.to_string(), record.name.to_string(), record.rtype.to_string());
    }
    let check = |channel, request| async { admin(channel).check_providers(request).await };
    let messages: Streaming<v1::CheckProvidersResponse> = session.stream(request, check).await?;
    let report = last(messages, screen, |of| match of.message? {
        v1::check_providers_response::Message::Progress(text) => Some(Step::Progress(text)),
        v1::check_providers_response::Message::Report(report) => Some(Step::Report(report)),
    })
    .await?;
    let mut checked = Checked {
        providers: report.providers.into_iter().map(ProviderFindings::from).collect(),
        silent: report.silent.into_iter().map(SilentNode::from).collect(),
    };
    if !policy {
        checked.providers.iter_mut().for_each(|of| of.policy.clear());
    }
    let stops = checked.providers.iter().flat_map(|of| &of.findings).any(|found| found.stops);
    screen.answer(&checked, |of| {
        let all: Vec<_> = of.providers.iter().map(one).collect();
        format!("{}{}", all.join("\n"), silent(&of.silent))
    })?;
    Ok(if stops { Exit::Refused } else { Exit::Done })
}

fn one(of: &ProviderFindings) -> String {
    let grade = of.grade.as_deref().map(|grade| format!(", grade {grade}")).unwrap_or_default();
    let kind =
        of.kind.as_deref().map(|kind| format!(" ({})", printable(&format!("{kind}{grade}")))).unwrap_or_default();
    let policy = if of.policy.is_empty() { String::new() } else { format!("\n{}", in_words(&of.policy)) };
    format!("{}{kind}\n{}{}{policy}", printable(&of.provider), findings(&of.findings), advice(&of.findings))
}

/// A policy as it is pasted: what is not to be pasted stands behind a `#`.
fn in_words(policy: &[Grant]) -> String {
    if policy.is_empty() {
        return "# nothing is known of the rights that this type of provider needs\n".to_owned();
    }
    let lines = |text: &str| text.lines().map(|line| format!("{}\n", printable(line))).collect::<Vec<_>>().concat();
    policy.iter().map(|of| format!("# {}\n{}", printable(&of.place), lines(&of.text))).collect::<Vec<_>>().join("\n")
}

fn silent(nodes: &[SilentNode]) -> String {
    let line = |of: &SilentNode| {
        format!("node {} ({}) did not answer: {}\n", of.node, printable(&of.site), printable(&of.why))
    };
    nodes.iter().map(line).collect::<Vec<_>>().concat()
}

/// `app:A`; `@:A` for the zone itself.
fn record(zone: &DomainName, text: &str) -> Result<Record, Failure> {
    let wrong = |why: String| usage(format!("--record {text}: {why}"));
    let (name, rtype) = text.rsplit_once(':').ok_or_else(|| wrong("use NAME:TYPE, such as app:A".into()))?;
    let rtype: RecordType = rtype.parse().map_err(|error| wrong(format!("{error}")))?;
    let absolute = match name {
        "" | "@" => zone.to_string(),
        name if name.ends_with('.') => name.to_owned(),
        name => format!("{name}.{zone}"),
    };
    let name: DomainName = absolute.parse().map_err(|error| wrong(format!("{error}")))?;
    if !name.is_in(zone) {
        return Err(wrong(format!("`{name}` lies outside of the zone {zone}")));
    }
    let provider = "policy".parse().map_err(|error| wrong(format!("{error}")))?;
    Ok(Record { provider, zone: zone.clone(), name, rtype, ttl: 60 })
}

fn usage(message: String) -> Failure {
    Failure::new(Exit::Usage, message)
}
