//! A node's disk: xfs in a file, mounted through a loop device, so that its power can be cut and its space filled.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// Xfs takes no less than 300 MB; the file is sparse.
const SIZE: u64 = 320 << 20;
const FILLER: &str = "filler";

/// Mounted while this value lives.
pub struct Disk {
    mount: PathBuf,
    image: PathBuf,
}

fn run(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

impl Disk {
    /// `None` if this machine cannot do it.
    pub fn make(dir: &Path) -> Option<Self> {
        let disk = Self { mount: dir.join("disk"), image: dir.join("image") };
        fs::create_dir(&disk.mount).ok()?;
        File::create(&disk.image).and_then(|file| file.set_len(SIZE)).ok()?;
        (run("mkfs.xfs", &["-q", text(&disk.image)]) && disk.mount()).then_some(disk)
    }

    pub fn path(&self) -> &Path {
        &self.mount
    }

    fn mount(&self) -> bool {
        run("mount", &["-t", "xfs", "-o", "loop", text(&self.image), text(&self.mount)])
    }

    fn unmount(&self) -> bool {
        // The killed node's last descriptors may be closed a moment later.
        (0..100).any(|_| {
            run("umount", &[text(&self.mount)]) || {
                std::thread::sleep(Duration::from_millis(50));
                false
            }
        })
    }

    /// From here on nothing more reaches the disk, and what was not synced never does.
    pub fn cut_power(&self) {
        assert!(run("xfs_io", &["-x", "-c", "shutdown", text(&self.mount)]), "xfs_io shutdown");
    }

    /// Power is back. The node that ran on it must be gone.
    pub fn restore_power(&self) {
        assert!(self.unmount() && self.mount(), "the disk is mounted again");
    }

    /// Leaves no room.
    pub fn fill(&self) {
        let filler = self.mount.join(FILLER);
        let mut size = SIZE;
        while size > 4096 {
            let grown = run(
                "fallocate",
                &[
                    "-o",
                    &fs::metadata(&filler).map_or(0, |of| of.len()).to_string(),
                    "-l",
                    &size.to_string(),
                    text(&filler),
                ],
            );
            if !grown {
                size /= 2;
            }
        }
    }

    /// Gives the room back.
    pub fn empty(&self) {
        let _ = fs::remove_file(self.mount.join(FILLER));
        // Not left to a later power cut to undo.
        run("sync", &["-f", text(&self.mount)]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unmount();
    }
}
