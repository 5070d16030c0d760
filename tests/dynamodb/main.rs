//! `DynamoDB` against `ministack`, whose replicas really replicate, with a proxy in front of each region for all that goes wrong
//! there: the client, the commands of `quoratectl dynamodb`, the probe, and the gates with real nodes.

#[path = "../common/cluster.rs"]
mod cluster;
#[path = "../common/dns_server.rs"]
mod dns_server;
#[path = "../common/fake_ovh/mod.rs"]
mod fake_ovh;
#[path = "../common/ministack.rs"]
mod ministack;
#[path = "../common/python.rs"]
mod python;
#[path = "../common/seat.rs"]
mod seat;
#[allow(dead_code, reason = "the tests of the cluster use the rest")]
#[path = "../cluster/stage.rs"]
mod stage;

mod client;
mod commands;
mod gates;
mod inspect;
mod probe;
mod proxy;

use std::{process::Command, sync::Once};

use quorate::{
    aws::{Access, Keys, Settings},
    core::service::Table,
    dynamodb::DynamoDb,
};

use self::{ministack::Ministack, proxy::Proxy};

/// The regions of the tests' table.
pub(crate) const PARIS: &str = "eu-west-3";
pub(crate) const VIRGINIA: &str = "us-east-1";
pub(crate) const SESSIONS: &str = "sessions";

/// A table with a replica, each behind a proxy.
pub(crate) struct World {
    pub(crate) paris: Proxy,
    pub(crate) virginia: Proxy,
    pub(crate) server: Ministack,
}

impl World {
    /// Without a replica yet.
    pub(crate) async fn alone() -> Option<Self> {
        static TLS: Once = Once::new();
        TLS.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let server = Ministack::start()?;
        server.create_table(PARIS, SESSIONS, "pk").await;
        let (paris, virginia) = (Proxy::start(server.url()).await, Proxy::start(server.url()).await);
        Some(Self { paris, virginia, server })
    }

    pub(crate) async fn replicated() -> Option<Self> {
        let world = Self::alone().await?;
        world.dynamodb().replicate(&paris(), VIRGINIA).await.expect("a replica");
        Some(world)
    }

    /// Reached through the proxies.
    pub(crate) fn dynamodb(&self) -> DynamoDb {
        let endpoints = [(PARIS.to_owned(), self.paris.url()), (VIRGINIA.to_owned(), self.virginia.url())].into();
        let keys =
            Some(Keys { id: ministack::KEY.to_owned().into(), secret: ministack::KEY.to_owned().into(), token: None });
        DynamoDb::new(Access::new(Settings { endpoints, keys, ..Settings::default() }))
    }

    /// `[dynamodb]` of a node's configuration.
    pub(crate) fn section(&self) -> String {
        format!(
            "[dynamodb]\nheartbeat = '250ms'\naccess_key_id_env = 'E2E_AWS'\nsecret_access_key_env = 'E2E_AWS'\n\
             endpoints = {{ {PARIS} = '{}', {VIRGINIA} = '{}' }}\n",
            self.paris.url(),
            self.virginia.url()
        )
    }
}

pub(crate) fn paris() -> Table {
    Table { table: SESSIONS.into(), region: PARIS.into() }
}

pub(crate) fn virginia() -> Table {
    Table { table: SESSIONS.into(), region: VIRGINIA.into() }
}

/// Without this the other tests would only show that our client agrees with a server that its makers may never have met.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stand_in_passes_awss_own_client() {
    let Some(bin) = python::environment(&ministack::PACKAGES) else { return };
    let Some(server) = Ministack::start() else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dynamodb/client_check.py");
    let mut check = Command::new(bin.join("python"));
    check.arg(script).args([&server.url(), ministack::KEY]).env("AWS_EC2_METADATA_DISABLED", "true");
    let output = check.output().expect("python to run");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success() && said.contains("every check passed"), "{said}");
}
