//! Service files and node configurations as their authors see them: what is accepted, and how each mistake is told.

use std::path::{Path, PathBuf};

use quorate::service_file;

fn fixture(name: &str) -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (path, text)
}

#[test]
fn ten_errors_are_told_at_once() {
    let (path, text) = fixture("services/ten-errors.toml");
    let problems = service_file::parse(&text).unwrap_err().in_file("ten-errors.toml");
    println!("{problems}");
    assert_eq!(problems.count(), 10);
    let _ = path;
}

#[test]
fn good_files_are_accepted() {
    for name in ["services/design.toml", "services/every-key.toml"] {
        let (_, text) = fixture(name);
        match service_file::parse(&text) {
            Ok((service, warnings)) => {
                println!("{service:#?}");
                for warning in &warnings {
                    print!("{}", warning.as_warning(name));
                }
            }
            Err(problems) => panic!("{}", problems.in_file(name)),
        }
    }
}
