//! `quoratectl dynamodb`: the replicas of a table, making one, and how far they are behind.
//!
//! `replicas` and `replicate` ask AWS with the credentials of whoever runs them, and need no cluster; `lag` asks the cluster,
//! which measures.

mod lag;
mod replicas;
mod replicate;

use clap::{Args, Subcommand};

use super::{
    connect,
    failure::{Exit, Failure},
    output::Screen,
};
use crate::{
    aws::{Access, Fault, SET_THE_CLOCK, Settings},
    core::{draft::url, service::Table},
    dynamodb::DynamoDb,
};

/// The commands.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  \
    quoratectl dynamodb replicas sessions --region us-east-1\n  \
    quoratectl dynamodb replicate sessions --region eu-west-3 --to us-east-1\n  \
    quoratectl dynamodb lag app")]
pub enum Command {
    /// The replicas of a table, and what their states mean
    #[command(after_help = "Examples:\n  \
        quoratectl dynamodb replicas sessions --region us-east-1\n  \
        AWS_PROFILE=ops quoratectl dynamodb replicas sessions --region us-east-1 -o json")]
    Replicas(replicas::Arguments),
    /// Makes a replica and waits until it can be used; run it again to go on waiting
    #[command(after_help = "Examples:\n  \
        quoratectl dynamodb replicate sessions --region eu-west-3 --to us-east-1\n  \
        quoratectl dynamodb replicate sessions --region eu-west-3 --to us-east-1 --auto-scaled -o json")]
    Replicate(replicate::Arguments),
    /// How far the tables of the other regions are behind the active one, as the cluster measures it
    #[command(after_help = "Examples:\n  quoratectl dynamodb lag\n  quoratectl dynamodb lag app -o json")]
    Lag {
        /// The service [default: all]
        service: Option<String>,
    },
}

/// Which table, and how AWS is reached.
#[derive(Debug, Args)]
struct At {
    /// The table
    table: String,
    /// The AWS region to ask: one that has the table, and in an outage one that lives
    #[arg(long, value_name = "REGION", env = "AWS_REGION")]
    region: String,
    /// A profile of ~/.aws/config [default: the standard credentials of AWS]
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Another endpoint than AWS's own, for all regions
    #[arg(long, value_name = "URL", value_parser = endpoint)]
    endpoint_url: Option<String>,
}

/// As in a node's configuration.
fn endpoint(text: &str) -> Result<String, String> {
    let of = url::parse(text)?;
    if of.path == "/" { Ok(text.trim_end_matches('/').to_owned()) } else { Err("an endpoint has no path".to_owned()) }
}

impl At {
    fn open(self) -> (DynamoDb, Table) {
        let Self { table, region, profile, endpoint_url } = self;
        let settings = Settings { endpoint_url, profile, ..Settings::default() };
        (DynamoDb::new(Access::new(settings)), Table { table, region })
    }
}

pub async fn run(command: Command, connection: connect::Options, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    match command {
        Command::Replicas(arguments) => replicas::run(arguments, screen).await,
        Command::Replicate(arguments) => replicate::run(arguments, screen).await,
        Command::Lag { service } => lag::run(service.unwrap_or_default(), &connection.session()?, screen).await,
    }
}

/// What AWS said, as an exit code and a way on.
fn failure(dynamodb: &DynamoDb, table: &Table, fault: &Fault) -> Failure {
    let clock_is_off = dynamodb.clock().reading().and_then(Result::err);
    let Table { table, region } = table;
    let said = format!("{table} in {region}: {fault}");
    match fault {
        Fault::Down(_) => Failure::new(Exit::Unreachable, said).hint(
            "try again, and see that the region's name is right; if the region is down, ask another one that has the \
                   table with --region",
        ),
        Fault::Ours(_) => Failure::new(Exit::Forbidden, said)
            .hint("set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give --profile"),
        Fault::Refused { .. } if fault.is("ResourceNotFoundException") => {
            Failure::new(Exit::NotFound, format!("there is no table `{table}` in {region}"))
                .hint("give the region that has it with --region")
        }
        Fault::Refused { .. } if fault.is_about_rights() => {
            let denied = fault.is("AccessDeniedException");
            let hint = match clock_is_off {
                Some(figure) if !denied => format!("{figure}: {SET_THE_CLOCK}"),
                _ if denied => "the README lists the rights that each command needs".to_owned(),
                _ => "AWS does not take these credentials: renew them, or give others with AWS_PROFILE or --profile"
                    .to_owned(),
            };
            Failure::new(Exit::Forbidden, said).hint(hint)
        }
        Fault::Refused { .. } => Failure::new(Exit::Refused, said),
    }
}
