//! The daemon: one node of a cluster, the preparation of its store, and the demonstration.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use quorate::{config, core::names, node, raft, telemetry};
use tokio::signal::unix::{SignalKind, signal};

/// DNS failover that takes a quorum: one node, at one site.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the node until SIGTERM or Ctrl-C.
    #[command(after_help = "Examples:\n  quorated run --config /etc/quorate/node.toml")]
    Run(ConfigArgs),
    /// Makes the node's empty store, once. A node that lost its store must not make a new one under its old id.
    ///
    /// A store holds what the node promised to others. One that lost it could vote twice, so `run` refuses to start without
    /// a store: give the machine a new id and use `quoratectl member replace`.
    #[command(after_help = "Examples:\n  quorated init --config /etc/quorate/node.toml")]
    Init(ConfigArgs),
    /// Reads the configuration and says everything that is wrong with it.
    #[command(after_help = "Examples:\n  quorated check-config --config /etc/quorate/node.toml")]
    CheckConfig(ConfigArgs),
    /// Shows a whole cluster at work on this machine: a region dies, a quorum agrees, the leader changes DNS.
    #[command(after_help = "Examples:\n  quorated demo\n  quorated demo --format json\n  quorated demo --keep")]
    Demo(quorate::demo::DemoArgs),
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// The node's configuration (TOML).
    #[arg(long, short, value_name = "FILE", env = "QUORATE_NODE_CONFIG", default_value = "/etc/quorate/node.toml")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Run(args) => run(&args),
        Command::Init(args) => init(&args),
        Command::CheckConfig(args) => load(&args).map(|config| {
            println!("{}: node {} of cluster {}: good", args.config.display(), config.node.id, config.node.cluster);
            ExitCode::SUCCESS
        }),
        Command::Demo(args) => runtime().and_then(|runtime| runtime.block_on(quorate::demo::run(args))),
    };
    done.unwrap_or_else(|why| {
        eprintln!("quorated: {why:#}");
        ExitCode::FAILURE
    })
}

fn load(args: &ConfigArgs) -> anyhow::Result<config::Config> {
    let (config, warnings) = config::load(&args.config)?;
    let file = args.config.display().to_string();
    for warning in warnings {
        eprintln!("{}", warning.as_warning(&file));
    }
    Ok(config)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    // Two workers are plenty for a node and keep its memory small.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("cannot start the runtime")
}

fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let config = load(args)?;
    telemetry::init(&config.log)?;
    #[cfg(feature = "testing")]
    sabotage()?;
    runtime()?.block_on(async {
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let shutdown = async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        };
        node::run(config, shutdown).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Breaks the rule that the environment names, so that checkers can show that they notice.
#[cfg(feature = "testing")]
fn sabotage() -> anyhow::Result<()> {
    use quorate::core::sabotage::Sabotage;
    if let Ok(name) = std::env::var("QUORATE_SABOTAGE") {
        Sabotage::set(Some(name.parse::<Sabotage>().context("QUORATE_SABOTAGE")?));
        tracing::error!(rule = name, "a rule is broken on purpose: this node must not run outside tests");
    }
    Ok(())
}

fn init(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let config = load(args)?;
    let (cluster, id): (&names::ClusterId, _) = (&config.node.cluster, config.node.id);
    raft::create_store(&config.node.data, cluster, id)?;
    println!("made the store of node {id} of cluster {cluster} in {}", config.node.data.display());
    println!("next: start the nodes, then once: quoratectl cluster init --member {id}={}@…", config.node.site);
    Ok(ExitCode::SUCCESS)
}
