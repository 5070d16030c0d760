//! `quoratectl` in this process: the same command line without a process each, and its outcome as Jepsen counts it.

use std::{ffi::OsString, path::PathBuf};

use quorate::{
    cli,
    core::names::ClusterId,
    pki,
    tls::{Identity, Role},
};
use serde_json::Value;
use tokio::runtime::Handle;

use crate::history::Type;

/// An admin with a certificate.
#[derive(Clone)]
pub struct Ctl {
    runtime: Handle,
    ca: PathBuf,
    paths: pki::Paths,
}

/// What a command ended with.
#[derive(Debug, Clone)]
pub struct Answer {
    pub exit: u8,
    pub json: Value,
    pub stderr: String,
}

impl Answer {
    /// Refused by the state, or never sent: it did not happen. Anything else that is not done may have.
    pub fn outcome(&self) -> Type {
        match self.exit {
            0 => Type::Ok,
            // Documented: nothing was changed.
            2 | 3 | 4 | 5 | 7 | 8 => Type::Fail,
            _ => Type::Info,
        }
    }
}

impl Ctl {
    /// Issues the admin's certificate from the CA in `dir`.
    pub fn new(runtime: Handle, dir: PathBuf, cluster: &ClusterId) -> Self {
        let admin = Identity::Person { cluster: cluster.clone(), role: Role::Admin, name: "torture".to_owned() };
        let paths = pki::issue(&dir, &admin, &[], 2).expect("the admin's certificate");
        Self { runtime, ca: dir.join("ca.crt"), paths }
    }

    /// Runs a command against these nodes, `host:port` each.
    pub fn call(&self, nodes: &[String], args: &[&str]) -> Answer {
        let mut line: Vec<OsString> = ["quoratectl", "--output", "json", "--node"].map(OsString::from).into();
        line.push(nodes.join(",").into());
        line.extend(["--ca".into(), self.ca.clone().into(), "--cert".into(), self.paths.certificate.clone().into()]);
        line.extend(["--key".into(), self.paths.key.clone().into()]);
        line.extend(args.iter().map(OsString::from));
        let (mut out, mut err) = (vec![], vec![]);
        let exit = self.runtime.block_on(cli::run(line, &mut out, &mut err));
        let stderr = String::from_utf8_lossy(&err).into_owned();
        Answer { exit: exit as u8, json: serde_json::from_slice(&out).unwrap_or(Value::Null), stderr }
    }
}
