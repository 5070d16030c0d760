//! kill -9, power cuts and a full disk: nothing that was acknowledged may be gone.
//!
//! The power cut is real as far as a kernel goes: xfs in a file, mounted through a loop device, is shut down without
//! writing its log (`xfs_io -x -c shutdown`), so that what was not synced is gone. With the syncs taken out, the same test
//! must lose entries, or it shows nothing.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, Command as Process, Stdio},
    time::Duration,
};

use super::*;

const CHILD: &str = "QUORATE_TEST_STORE_CHILD";
const UNSYNCED: &str = "QUORATE_TEST_STORE_UNSYNCED";

/// Not a test: the process that is killed. It appends for as long as it lives and prints what was acknowledged.
#[tokio::test]
async fn child_that_appends() {
    let Ok(dir) = env::var(CHILD) else { return };
    let unsynced = env::var(UNSYNCED).unwrap_or_default();
    let dir = StoreDir::open(Path::new(&dir)).unwrap();
    let mut store = LogStore::open_with(dir, |engine, file| {
        (engine.skip_sync, file.skip_sync) = (unsynced == "log", unsynced == "vote");
    })
    .unwrap();
    let state = store.get_log_state().await.unwrap();
    let mut next = state.last_log_id.map_or(0, |id| id.index() + 1);
    let mut term = store.read_vote().await.unwrap().map_or(1, |v| v.leader_id.term);
    loop {
        // Sizes vary, so that segments roll over; the log is purged behind, so that they are used again.
        let count = 1 + next % 5;
        let size = usize::try_from((next * 7_919) % 20_000).unwrap();
        let entries: Vec<Entry> = (next..next + count).map(|i| entry(1, i, size)).collect();
        let appended = store.blocking_append(entries).await.map_err(|e| e.to_string());
        give_up_on(appended);
        next += count;
        println!("acknowledged {next}");
        if next % 11 == 0 {
            term += 1;
            give_up_on(store.save_vote(&Vote::new(term, 1)).await);
            println!("voted {term}");
        }
        if next % 50 < count && next > 200 {
            give_up_on(store.purge(log_id(1, next - 150)).await);
        }
    }
}

/// A node stops at the first error of its store, without tidying up.
fn give_up_on<E: std::fmt::Display>(outcome: Result<(), E>) {
    if let Err(e) = outcome {
        println!("failed {e}");
        std::process::exit(0);
    }
}

struct Appender {
    process: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

/// What the child said that it has.
#[derive(Debug, Default, Clone, Copy)]
struct Acknowledged {
    next: u64,
    term: u64,
}

impl Appender {
    /// `unsynced` names the file whose syncs are taken out.
    fn start(dir: &Path, unsynced: &str) -> Self {
        let mut process = Process::new(env::current_exe().unwrap());
        process.args(["--exact", "raft::store::tests::power::child_that_appends", "--nocapture", "--test-threads=1"]);
        process.env(CHILD, dir).env(UNSYNCED, unsynced).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = process.spawn().unwrap();
        let stdout = process.stdout.take().unwrap();
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { process, lines }
    }

    /// Reads until so many more entries were acknowledged.
    fn until(&self, acknowledged: &mut Acknowledged, more: u64) {
        let goal = acknowledged.next + more;
        while acknowledged.next < goal {
            let line = self.lines.recv_timeout(Duration::from_mins(1)).expect("the child appends");
            acknowledged.note(&line);
        }
    }

