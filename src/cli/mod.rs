//! `quoratectl`: the cluster from a shell. One file a command family; all of it speaks the public API (`quorate.v1`) only.
//!
//! What is absent on purpose: colours, prompts and state of its own. Tables are for people and are never cut; JSON is for
//! programs, its field names are those of [`crate::view`]; the exit code is a [`failure::Exit`].

mod audit;
mod cluster;
mod connect;
mod drill;
mod dynamodb;
mod evidence;
mod explain;
mod failure;
mod freeze;
#[cfg(feature = "testing")]
pub(crate) mod fuzz;
mod history;
mod output;
mod pki;
mod provider;
mod replay;
mod sealed;
mod service;
mod switch;
mod verdict;

use std::{
    ffi::OsString,
    io::{self, Write},
};

use clap::{Args, CommandFactory, Parser, Subcommand};

pub use failure::Exit;
use failure::Failure;
use output::Output;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "quoratectl",
    version,
    about = "Asks and changes a Quorate cluster",
    propagate_version = true,
    after_help = concat!(
        "Examples:\n",
        "  quoratectl verdict list\n",
        "  quoratectl --node 192.0.2.1:7700 --ca ca.crt --cert admin-alice.crt --key admin-alice.key explain app\n",
        "  quoratectl switch start app --to us-east-1 --reason 'move before the upgrade' --wait\n\n",
        "Exit codes:\n",
        "  0   done\n",
        "  1   unexpected failure\n",
        "  2   usage: options, context file, unreadable files\n",
        "  3   refused by the state: nothing was changed, the reason says which rule; `drill` and `provider check`: what was\n",
        "      found would stop a switch\n",
        "  4   not found\n",
        "  5   no node, leader or quorum reachable: nothing was changed\n",
        "  6   outcome unknown: it may or may not happen, read before trying again\n",
        "  7   no permission, or a certificate was not accepted\n",
        "  8   invalid input, or evidence that does not verify: every problem is listed\n",
        "  10  `verdict get --exit-code`: the active region is down\n",
        "  11  `verdict get --exit-code`: the active region is undecided, or none is active yet\n\n",
        "Context file: ~/.config/quorate/config.toml with the keys nodes, ca, cert, key, timeout, consistency.\n",
        "Options win over the environment, the environment over the file.",
    )
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
struct Global {
    #[command(flatten)]
    connection: connect::Options,
    /// For people or for programs
    #[arg(long, short, global = true, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What the cluster thinks of its services
    #[command(subcommand)]
    Verdict(verdict::Command),
    /// Why a switch is or is not due
    Explain(explain::Arguments),
    /// Rehearses a switch without writing, and says what would stop a real one
    Drill(drill::Arguments),
    /// Switches under way and done; starting one by hand, aborting one
    #[command(subcommand)]
    Switch(switch::Command),
    /// What a switch rested on
    #[command(subcommand)]
    Evidence(evidence::Command),
    /// Service files
    #[command(subcommand)]
    Service(service::Command),
    /// DNS providers: what the nodes' credentials may do, and the least that they need
    #[command(subcommand)]
    Provider(provider::Command),
    /// Holds automatic switches, of one service or of all; verdicts go on
    Freeze(freeze::FreezeArguments),
    /// Ends the hold
    Unfreeze(freeze::UnfreezeArguments),
    /// The cluster as a whole
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// The nodes of the cluster
    #[command(subcommand)]
    Member(cluster::MemberCommand),
    /// Who leads
    #[command(subcommand)]
    Leader(cluster::LeaderCommand),
    /// Who did what to the cluster
    #[command(subcommand)]
    Audit(audit::Command),
    /// The tables of regions: replicas, and how far they are behind
    #[command(subcommand)]
    Dynamodb(dynamodb::Command),
    /// What the nodes recorded of the past
    #[command(subcommand)]
    History(history::Command),
    /// What another policy would have done in the past
    Replay(replay::Arguments),
    /// The certificate authority and the certificates of nodes and people
    #[command(subcommand)]
    Pki(pki::Command),
    /// Prints a completion script for a shell
    #[command(
        after_help = "Examples:\n  quoratectl completions bash\n  quoratectl completions zsh > ~/.zfunc/_quoratectl"
    )]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Runs one command line, program name first. Answers go to `out`, progress and errors to `err`.
