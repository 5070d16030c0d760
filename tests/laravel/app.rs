//! A Laravel application with the package in it, one process group for each region.

use std::{
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::{
    cluster::{SOON, until},
    dns_server::free_port,
};

/// Makes the application, with the package installed by Composer.
pub fn make(directory: &Path) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/laravel/tests/make-app.sh");
    let output = Command::new(script).arg(directory).output().expect("make-app.sh to run");
    assert!(output.status.success(), "the application could not be made: {output:?}");
}

/// The application as one region runs it; gone when dropped.
pub struct App {
    pub address: SocketAddr,
    server: Child,
}

impl App {
    /// Starts it for a region whose DynamoDB is at `dynamodb`.
    pub fn start(directory: &Path, region: &str, table: &str, dynamodb: SocketAddr) -> Self {
        let port = free_port();
        let server = Command::new("php")
            .args(["-S", &format!("127.0.0.1:{port}"), "-t", "public", "public/index.php"])
            .current_dir(directory)
            .envs([("QUORATE_REGION", region), ("QUORATE_DYNAMODB_TABLE", table)])
            .env("QUORATE_DYNAMODB_ENDPOINT", format!("http://{dynamodb}"))
            .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")])
            // Three sites ask at a time, and one answer may wait for DynamoDB.
            .env("PHP_CLI_SERVER_WORKERS", "6")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // The workers are children of the server's, so the group is what must be killed.
            .process_group(0)
            .spawn()
            .expect("php to run");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let app = Self { address, server };
        until("the application listens", SOON, || TcpStream::connect(address).ok());
        app
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if let Ok(group) = i32::try_from(self.server.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.server.wait();
    }
}
