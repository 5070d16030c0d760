//! Service files and node configurations as their authors see them: what is accepted, and how each mistake is told.

mod nodes;
mod properties;
mod services;

use std::path::{Path, PathBuf};

/// A file of the repository.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    let path = path(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Compares with what is in the file; with `QUORATE_BLESS=1` the file is written instead, to be read before it is committed.
fn assert_golden(name: &str, actual: &str) {
    if std::env::var_os("QUORATE_BLESS").is_some() {
        std::fs::write(path(name), actual).unwrap();
    }
    let wanted = read(name);
    assert!(actual == wanted, "{name} says otherwise.\n--- wanted\n{wanted}\n--- actual\n{actual}");
}

/// Replaces one passage, which must be there, so that no case goes stale in silence.
fn with(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "`{old}` is not in the text");
    text.replacen(old, new, 1)
}
