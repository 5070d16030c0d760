//! `exec` with the program that `deploy` shows, behind a shell script that goes wrong when it is told to.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use quorate::dns::{
    Grade, Provider, ProviderError,
    exec::{Exec, ExecConfig},
};
use tempfile::TempDir;

use crate::{
    contract::{self, Side, Subject, Wrong, www},
    dns_server::available,
    webhook::{seed, set_fence, world},
};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/exec-example.py");

/// A directory with the script in it; `fault-read` and `fault-write` say what goes wrong next, `log` what was called.
fn stage() -> Option<(TempDir, PathBuf)> {
    if !available("python3", "python3") {
        return None;
    }
    let dir = tempfile::Builder::new().prefix("quorate-exec-").tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    seed(dir.path());
    let script = r#"#!/bin/sh
dir=@DIR@
input=$(cat)
case $input in *'"call":"write"'*) call=write ;; *) call=read ;; esac
echo "$call" >> "$dir/log"
run() { printf '%s' "$input" | python3 @EXAMPLE@ "$dir/records.json"; }
fault=$(cat "$dir/fault-$call" 2> /dev/null)
rm -f "$dir/fault-$call"
case $fault in
    "") run; exit $? ;;
    applied-*) run > /dev/null ;;
esac
case $fault in
    *garbage) printf 'no json' ;;
    *flood) head -c 1000000 /dev/zero ;;
    *hang) sleep 60 & echo $! > "$dir/grandchild"; wait ;;
    *signal) kill -9 $$ ;;
    empty) ;;
    *) exit "${fault#applied-}" ;;
esac
"#;
    let text = script.replace("@DIR@", &dir.path().display().to_string()).replace("@EXAMPLE@", EXAMPLE);
    let program = dir.path().join("hook");
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    Some((dir, program))
}

fn config(program: &Path) -> ExecConfig {
    ExecConfig { program: program.into(), arguments: vec![], grade: Grade::B, timeout: Duration::from_secs(30) }
}

fn fail_next(dir: &Path, side: Side, fault: &str) {
    let file = if side == Side::Read { "fault-read" } else { "fault-write" };
    fs::write(dir.join(file), fault).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_contract() {
    let Some((dir, program)) = stage() else { return };
    let exec = Exec::new(&config(&program)).unwrap();
    let impatient = Exec::new(&ExecConfig { timeout: Duration::from_secs(3), ..config(&program) }).unwrap();
    let fault = |side, wrong| {
        let fault = match wrong {
            Wrong::TooMany => "75",
            Wrong::Expired => "78",
            Wrong::Forbidden => "77",
            Wrong::Broken { applied: false } => "1",
            Wrong::Broken { applied: true } => "applied-1",
            Wrong::Lost { applied: false } => "signal",
            Wrong::Lost { applied: true } => "applied-signal",
            Wrong::Hang { applied: false } => "hang",
            Wrong::Hang { applied: true } => "applied-hang",
            Wrong::Garbage => "applied-garbage",
            Wrong::Flood => "applied-flood",
            Wrong::Empty => "empty",
        };
        fail_next(dir.path(), side, fault);
    };
    let writes = || {
        let log = fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        let _ = fs::remove_file(dir.path().join("log"));
        log.lines().filter(|line| *line == "write").count()
    };
    let subject = Subject {
        name: "exec",
        provider: &exec,
        impatient: &impatient,
        fail_next: &fault,
        writes: &writes,
        world: &|| world(dir.path()),
        set_fence: &|text| set_fence(dir.path(), text),
        says_how_long: false,
        secrets: &[],
    };
    contract::run(&subject).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_that_takes_too_long_is_killed_with_all_that_it_started() {
    let Some((dir, program)) = stage() else { return };
    let impatient = Exec::new(&ExecConfig { timeout: Duration::from_secs(3), ..config(&program) }).unwrap();
    fail_next(dir.path(), Side::Read, "hang");
    let error = impatient.read(&www()).await.unwrap_err().to_string();
    assert!(error.contains("was killed after 3s"), "{error}");
    gone(dir.path());

    // The caller gives up first: a leader that lost its lease drops the future.
    let patient = Exec::new(&config(&program)).unwrap();
    fs::remove_file(dir.path().join("grandchild")).unwrap();
    fail_next(dir.path(), Side::Read, "hang");
    let started = async {
        while fs::read_to_string(dir.path().join("grandchild")).map_or(true, |text| text.trim().is_empty()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let record = www();
    tokio::select! { _ = patient.read(&record) => panic!("it hangs"), () = started => {} }
    gone(dir.path());
}

/// Waits until the process that the script left behind is no more, or a zombie that nobody reaped.
fn gone(dir: &Path) {
    let pid = fs::read_to_string(dir.join("grandchild")).unwrap();
    let stat = PathBuf::from(format!("/proc/{}/stat", pid.trim()));
    let end = Instant::now() + Duration::from_secs(20);
    while fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") Z ")) {
        assert!(Instant::now() < end, "process {pid} lives on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_program_that_others_could_change_is_refused_and_checked_each_time() {
    let Some((dir, program)) = stage() else { return };
    let refused = |program: &Path| Exec::new(&config(program)).unwrap_err();
    assert!(refused(Path::new("hook")).contains("not an absolute path"));
    assert!(refused(&dir.path().join("nothing")).contains("No such file"));
    assert!(refused(dir.path()).contains("no executable file"));
    let exec = Exec::new(&config(&program)).unwrap();
    for (path, mode, said) in [
        (program.as_path(), 0o757, "may be changed by others (mode 0757)"),
        (program.as_path(), 0o775, "may be changed by others (mode 0775)"),
        (program.as_path(), 0o644, "no executable file"),
        (dir.path(), 0o777, "may be changed by others (mode 0777)"),
    ] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(refused(&program).contains(said), "{said}");
        let error = exec.read(&www()).await.unwrap_err();
        assert!(matches!(&error, ProviderError::Permanent { message, .. } if message.contains(said)), "{error:?}");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    assert!(Exec::new(&ExecConfig { grade: Grade::A, ..config(&program) }).is_err());
    exec.read(&www()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_program_sees_nothing_of_the_nodes_environment() {
    let Some((dir, program)) = stage() else { return };
    let out = dir.path().join("environment");
    let text = format!("#!/bin/sh\ncat > /dev/null\n/usr/bin/env > {}\necho '{{\"values\":[]}}'\n", out.display());
    fs::write(&program, text).unwrap();
    let exec = Exec::new(&ExecConfig { arguments: vec!["x y".to_owned()], ..config(&program) }).unwrap();
    assert_eq!(exec.read(&www()).await.unwrap().rrset, None);
    let environment = fs::read_to_string(out).unwrap();
    let names: Vec<_> = environment.lines().filter_map(|line| line.split('=').next()).collect();
    assert!(names.iter().all(|name| ["PATH", "LANG", "PWD", "SHLVL", "_", "OLDPWD"].contains(name)), "{names:?}");
    assert!(environment.contains("PATH=/usr/local/bin:/usr/bin:/bin\n"), "{environment}");
}
