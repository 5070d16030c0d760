//! The Laravel package: its own tests, and real applications that Quorate probes while their DynamoDB hangs, is away, or is slow.
//!
//! The applications run on Debian's Laravel behind PHP's web server; DynamoDB is ministack, reached through a relay that can be
//! made to hang.

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
#[allow(dead_code, unused_imports, reason = "its regions are for the tests of the cluster")]
#[path = "../cluster/stage.rs"]
mod stage;

mod app;
mod failover;
mod relay;

use std::{path::Path, process::Command};

/// What the package's own tests and the applications need.
const PROGRAMS: [(&str, &str); 3] = [("php", "php-cli"), ("composer", "composer"), ("phpunit", "phpunit")];

/// Whether the programs are there; when not, says so and, under `QUORATE_NO_SKIP=1`, fails.
fn php_is_there() -> bool {
    PROGRAMS.iter().all(|(program, package)| dns_server::available(program, package))
}

#[test]
fn the_packages_own_tests_pass() {
    if !php_is_there() {
        return;
    }
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/laravel");
    let output = Command::new("phpunit").args(["--colors=never", "--testdox"]).current_dir(package).output();
    let output = output.expect("phpunit to run");
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "phpunit failed");
    assert!(told.lines().any(|line| line.starts_with("OK (")), "phpunit ran no test, or skipped some");
}
