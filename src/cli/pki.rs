//! `quoratectl pki`: the cluster's certificate authority and what it issues. Works on files; asks no node.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{ArgGroup, Args, Subcommand};
use serde::Serialize;

use super::{
    failure::{Exit, Failure},
    output::Screen,
};
use crate::{
    core::names::ClusterId,
    pki::{self, Paths, PkiError},
    tls::{Identity, Role},
};

/// The commands.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  quoratectl pki init ./pki --cluster prod\n  quoratectl pki issue ./pki --node-id 1"
)]
pub enum Command {
    /// Makes a CA: ca.crt and ca.key. Whoever has the key can do anything with the cluster: keep it off the nodes
    #[command(after_help = "Examples:\n  quoratectl pki init ./pki --cluster prod --days 3650")]
    Init {
        /// Where to; made if it is not there
        dir: PathBuf,
        /// The cluster's identity, which every fence will carry
        #[arg(long, value_name = "ID")]
        cluster: ClusterId,
        /// How long it is valid
        #[arg(long, default_value_t = 3650)]
        days: u32,
    },
    /// Issues a certificate to a node or a person
    #[command(after_help = "Examples:\n  \
        quoratectl pki issue ./pki --node-id 1\n  \
        quoratectl pki issue ./pki --person alice --role operator --days 30")]
    Issue(Issue),
}

/// Whom to issue to.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("whom").required(true).args(["node_id", "person"]))]
pub struct Issue {
    /// Where `pki init` made the CA
    dir: PathBuf,
    /// A node's id
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    node_id: Option<u64>,
    /// A DNS name or address by which other tools reach the node
    #[arg(long = "name", value_name = "NAME", requires = "node_id")]
    names: Vec<String>,
    /// A person's or a program's name; it stands in the evidence of what they do
    #[arg(long, value_name = "NAME", requires = "role")]
    person: Option<String>,
    /// What they may do: viewer (read), operator (switch, freeze), admin (everything)
    #[arg(long, requires = "person")]
    role: Option<Role>,
    /// How long it is valid
    #[arg(long, default_value_t = 365)]
    days: u32,
}

#[derive(Serialize)]
struct Issued {
    certificate: String,
    key: String,
}

pub fn run(command: Command, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let paths = match command {
        Command::Init { dir, cluster, days } => pki::init(&dir, &cluster, days)?,
        Command::Issue(Issue { dir, node_id, names, person, role, days }) => {
            let cluster = cluster_of(&dir)?;
            let identity = match (node_id, person, role) {
                (Some(id), ..) => Identity::Node { cluster, id },
                (None, Some(name), Some(role)) => Identity::Person { cluster, role, name },
                _ => return Err(Failure::new(Exit::Usage, "give --node-id, or --person and --role")),
            };
            pki::issue(&dir, &identity, &names, days)?
        }
    };
    let Paths { certificate, key } = paths;
    let issued = Issued { certificate: certificate.display().to_string(), key: key.display().to_string() };
    screen.answer(&issued, |of| format!("certificate {}\nkey         {}\n", of.certificate, of.key))?;
    Ok(Exit::Done)
}

/// The cluster that the CA in `dir` is of, by the name that `pki::init` gave it.
fn cluster_of(dir: &Path) -> Result<ClusterId, Failure> {
    let path = dir.join("ca.crt");
    let wrong = |why: &str| Failure::new(Exit::Usage, format!("{}: {why}", path.display()));
    let text = fs::read(&path)
        .map_err(|error| wrong(&error.to_string()).hint("make a CA first: `quoratectl pki init DIR --cluster ID`"))?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(&text).map_err(|_| wrong("no certificate in it (PEM)"))?;
    let certificate = pem.parse_x509().map_err(|error| wrong(&error.to_string()))?;
    let name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default();
    let cluster = name.strip_prefix("quorate ").and_then(|name| name.strip_suffix(" CA"));
    cluster.and_then(|name| name.parse().ok()).ok_or_else(|| wrong("not the CA of a Quorate cluster"))
}

impl From<PkiError> for Failure {
    fn from(error: PkiError) -> Self {
        let exit = match error {
            PkiError::Exists(_) => Exit::Refused,
            PkiError::Io { .. } | PkiError::Ca { .. } => Exit::Usage,
            PkiError::OtherCluster { .. } | PkiError::Request(_) => Exit::Invalid,
        };
        Self::new(exit, error.to_string())
    }
}
