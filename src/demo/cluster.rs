//! Three real nodes on loopback: certificates, configurations, processes, and what they say of themselves.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use data_encoding::BASE64;
use tempfile::TempDir;
use tonic::Code;

use super::{
    audit::Hashes,
    client::{Client, request},
    nameserver::Key,
    process::{Process, run_to_end},
};
use crate::{
    core::names::{ClusterId, NodeId},
    pki,
    proto::v1,
    tls::{ANY_NODE, Identity, PeerTls, Role},
};

/// The cluster's id, which its fences carry.
pub const CLUSTER: &str = "demo";
/// The name of the DNS provider in every node's configuration.
pub const PROVIDER: &str = "main";
/// How long the demo's certificates are valid, in days.
const DAYS: u32 = 1;
/// The sites, in order of node id.
const SITES: [&str; 3] = ["paris", "frankfurt", "dublin"];

/// The nodes and everything that is theirs. Dropping it kills them and removes their files.
#[derive(Debug)]
pub struct Cluster {
    // The processes are dropped before their files.
    nodes: Vec<Node>,
    directory: Directory,
}

/// One node.
#[derive(Debug)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// Where it pretends to be.
    pub site: &'static str,
    /// Its gRPC listener.
    pub grpc: SocketAddr,
    /// Its HTTP listener.
    pub http: SocketAddr,
    /// Calls to it.
    pub client: Client,
    config: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

/// Where files go: removed at the end unless kept.
#[derive(Debug)]
enum Directory {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Directory {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Kept(path) => path,
        }
    }
}

/// What the nodes need to know of the world.
#[derive(Debug)]
pub struct World<'a> {
    /// The DNS server.
    pub nameserver: SocketAddr,
    /// Its key.
    pub key: &'a Key,
}

impl Cluster {
    /// Writes certificates and configurations and prepares the nodes' stores; starts nothing.
    ///
    /// # Errors
    /// Files cannot be written, no ports are free, or `quorated init` fails.
    pub async fn prepare(world: &World<'_>, keep: bool) -> Result<Self> {
        let temporary = tempfile::Builder::new().prefix("quorate-demo-").tempdir().context("no temporary directory")?;
        let directory = if keep { Directory::Kept(temporary.keep()) } else { Directory::Temporary(temporary) };
        let path = directory.path().to_owned();
        let cluster: ClusterId = CLUSTER.parse()?;
        let admin = certificates(&path.join("pki"), &cluster)?;
        let secret = path.join("tsig.secret");
        write_private(&secret, &BASE64.encode(&world.key.secret))?;
        let tls = admin.client(ANY_NODE);
        let mut nodes = Vec::new();
        for ((id, site), (grpc, http)) in (1..).zip(SITES).zip(free_addresses(SITES.len())?) {
            let home = path.join(format!("node-{id}"));
            fs::create_dir(&home)?;
            let (config, log) = (home.join("node.toml"), home.join("log"));
            fs::write(&config, node_toml(&path, world, id, site, grpc, http))?;
            run_to_end(&["init", "--config"], &config).await?;
            nodes.push(Node { id, site, grpc, http, client: Client::new(grpc, &tls)?, config, log, process: None });
        }
        Ok(Self { nodes, directory })
    }

    /// The nodes, in order of id.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node of that number.
    ///
    /// # Errors
    /// There is none.
    pub fn node_mut(&mut self, id: NodeId) -> Result<&mut Node> {
        self.nodes.iter_mut().find(|node| node.id == id).with_context(|| format!("there is no node {id}"))
    }

    /// Where certificates, configurations, stores and logs are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Fails if a node has ended that should run.
    ///
    /// # Errors
    /// One has; the error names its log.
    pub fn check(&mut self) -> Result<()> {
        self.nodes.iter_mut().filter_map(|node| node.process.as_mut()).try_for_each(Process::check)
    }

    /// Forms the cluster through the first node.
    ///
    /// # Errors
    /// What the node answers.
    pub async fn form(&self) -> Result<()> {
        let member =
            |node: &Node| v1::Member { id: node.id, site: node.site.to_owned(), address: node.grpc.to_string() };
        let message = v1::InitClusterRequest { members: self.nodes.iter().map(member).collect() };
        let first = self.nodes.first().context("there is no node")?;
        first.client.admin().init_cluster(request(message)).await.context("InitCluster")?;
        Ok(())
    }

    /// What each node that answers says of the cluster.
    pub async fn members(&self) -> Vec<v1::ListMembersResponse> {
        let ask = |node: &Node| {
            let client = node.client.clone();
            async move { client.admin().list_members(request(v1::ListMembersRequest {})).await }
        };
        let answers = futures::future::join_all(self.nodes.iter().filter(|node| node.process.is_some()).map(ask)).await;
        answers.into_iter().filter_map(Result::ok).map(tonic::Response::into_inner).collect()
    }

    /// The leader that every node that runs agrees on, if they do, and their term.
    pub async fn leader(&self) -> Option<(NodeId, u64)> {
        let running = self.nodes.iter().filter(|node| node.process.is_some()).count();
        let answers = self.members().await;
        let first = answers.first()?;
        let same = |answer: &v1::ListMembersResponse| (answer.leader, answer.term) == (first.leader, first.term);
        let agreed = answers.len() == running && first.leader != 0 && answers.iter().all(same);
        agreed.then_some((first.leader, first.term))
    }

    /// Notes each node's state hash at the index it is at.
    pub async fn note_hashes(&self, hashes: &mut Hashes) {
        for answer in self.members().await {
            hashes.entry(answer.applied_index).or_default().insert(answer.answered_by, answer.state_hash);
        }
    }

