//! `exec` with the program that `deploy` shows, behind a shell script that goes wrong when it is told to. Its record is a pool's,
//! which whoever writes the program may as well switch.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use quorate::{
    core::record::{Record, RecordType},
    dns::{
        Grade, Provider, ProviderError,
        exec::{Exec, ExecConfig},
        serving,
    },
};
use serde_json::{Value, json};

use crate::{
    book::Book,
    changes::{record, switch},
    contract::{Handle, Of, RETRY_AFTER, Subject, Trouble, Truth},
    dns_server::available,
};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/exec-example.py");
/// `fault-read` and `fault-write` say what goes wrong next, `log` tells what was called.
const SCRIPT: &str = r#"#!/bin/sh
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
    held)
        : > "$dir/caught"
        while [ ! -e "$dir/released" ]; do sleep 0.05; done
        rm "$dir/released"
        run
        exit $? ;;
esac
case $fault in
    *garbage) printf 'no json' ;;
    *flood) head -c 1000000 /dev/zero ;;
    *hang) sleep 60 & echo $! > "$dir/grandchild"; wait ;;
    *signal) kill -9 $$ ;;
    empty) ;;
    busy) printf '{"retry_after": @RETRY_AFTER@}'; exit 75 ;;
    *) exit "${fault#applied-}" ;;
esac
"#;

/// The script beside the file that the example keeps.
struct Stage {
    book: Book,
    program: PathBuf,
}

fn pool() -> Record {
    record("pool.example.test", RecordType::Pool)
}

impl Stage {
    fn new() -> Option<Self> {
        if !available("python3", "python3") {
            return None;
        }
        let book = Book::seeded(&pool(), MEMBERS[0]);
        fs::set_permissions(book.dir(), fs::Permissions::from_mode(0o755)).unwrap();
        let text = SCRIPT.replace("@DIR@", &book.dir().display().to_string()).replace("@EXAMPLE@", EXAMPLE);
        let text = text.replace("@RETRY_AFTER@", &RETRY_AFTER.as_secs().to_string());
        let program = book.dir().join("hook");
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Some(Self { book, program })
    }

    fn with(&self, timeout: Duration) -> Handle {
        Arc::new(Exec::new(&ExecConfig { timeout, ..config(&self.program) }).unwrap())
    }
}

fn config(program: &Path) -> ExecConfig {
    ExecConfig { program: program.into(), arguments: vec![], grade: Grade::B, timeout: Duration::from_secs(30) }
}

fn fault_file(of: Of) -> &'static str {
    if of == Of::Reading { "fault-read" } else { "fault-write" }
}

fn fail_next(dir: &Path, of: Of, fault: &str) {
    fs::write(dir.join(fault_file(of)), fault).unwrap();
}

const MEMBERS: [&str; 3] = ["eu-west-3", "us-east-1", "us-west-2"];

pub fn subject() -> Option<Box<dyn Subject>> {
    Some(Box::new(Stage::new()?))
}

