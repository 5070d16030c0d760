//! Programs from `PyPI`: each set of packages in a virtual environment under the build directory, made once and kept.
#![allow(dead_code)]

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use nix::fcntl::{Flock, FlockArg};

use crate::dns_server::available;

/// The `bin` directory of an environment with these packages, named with their versions (`boto3==1.43.106`). When they cannot be
/// installed says so and, under `QUORATE_NO_SKIP=1`, fails.
pub fn environment(packages: &[&str]) -> Option<PathBuf> {
    if !available("python3", "python3-venv") {
        return None;
    }
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    fs::create_dir_all(&root).expect("a directory for Python's environments");
    let name = packages.join("+").replace("==", "-");
    // Several tests, and several test programs, want the same one at the same time.
    let lock = File::create(root.join(format!("{name}.lock"))).expect("a lock file");
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).expect("the lock");
    let venv = root.join(&name);
    let (bin, whole) = (venv.join("bin"), venv.join("whole"));
    if whole.exists() {
        return Some(bin);
    }
    let run = |command: &mut Command| match command.output() {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            eprintln!("{}", String::from_utf8_lossy(&output.stderr));
            false
        }
        Err(error) => {
            eprintln!("{error}");
            false
        }
    };
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let made = run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))
        && run(Command::new(bin.join("python")).args(pip).args(packages))
        && fs::write(&whole, "").is_ok();
    if !made {
        let needed = format!("{} could not be installed from PyPI", packages.join(", "));
        assert!(std::env::var("QUORATE_NO_SKIP").as_deref() != Ok("1"), "{needed}");
        println!("SKIP: {needed}");
    }
    made.then_some(bin)
}
