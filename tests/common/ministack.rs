//! `ministack` from `PyPI`: `DynamoDB` with global tables and Route 53, in a process of its own on loopback.
//!
//! Its replicas really replicate, at once; what is slow or broken is put in between by the tests.
#![allow(dead_code)]

use std::{
    fs::File,
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::{
    config::{BehaviorVersion, Credentials, Region},
    types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType},
};
use tempfile::TempDir;

use crate::{dns_server::free_port, python};

/// The versions that were tried.
pub const PACKAGES: [&str; 2] = ["ministack==1.5.33", "boto3==1.43.106"];
/// What it takes for an account.
pub const KEY: &str = "test";

/// The running server; its process is gone when this is dropped.
pub struct Ministack {
    port: u16,
    child: Child,
    dir: TempDir,
}

impl Ministack {
    /// Starts it; `None` when it cannot be installed and skipping is allowed.
    ///
    /// It ends with the thread that calls this (`setpriv --pdeathsig`): call it from the test's own, not from a pool's.
    pub fn start() -> Option<Self> {
        let bin = python::environment(&PACKAGES)?;
        for _ in 0..5 {
            let dir = tempfile::Builder::new().prefix("quorate-ministack-").tempdir().expect("a directory");
            let (port, log) = (free_port(), File::create(dir.path().join("log")).expect("a log"));
            let child = Command::new("setpriv")
                .args(["--pdeathsig", "KILL"])
                .arg(bin.join("ministack"))
                .current_dir(dir.path())
                .envs([("BIND_HOST", "127.0.0.1"), ("SERVICES", "dynamodb,route53,sts,cloudwatch,monitoring")])
                .env("GATEWAY_PORT", port.to_string())
                .env("HOME", dir.path())
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("a log"))
                .stderr(log)
                .spawn()
                .expect("setpriv to run");
            let mut server = Self { port, child, dir };
            if server.wait_until_it_listens() {
                return Some(server);
            }
            eprintln!("ministack did not start on port {port}:\n{}", server.log());
        }
        panic!("ministack did not start");
    }

    fn wait_until_it_listens(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if self.child.try_wait().expect("a child to ask").is_some() {
                return false;
            }
            if TcpStream::connect(self.address()).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// The endpoint of every service.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// A DynamoDB client for a region.
    pub fn dynamodb(&self, region: &str) -> aws_sdk_dynamodb::Client {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url(self.url())
            .region(Region::new(region.to_owned()))
            .credentials_provider(Credentials::new(KEY, KEY, None, None, "tests"));
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }

    /// Makes a table whose only key is the string `key`.
    pub async fn create_table(&self, region: &str, table: &str, key: &str) {
        let attribute = AttributeDefinition::builder().attribute_name(key).attribute_type(ScalarAttributeType::S);
        let schema = KeySchemaElement::builder().attribute_name(key).key_type(KeyType::Hash);
        self.dynamodb(region)
            .create_table()
            .table_name(table)
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(attribute.build().expect("an attribute"))
            .key_schema(schema.build().expect("a key"))
            .send()
            .await
            .unwrap_or_else(|error| panic!("no table {table} in {region}: {error:?}\n{}", self.log()));
    }
}

impl Drop for Ministack {
    fn drop(&mut self) {
        // The child is our own and not yet waited for, so its pid cannot have been given to anything else.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
