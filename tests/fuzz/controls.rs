//! Decoders that go wrong, each in one way, to see that it would be noticed.

use std::hint::black_box;

use quorate::fuzz::Target;

/// Each control and what the report on it says.
pub const WANTED: [(&str, &str); 4] = [
    ("control-panic", "panicked: a decoder that panics"),
    ("control-stack", "the process died"),
    ("control-memory", "MiB of memory"),
    ("control-hang", "no end within"),
];

pub const TARGETS: [Target; 4] = [
    Target { name: "control-panic", run: |input| assert!(input.len() % 7 != 3, "a decoder that panics"), seeds },
    Target { name: "control-stack", run: |input| _ = black_box(deeper(input, 0)), seeds },
    Target { name: "control-memory", run: |input| drop(black_box(vec![0_u8; (input.len() % 5) << 27])), seeds },
    Target { name: "control-hang", run: |input| while black_box(input.len()) % 5 == 3 {}, seeds },
];

fn seeds() -> Vec<Vec<u8>> {
    vec![b"0123456".to_vec(), vec![b'['; 5000]]
}

/// One frame a byte.
fn deeper(input: &[u8], depth: usize) -> usize {
    let frame = black_box([depth; 64]);
    match input.split_first() {
        Some((_, rest)) => deeper(rest, depth + frame[0] % 2) + frame[63],
        None => depth,
    }
}