    /// Asks the nodes that run, `first` before the others, until one answers. Only "unavailable" passes on to the next.
    ///
    /// # Errors
    /// The last answer.
    pub async fn ask<T, F>(&self, first: Option<NodeId>, call: impl Fn(Client) -> F) -> Result<T, tonic::Status>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let mut nodes: Vec<_> = self.nodes.iter().filter(|node| node.process.is_some()).collect();
        nodes.sort_by_key(|node| Some(node.id) != first);
        let mut last = tonic::Status::unavailable("no node runs");
        for node in nodes {
            match call(node.client.clone()).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if matches!(status.code(), Code::Unavailable | Code::Cancelled) => last = status,
                Err(status) => return Err(status),
            }
        }
        Err(last)
    }

    /// Kills every node and waits until they are gone.
    pub async fn stop(&mut self) {
        for node in &mut self.nodes {
            if let Some(mut process) = node.process.take() {
                let _ = process.kill().await;
            }
        }
    }

    /// Commands to paste into a shell while the cluster is kept.
    pub fn commands(&self, nameserver: SocketAddr, record: &str) -> String {
        let addresses: Vec<String> = self.nodes.iter().map(|node| node.grpc.to_string()).collect();
        let pki = self.directory().join("pki");
        let pki = pki.display();
        let quoratectl = std::env::current_exe().ok().map(|path| path.with_file_name("quoratectl"));
        let quoratectl = quoratectl.unwrap_or_else(|| PathBuf::from("quoratectl"));
        let quoratectl = quoratectl.display();
        format!(
            "export QUORATE_NODES={} QUORATE_CA={pki}/ca.crt QUORATE_CERT={pki}/admin-demo.crt \
             QUORATE_KEY={pki}/admin-demo.key\n\
             {quoratectl} explain app\n{quoratectl} switch list app\n{quoratectl} member list\n\
             dig @{} -p {} {record} A\ndig @{} -p {} _quorate.{record} TXT\ncurl http://{}/metrics",
            addresses.join(","),
            nameserver.ip(),
            nameserver.port(),
            nameserver.ip(),
            nameserver.port(),
            self.nodes.first().map_or_else(String::new, |node| node.http.to_string()),
        )
    }
}

impl Node {
    /// Starts it.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(&mut self) -> Result<Instant> {
        self.process = Some(Process::start(&self.config, &self.log)?);
        Ok(Instant::now())
    }

    /// Kills it as `kill -9` does; returns its process id and the instant after.
    ///
    /// # Errors
    /// It was not running.
    pub async fn kill(&mut self) -> Result<(u32, Instant)> {
        let mut process = self.process.take().with_context(|| format!("node {} does not run", self.id))?;
        let Some(pid) = process.pid() else { bail!("node {} has ended by itself", self.id) };
        process.kill().await?;
        Ok((pid, Instant::now()))
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(Process::pid)
    }

    /// The file that holds what it says.
    pub fn log(&self) -> &Path {
        &self.log
    }
}

/// Makes a CA, a certificate for each node and one for the demo itself.
fn certificates(pki: &Path, cluster: &ClusterId) -> Result<PeerTls> {
    let ca = pki::init(pki, cluster, DAYS)?;
    for (id, _) in (1..).zip(SITES) {
        pki::issue(pki, &Identity::Node { cluster: cluster.clone(), id }, &["127.0.0.1".to_owned()], DAYS)?;
    }
    let admin = Identity::Person { cluster: cluster.clone(), role: Role::Admin, name: "demo".to_owned() };
    let admin = pki::issue(pki, &admin, &[], DAYS)?;
    Ok(PeerTls::load(&ca.certificate, &admin.certificate, &admin.key)?)
}

/// Pairs of loopback addresses that nobody listens on.
fn free_addresses(pairs: usize) -> Result<Vec<(SocketAddr, SocketAddr)>> {
    // All are bound before any is let go, so that no two are the same.
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let bound: Vec<_> = (0..pairs).map(|_| Ok((bind()?, bind()?))).collect::<std::io::Result<_>>()?;
    let addresses = bound.iter().map(|(grpc, http)| Ok((grpc.local_addr()?, http.local_addr()?)));
    Ok(addresses.collect::<std::io::Result<_>>()?)
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}

/// A node's configuration. The directory's path has no character that TOML's literal strings could not hold.
fn node_toml(
    directory: &Path,
    world: &World<'_>,
    id: NodeId,
    site: &str,
    grpc: SocketAddr,
    http: SocketAddr,
) -> String {
    let key_name = world.key.name.to_string();
    let (directory, key_name, nameserver) = (directory.display(), key_name.trim_end_matches('.'), world.nameserver);
    format!(
        "# Written by `quorated demo`.\n\
         [node]\n\
         cluster = '{CLUSTER}'\n\
         id = {id}\n\
         site = '{site}'\n\
         data = '{directory}/node-{id}/data'\n\
         listen = '{grpc}'\n\
         advertise = '{grpc}'\n\
         http = '{http}'\n\
         \n\
         [tls]\n\
         ca = '{directory}/pki/ca.crt'\n\
         certificate = '{directory}/pki/node-{id}.crt'\n\
         key = '{directory}/pki/node-{id}.key'\n\
         \n\
         [provider.{PROVIDER}]\n\
         type = 'rfc2136'\n\
         server = '{nameserver}'\n\
         key = {{ name = '{key_name}', algorithm = 'hmac-sha256', secret_file = '{directory}/tsig.secret' }}\n\
         nameservers = ['{nameserver}']\n"
    )
}