pub async fn run(
    args: impl IntoIterator<Item = OsString>,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
) -> Exit {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(usage) => {
            // Help and version are answers, and not failures.
            let (said, exit) = if usage.use_stderr() {
                (write!(err, "{}", usage.render()), Exit::Usage)
            } else {
                (write!(out, "{}", usage.render()), Exit::Done)
            };
            return said.map_or_else(|error| Failure::from(error).exit, |()| exit);
        }
    };
    let format = cli.global.output;
    match cli.run(out, err).await.and_then(|exit| out.flush().map(|()| exit).map_err(Failure::from)) {
        Ok(exit) => exit,
        Err(failure) => {
            // Nowhere is left to say that stderr is closed.
            if failure.exit != Exit::Done {
                let _ = failure.print(format, err);
            }
            failure.exit
        }
    }
}

impl Cli {
    async fn run(self, out: &mut (dyn Write + Send), err: &mut (dyn Write + Send)) -> Result<Exit, Failure> {
        let Self { global: Global { connection, output }, command } = self;
        let mut screen = output::Screen { format: output, out, err };
        let screen = &mut screen;
        // What needs no cluster needs no connection.
        let command = match command {
            Command::Pki(command) => return pki::run(command, screen),
            Command::Service(service::Command::Check { files }) => return service::check(&files, screen),
            Command::Provider(provider::Command::Policy(of)) => return provider::print_policy(of, screen),
            Command::Completions { shell } => return completions(shell, screen.out),
            Command::Evidence(evidence::Command::Verify(verify)) => return sealed::verify(&verify, screen),
            // A recording in a file needs none either.
            Command::Replay(arguments) => return replay::run(arguments, connection, screen).await,
            Command::Dynamodb(command) => return dynamodb::run(command, connection, screen).await,
            other => other,
        };
        let session = connection.session()?;
        match command {
            Command::Verdict(command) => verdict::run(command, &session, screen).await,
            Command::Explain(arguments) => explain::run(arguments, &session, screen).await,
            Command::Drill(arguments) => drill::run(arguments, &session, screen).await,
            Command::Switch(command) => switch::run(command, &session, screen).await,
            Command::Evidence(command) => evidence::run(command, &session, screen).await,
            Command::Service(command) => service::run(command, &session, screen).await,
            Command::Provider(command) => provider::run(command, &session, screen).await,
            Command::Freeze(arguments) => freeze::freeze(arguments, &session, screen).await,
            Command::Unfreeze(arguments) => freeze::unfreeze(arguments, &session, screen).await,
            Command::Cluster(command) => cluster::run(command, &session, screen).await,
            Command::Member(command) => cluster::member(command, &session, screen).await,
            Command::Leader(command) => cluster::leader(command, &session, screen).await,
            Command::Audit(command) => audit::run(command, &session, screen).await,
            Command::History(command) => history::run(command, &session, screen).await,
            Command::Replay(_) | Command::Dynamodb(_) | Command::Pki(_) | Command::Completions { .. } => Ok(Exit::Done),
        }
    }
}

fn completions(shell: clap_complete::Shell, out: &mut (dyn Write + Send)) -> Result<Exit, Failure> {
    let mut script = io::Cursor::new(vec![]);
    clap_complete::generate(shell, &mut Cli::command(), "quoratectl", &mut script);
    out.write_all(script.get_ref())?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits as a shell does, as far as the examples need it: blanks and single quotes; a redirection ends it.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '\'' => quoted = !quoted,
                '>' | '|' if !quoted => break,
                ' ' if !quoted => words.push(String::new()),
                c => words.last_mut().unwrap().push(c),
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    fn walk(command: &clap::Command, path: &str, seen: &mut usize) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<_> = help.lines().filter_map(|line| line.strip_prefix("  quoratectl ")).collect();
        assert!(help.contains("Examples:\n") && !examples.is_empty(), "`{path}` has no example");
        for example in examples {
            let line = format!("quoratectl {example}");
            if let Err(error) = Cli::try_parse_from(words(&line)) {
                panic!("the example `{line}` of `{path}` does not parse: {error}");
            }
            let stem = path.split(' ').skip(1).collect::<Vec<_>>().join(" ");
            assert!(example.contains(&stem), "the example `{line}` is not one of `{path}`");
        }
        *seen += 1;
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            walk(sub, &format!("{path} {}", sub.get_name()), seen);
        }
    }

    #[test]
    fn every_command_has_examples_that_parse() {
        let mut seen = 0;
        walk(&Cli::command(), "quoratectl", &mut seen);
        assert!(seen > 30, "only {seen} commands were walked");
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_exit_code_is_documented() {
        let help = Cli::command().get_after_help().unwrap().to_string();
        for exit in Exit::ALL {
            let line = format!("  {:<3} ", *exit as u8);
            assert!(help.lines().any(|of| of.starts_with(&line)), "exit code {} is not documented", *exit as u8);
        }
    }
}