#[async_trait]
impl Subject for Stage {
    fn name(&self) -> &'static str {
        "exec (POOL)"
    }

    fn provider(&self) -> Handle {
        self.with(Duration::from_secs(30))
    }

    fn record(&self) -> Record {
        pool()
    }

    fn values(&self) -> [&'static str; 3] {
        MEMBERS
    }

    fn absent(&self) -> Result<Record, &'static str> {
        Ok(record("nothing.example.test", RecordType::Pool))
    }

    fn misfit(&self) -> Result<Record, &'static str> {
        Err("whoever runs the endpoint or program says what it can switch")
    }

    async fn truth(&self) -> Truth {
        self.book.truth(&pool())
    }

    async fn put_fence(&self, text: Option<&str>) {
        self.book.put_fence(&pool(), text);
    }

    async fn arm(&self, of: Of, trouble: Trouble) -> Result<Handle, &'static str> {
        let fault = match trouble {
            Trouble::TooMany | Trouble::PutOff => "busy",
            Trouble::Expired => "78",
            Trouble::Forbidden => "77",
            Trouble::ServerError { applied: false } => "1",
            Trouble::ServerError { applied: true } => "applied-1",
            Trouble::AnswerLost { applied: false } => "signal",
            Trouble::AnswerLost { applied: true } => "applied-signal",
            Trouble::Hang { applied: false } => "hang",
            Trouble::Hang { applied: true } => "applied-hang",
            Trouble::Garbage => "applied-garbage",
            Trouble::Flood => "applied-flood",
            Trouble::EmptyAnswer => "empty",
            Trouble::Held => "held",
        };
        fail_next(self.book.dir(), of, fault);
        Ok(if matches!(trouble, Trouble::Hang { .. }) { self.with(Duration::from_secs(5)) } else { self.provider() })
    }

    async fn disarm(&self) -> usize {
        let armed = [Of::Reading, Of::Writing].map(|of| self.book.dir().join(fault_file(of)));
        armed.iter().filter(|file| fs::remove_file(file).is_ok()).count()
    }

    async fn sent(&self) -> usize {
        let file = self.book.dir().join("log");
        let log = fs::read_to_string(&file).unwrap_or_default();
        let _ = fs::remove_file(file);
        log.lines().filter(|line| *line == "write").count()
    }

    async fn caught(&self) {
        while fs::remove_file(self.book.dir().join("caught")).is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn release(&self) {
        fs::write(self.book.dir().join("released"), "").unwrap();
    }

    /// A program is given none.
    fn secrets(&self) -> Vec<String> {
        vec![]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_that_takes_too_long_is_killed_with_all_that_it_started() {
    let Some(stage) = Stage::new() else { return };
    let impatient = Exec::new(&ExecConfig { timeout: Duration::from_secs(3), ..config(&stage.program) }).unwrap();
    fail_next(stage.book.dir(), Of::Reading, "hang");
    let error = impatient.read(&pool()).await.unwrap_err().to_string();
    assert!(error.contains("was killed after 3s"), "{error}");
    gone(stage.book.dir());

    // The caller gives up first: a leader that lost its lease drops the future.
    let patient = Exec::new(&config(&stage.program)).unwrap();
    fs::remove_file(stage.book.dir().join("grandchild")).unwrap();
    fail_next(stage.book.dir(), Of::Reading, "hang");
    let started = async {
        while fs::read_to_string(stage.book.dir().join("grandchild")).map_or(true, |text| text.trim().is_empty()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let record = pool();
    tokio::select! { _ = patient.read(&record) => panic!("it hangs"), () = started => {} }
    gone(stage.book.dir());
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
    let Some(stage) = Stage::new() else { return };
    let refused = |program: &Path| Exec::new(&config(program)).unwrap_err();
    assert!(refused(Path::new("hook")).contains("not an absolute path"));
    assert!(refused(&stage.book.dir().join("nothing")).contains("No such file"));
    assert!(refused(stage.book.dir()).contains("no executable file"));
    let exec = Exec::new(&config(&stage.program)).unwrap();
    for (path, mode, said) in [
        (stage.program.as_path(), 0o757, "may be changed by others (mode 0757)"),
        (stage.program.as_path(), 0o775, "may be changed by others (mode 0775)"),
        (stage.program.as_path(), 0o644, "no executable file"),
        (stage.book.dir(), 0o777, "may be changed by others (mode 0777)"),
    ] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(refused(&stage.program).contains(said), "{said}");
        let error = exec.read(&pool()).await.unwrap_err();
        assert!(matches!(&error, ProviderError::Permanent { message, .. } if message.contains(said)), "{error:?}");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    assert!(Exec::new(&ExecConfig { grade: Grade::A, ..config(&stage.program) }).is_err());
    exec.read(&pool()).await.unwrap();
}

/// A program that serves several services is told which one it is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_run_is_told_for_which_service() {
    let Some(stage) = Stage::new() else { return };
    let plain = stage.with(Duration::from_secs(30));
    for (service, epoch) in [("web", 1), ("shop", 2)] {
        let exec = serving(&plain, &service.parse().unwrap());
        let receipt = switch(&*exec, &pool(), &MEMBERS[..1], epoch).await.unwrap();
        assert!(receipt.0.starts_with(&format!("epoch {epoch} of {service} in prod is in ")), "{receipt:?}");
        assert_eq!(stage.book.service(&pool()).as_deref(), Some(service));
    }
    // A reading, too; and nobody's where no service asks.
    let out = stage.book.dir().join("question");
    fs::write(&stage.program, format!("#!/bin/sh\ncat > {}\necho '{{\"values\":[]}}'\n", out.display())).unwrap();
    for (exec, service) in [(serving(&plain, &"web".parse().unwrap()), json!("web")), (plain, json!(null))] {
        exec.read(&pool()).await.unwrap();
        let question: Value = serde_json::from_slice(&fs::read(&out).unwrap()).unwrap();
        assert_eq!((&question["call"], &question["service"]), (&json!("read"), &service));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_program_sees_nothing_of_the_nodes_environment() {
    let Some(stage) = Stage::new() else { return };
    let out = stage.book.dir().join("environment");
    let text = format!("#!/bin/sh\ncat > /dev/null\n/usr/bin/env > {}\necho '{{\"values\":[]}}'\n", out.display());
    fs::write(&stage.program, text).unwrap();
    let exec = Exec::new(&ExecConfig { arguments: vec!["x y".to_owned()], ..config(&stage.program) }).unwrap();
    assert_eq!(exec.read(&pool()).await.unwrap().rrset, None);
    let environment = fs::read_to_string(out).unwrap();
    let names: Vec<_> = environment.lines().filter_map(|line| line.split('=').next()).collect();
    assert!(names.iter().all(|name| ["PATH", "LANG", "PWD", "SHLVL", "_", "OLDPWD"].contains(name)), "{names:?}");
    assert!(environment.contains("PATH=/usr/local/bin:/usr/bin:/bin\n"), "{environment}");
}
