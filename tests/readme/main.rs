//! The README's deployment, run as it stands: its blocks are taken out and carried out in a world of their own.
//!
//! A block is run when a comment before it says where: `<!-- run: admin -->`, `dns` or `node`. `<!-- until: PATTERN -->`
//! above that repeats the block until its output has the pattern. `world.sh` makes the world: a network of its own with
//! the README's addresses, and for each machine a file system of its own over the real one, all gone at the end with every
//! process. Nothing outside of it is changed.

use std::{fmt::Write as _, fs, path::Path, process::Command};

const README: &str = include_str!("../../README.md");

/// One block to run.
struct Block {
    place: String,
    until: String,
    script: String,
    line: usize,
}

fn comment<'t>(line: &'t str, key: &str) -> Option<&'t str> {
    line.strip_prefix("<!-- ")?.strip_prefix(key)?.strip_prefix(": ")?.strip_suffix(" -->")
}

/// The blocks to run, in the order of the text.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let (mut until, mut place) = (String::new(), None);
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(pattern) = comment(line, "until") {
            pattern.clone_into(&mut until);
        } else if let Some(name) = comment(line, "run") {
            place = Some(name.to_owned());
        } else if line == "```sh"
            && let Some(place) = place.take()
        {
            let inner = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
            let script = inner.fold(String::new(), |mut script, line| {
                let _ = writeln!(script, "{line}");
                script
            });
            blocks.push(Block { place, until: std::mem::take(&mut until), script, line: number + 1 });
        }
    }
    assert!(place.is_none() && until.is_empty(), "a mark stands before no block");
    blocks
}

/// Whether the world can be made here; when not, says so and, under `QUORATE_NO_SKIP=1`, fails.
fn possible() -> bool {
    let tools = "named dig tsig-keygen unshare setpriv systemd-sysusers systemd-analyze ip nsenter mount python3";
    let script = format!(
        "for tool in {tools}; do command -v $tool > /dev/null || {{ echo \"$tool is missing\"; exit 1; }}; done
         unshare --net --mount --pid --fork true 2>&1 || {{ echo 'no namespaces of its own (root is needed)'; exit 1; }}"
    );
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let asked = Command::new("bash").args(["-c", &script]).env("PATH", path).output().unwrap();
    if asked.status.success() {
        return true;
    }
    let why = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    assert!(std::env::var("QUORATE_NO_SKIP").as_deref() != Ok("1"), "{why}");
    println!("SKIP: the README's deployment: {why}");
    false
}

#[test]
fn the_deployment_does_what_the_readme_says() {
    if !possible() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut steps = String::new();
    let blocks = blocks(README);
    assert!(blocks.len() > 5, "the README's blocks were not found");
    for (i, block) in blocks.iter().enumerate() {
        let file = directory.path().join(format!("step-{i}.sh"));
        fs::write(&file, &block.script).unwrap();
        let Block { place, until, line, .. } = block;
        writeln!(steps, "step {line} {place} {} '{until}'", file.display()).unwrap();
    }
    fs::write(directory.path().join("steps.sh"), steps).unwrap();
    let binaries = Path::new(env!("CARGO_BIN_EXE_quorated")).parent().unwrap();
    // Whatever runs in the world dies with its first process, which dies with `unshare`.
    let output = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash"])
        .arg(root.join("tests/readme/world.sh"))
        .args([root, directory.path(), binaries])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "a step of the README failed");
}

#[test]
fn knot_takes_the_example_for_it() {
    let example = README.split("<!-- knot -->\n```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("knot.conf");
    fs::write(&file, example.replace('…', "c2VjcmV0c2VjcmV0c2VjcmV0")).unwrap();
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let Ok(checked) = Command::new("knotc").arg("-c").args([&file]).arg("conf-check").env("PATH", path).output() else {
        assert!(std::env::var("QUORATE_NO_SKIP").as_deref() != Ok("1"), "knotc is missing");
        println!("SKIP: knotc is missing (knot)");
        return;
    };
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn every_relative_link_and_file_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let words = README.split(|c: char| c.is_whitespace() || "`()[]\"',;:".contains(c));
    let files = words.filter(|word| ["deploy/", "tests/", "src/", "proto/"].iter().any(|dir| word.starts_with(dir)));
    let missing: Vec<_> = files.filter(|file| !root.join(file.trim_end_matches('.')).exists()).collect();
    assert!(missing.is_empty(), "the README names what is not there: {missing:?}");
}
