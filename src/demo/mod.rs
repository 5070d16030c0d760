//! `quorated demo`: the whole failover on one machine, with nothing to install.
//!
//! ```text
//!   this process                                   three child processes, mTLS between all
//!   ┌───────────────────────────────────┐          ┌──────────┐ ┌──────────┐ ┌──────────┐
//!   │ regions eu-west-3, us-east-1 (HTTP)│◀─probes─ │ node 1   │ │ node 2   │ │ node 3   │
//!   │ nameserver: zone example.test      │◀─updates─│ paris    │ │ frankfurt│ │ dublin   │
//!   │ story: kills, watches, measures    │──gRPC──▶ └──────────┘ └──────────┘ └──────────┘
//!   └───────────────────────────────────┘
//! ```
//!
//! The nodes are the real program with a real configuration; nothing in them knows of the demo. What the demo concludes
//! it concludes from its own DNS server's log ([`audit`]). Whatever happens, no process and no file stays behind unless
//! `--keep` asks for it. It never talks to anything but loopback.

pub mod audit;
mod chapters;
mod client;
mod cluster;
pub mod nameserver;
pub mod output;
mod process;
mod question;
pub mod region;
mod story;
mod tsig;
mod view;
pub mod zone;

use std::{
    net::Ipv4Addr,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use hickory_proto::rr::Name;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use cluster::{Cluster, World};
use nameserver::{HoldAt, Key, Nameserver};
use output::{Format, Kind, Output, Summary};
use region::{Health, Region};
use story::{RECORD, Story, Waiting, ZONE};

/// The demo takes about half a minute; what takes this long is stuck.
const LIMIT: Duration = Duration::from_secs(90);
/// What a process killed by Ctrl-C gives the shell: 128 and the signal's number.
const INTERRUPTED: u8 = 130;

/// Options of `quorated demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How to tell what happens
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Leave the cluster up at the end, until Ctrl-C, and print how to ask it
    #[arg(long)]
    keep: bool,
    /// How eu-west-3 dies
    #[arg(long, value_enum, default_value = "black-hole")]
    outage: Outage,
    /// Where in its switch the leader is killed
    #[arg(long, value_enum, default_value = "before-write")]
    crash: Crash,
    /// Become the node of that configuration, and die with the process of that id
    #[arg(long, hide = true, num_args = 2, value_names = ["PARENT", "CONFIG"])]
    run_node: Option<Vec<String>>,
}

/// How a region dies.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Outage {
    /// It takes connections and never answers
    BlackHole,
    /// It resets every connection
    Closed,
}

/// Where in its switch the leader is killed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Crash {
    /// Its update has been sent and is not applied
    BeforeWrite,
    /// Its update has been applied and is not answered
    AfterWrite,
}

/// Runs the demo. The exit code is 0 if every step was done and nothing was violated, 1 if not, 130 if interrupted.
///
/// # Errors
/// The demo cannot be set up or told at all.
pub async fn run(args: DemoArgs) -> Result<ExitCode> {
    if let Some([parent, config]) = args.run_node.as_deref() {
        match process::become_node(parent, config)? {}
    }
    // Another part of the program may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let demo = perform(&args);
    let code = tokio::select! {
        code = demo => code?,
        _ = interrupt.recv() => ExitCode::from(INTERRUPTED),
        _ = terminate.recv() => ExitCode::from(INTERRUPTED),
    };
    Ok(code)
}

/// Everything between the options and the exit code. Dropped at any point, it takes its processes and files with it.
async fn perform(args: &DemoArgs) -> Result<ExitCode> {
    let out = Output::new(args.format);
    let key = Key { name: Name::from_ascii("quorate-demo.")?, secret: rand::random::<[u8; 32]>().to_vec() };
    let nameserver = Nameserver::start(&Name::from_ascii(ZONE)?, &key).await.context("the DNS server")?;
    let first = Region::start("eu-west-3", Ipv4Addr::new(127, 0, 3, 1)).await.context("the first region")?;
    let second = Region::start("us-east-1", Ipv4Addr::new(127, 0, 1, 1)).await.context("the second region")?;
    let world = World { nameserver: nameserver.address(), key: &key };
    let mut cluster = Cluster::prepare(&world, args.keep).await?;

    let waiting = Waiting::default();
    let story = Story::new(&out, &mut cluster, &nameserver, (&first, &second), waiting.clone());
    let told = tokio::time::timeout(LIMIT, tell(story, args)).await;
    let told = told.unwrap_or_else(|_| {
        Err(anyhow::anyhow!("the demo took longer than {LIMIT:?} and was waiting for this: {}", waiting.get()))
    });
    let code = match &told {
        Ok(summary) => {
            out.summary(summary)?;
            ExitCode::from(u8::from(!summary.violations.is_empty()))
        }
        Err(error) => {
            fail(&out, &cluster, error, &waiting)?;
            ExitCode::FAILURE
        }
    };
    if args.keep {
        keep(&out, &cluster, &nameserver)?;
        // Only a signal ends this, by dropping this future.
        std::future::pending::<()>().await;
    }
    cluster.stop().await;
    Ok(code)
}

async fn tell(mut story: Story<'_>, args: &DemoArgs) -> Result<Summary> {
    story.begin().await?;
    let health = match args.outage {
        Outage::BlackHole => Health::BlackHole,
        Outage::Closed => Health::Closed,
    };
    let measured = story.outage(health).await?;
    let hold = match args.crash {
        Crash::BeforeWrite => HoldAt::BeforeApply,
        Crash::AfterWrite => HoldAt::BeforeAnswer,
    };
    story.failback(hold).await?;
    story.end(measured).await
}

/// Says what went wrong, what was being waited for, and how each node's log ends.
fn fail(out: &Output, cluster: &Cluster, error: &anyhow::Error, waiting: &Waiting) -> Result<()> {
    let fields = json!({ "waiting_for": waiting.get() });
    out.event(Instant::now(), Kind::Failed, &format!("{error:#}"), &fields)?;
    for node in cluster.nodes() {
        eprintln!("--- the end of node {}'s log ---\n{}", node.id, process::tail(node.log()).trim_end());
    }
    Ok(())
}

/// Says how to ask the cluster that is left up.
fn keep(out: &Output, cluster: &Cluster, nameserver: &Nameserver) -> Result<()> {
    let commands = cluster.commands(nameserver.address(), RECORD);
    let directory = cluster.directory().display().to_string();
    if out.is_json() {
        eprintln!("{commands}");
    } else {
        out.plain(&format!(
            "\nThe cluster stays up until Ctrl-C; its files stay in {directory}. To ask it:\n\n{commands}\n"
        ))?;
    }
    Ok(())
}
