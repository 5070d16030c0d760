//! One program for every decoder: `QUORATE_FUZZ_TARGET` names the one that libFuzzer drives. With `QUORATE_FUZZ_SEEDS` it
//! writes the valid inputs of all into that directory instead.
#![no_main]

use std::{env, fs, path::Path, process, sync::OnceLock};

use libfuzzer_sys::fuzz_target;
use quorate::fuzz::{Target, targets};

static TARGET: OnceLock<Target> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let target = TARGET.get_or_init(|| {
        if let Some(directory) = env::var_os("QUORATE_FUZZ_SEEDS") {
            write_seeds(Path::new(&directory));
            process::exit(0);
        }
        let name = env::var("QUORATE_FUZZ_TARGET").expect("QUORATE_FUZZ_TARGET names a target");
        targets().into_iter().find(|target| target.name == name).expect("no target has this name")
    });
    (target.run)(data);
});

fn write_seeds(directory: &Path) {
    for target in targets() {
        let directory = directory.join(target.name);
        fs::create_dir_all(&directory).expect("a directory");
        for (i, seed) in (target.seeds)().iter().enumerate() {
            fs::write(directory.join(format!("seed-{i}")), seed).expect("a file");
        }
    }
}