    /// Kills the child; what it had already said counts too.
    fn kill(mut self, acknowledged: &mut Acknowledged) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(5)) {
            acknowledged.note(&line);
        }
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Acknowledged {
    fn note(&mut self, line: &str) {
        // The test harness prints before the first line without a newline.
        if let Some((_, next)) = line.split_once("acknowledged ") {
            self.next = next.parse().unwrap();
        } else if let Some((_, term)) = line.split_once("voted ") {
            self.term = term.parse().unwrap();
        }
    }

    /// Whether everything acknowledged is there.
    fn kept(&self, dir: &Path) -> Result<(), String> {
        let store = open(dir).map_err(|e| e.to_string())?;
        let tail = store.tail().clone();
        let next = tail.end().0.map_or(0, |id| id.index() + 1);
        let term = tail.vote.map_or(0, |v| v.leader_id.term);
        if next < self.next || term < self.term {
            return Err(format!("{next} entries and term {term} of {self:?}"));
        }
        let first = tail.purged.map_or(0, |id| id.index() + 1);
        let have = ids(&store);
        if have.first().map(LogId::index) != Some(first) || have.len() as u64 != next - first {
            return Err(format!("{} entries from {first} to {next}", have.len()));
        }
        Ok(())
    }
}

#[test]
fn kill_nine_loses_nothing_acknowledged() {
    let dir = Fresh::new();
    let mut acknowledged = Acknowledged::default();
    for round in 0..6 {
        let child = Appender::start(dir.path(), "");
        child.until(&mut acknowledged, 40 + 13 * round);
        child.kill(&mut acknowledged);
        acknowledged.kept(dir.path()).unwrap();
    }
}

/// A file system in a file.
struct Disk {
    mount: PathBuf,
    image: PathBuf,
    _dir: tempfile::TempDir,
}

fn run(program: &str, args: &[&str]) -> bool {
    Process::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

impl Disk {
    /// `None` if this machine cannot do it.
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (mount, image) = (dir.path().join("mount"), dir.path().join("image"));
        fs::create_dir(&mount).unwrap();
        File::create(&image).unwrap().set_len(320 << 20).unwrap();
        let disk = Self { mount, image, _dir: dir };
        (run("mkfs.xfs", &["-q", disk.image.to_str()?]) && disk.mount()).then_some(disk)
    }

    fn mount(&self) -> bool {
        run("mount", &["-t", "xfs", "-o", "loop", self.image.to_str().unwrap(), self.mount.to_str().unwrap()])
    }

    fn unmount(&self) -> bool {
        // The killed child's last descriptors may be closed a moment later.
        (0..100).any(|_| {
            run("umount", &[self.mount.to_str().unwrap()]) || {
                std::thread::sleep(Duration::from_millis(50));
                false
            }
        })
    }

    /// From here on nothing more reaches the disk, and what was not synced never does.
    fn cut(&self) {
        assert!(run("xfs_io", &["-x", "-c", "shutdown", self.mount.to_str().unwrap()]), "xfs_io shutdown");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &[self.mount.to_str().unwrap()]);
    }
}

/// Says so if this machine cannot do it, which is a failure where nothing may be skipped.
fn disk() -> Option<Disk> {
    let disk = Disk::new();
    if disk.is_none() {
        assert!(env::var("QUORATE_NO_SKIP").as_deref() != Ok("1"), "no xfs on a loop device here");
        println!("SKIP: no xfs on a loop device here (root and xfsprogs are needed)");
    }
    disk
}

fn rounds(disk: &Disk, rounds: u64, unsynced: &str) -> Result<u64, String> {
    let store = disk.mount.join("store");
    create_store(&store, &cluster(), 1).unwrap();
    let mut acknowledged = Acknowledged::default();
    for round in 0..rounds {
        let child = Appender::start(&store, unsynced);
        child.until(&mut acknowledged, 60 + 17 * round);
        disk.cut();
        child.kill(&mut acknowledged);
        assert!(disk.unmount() && disk.mount(), "mounted again");
        acknowledged.kept(&store)?;
    }
    Ok(acknowledged.next)
}

#[test]
fn a_power_cut_loses_nothing_acknowledged() {
    let Some(disk) = disk() else { return };
    let kept = rounds(&disk, 8, "").unwrap();
    println!("{kept} acknowledged entries survived 8 power cuts");
}

#[test]
fn without_the_syncs_a_power_cut_loses_entries() {
    let Some(disk) = disk() else { return };
    for file in ["log", "vote"] {
        let store = disk.mount.join("store");
        let lost = rounds(&disk, 3, file).expect_err("the test would not notice a missing fdatasync");
        println!("without the syncs of `{file}`: {lost}");
        fs::remove_dir_all(store).unwrap();
    }
}

#[test]
fn a_full_disk_is_an_error_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mount = dir.path().join("mount");
    fs::create_dir(&mount).unwrap();
    let disk = Disk { mount: mount.clone(), image: PathBuf::new(), _dir: dir };
    let mount = mount.to_str().unwrap();
    if !run("mount", &["-t", "tmpfs", "-o", "size=6m", "tmpfs", mount]) {
        assert!(env::var("QUORATE_NO_SKIP").as_deref() != Ok("1"), "no tmpfs here");
        println!("SKIP: no tmpfs here (root is needed)");
        return;
    }
    let store_dir = disk.mount.join("store");
    create_store(&store_dir, &cluster(), 1).unwrap();
    let child = Appender::start(&store_dir, "");
    let mut acknowledged = Acknowledged::default();
    let failed = loop {
        let line = child.lines.recv_timeout(Duration::from_mins(1)).expect("the child fails");
        acknowledged.note(&line);
        if line.contains("failed ") {
            break line;
        }
    };
    child.kill(&mut acknowledged);
    println!("after {} entries: {failed}", acknowledged.next);
    assert!(failed.contains("No space left"), "{failed}");
    assert!(acknowledged.next > 10);
    assert!(run("mount", &["-o", "remount,size=64m", mount]));
    acknowledged.kept(&store_dir).unwrap();
}
