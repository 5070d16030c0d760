//! `quoratectl` as it is shipped, over real mutual TLS, against the real servers.

mod access;
mod audit;
mod commands;
mod drill;
mod fake;
mod tables;
mod watch;

use std::{path::PathBuf, process::Output, sync::Arc};

use fake::{Fake, Pki, Server};
use tokio::process::Command;

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn complains(&self, what: &str) {
        assert!(self.err.contains(what), "`{what}` is not in:\n{}", self.err);
    }
}

/// A cluster with the service `app`, and the certificates to reach it.
pub(crate) struct World {
    pub(crate) fake: Arc<Fake>,
    pub(crate) pki: Pki,
    pub(crate) server: Server,
}

impl World {
    pub(crate) async fn new() -> Self {
        let (fake, pki) = (Fake::new().with_app(), Pki::new("test"));
        let server = pki.serve(fake.clone()).await;
        Self { fake, pki, server }
    }

    /// Runs the command as an admin.
    pub(crate) async fn run(&self, args: &[&str]) -> Said {
        self.run_as("admin-ada", args).await
    }

    pub(crate) async fn run_as(&self, whom: &str, args: &[&str]) -> Said {
        self.run_at(&self.server.address.to_string(), whom, args).await
    }

    /// Asks these nodes, separated by commas.
    pub(crate) async fn run_at(&self, nodes: &str, whom: &str, args: &[&str]) -> Said {
        let file = |name: &str| self.pki.file(name).display().to_string();
        let (ca, cert, key) = (file("ca.crt"), file(&format!("{whom}.crt")), file(&format!("{whom}.key")));
        let mut all = vec!["--node", nodes, "--ca", &ca, "--cert", &cert, "--key", &key];
        all.extend(args);
        run(&all).await
    }
}

/// The shipped binary, without anything of this machine's environment.
pub(crate) fn quoratectl(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quoratectl"));
    command.args(args).env_clear().env("HOME", PathBuf::from("/nonexistent")).kill_on_drop(true);
    command
}

pub(crate) async fn run(args: &[&str]) -> Said {
    said(&quoratectl(args).output().await.unwrap())
}

pub(crate) fn said(output: &Output) -> Said {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Said { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
}
