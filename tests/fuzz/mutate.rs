//! Makes a good input wrong, in the ways in which formats go wrong.

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

/// The longest input.
const LONGEST: usize = 256 * 1024;

/// What formats are made of, and where their readers trip.
const TOKENS: &[&[u8]] = &[
    // TOML, JSON and other text.
    b"[",
    b"]",
    b"{",
    b"}",
    b"\"",
    b"\"\"\"",
    b"'",
    b"=",
    b",",
    b".",
    b":",
    b"\n",
    b"\r\n",
    b"\\",
    b"\\u0000",
    b"\0",
    b" ",
    b"-1",
    b"0",
    b"1e999",
    b"1.5",
    b"9223372036854775808",
    b"18446744073709551615",
    b"-9223372036854775808",
    b"true",
    b"null",
    b"~",
    "é\u{202e}".as_bytes(),
    b"\xff\xfe",
    b"[[region]]\n",
    b"[a.b]\n",
    b"a.",
    b"a=",
    b"\x1b[31m",
    b"1979-05-27",
    b"99999999y",
    // CBOR: long strings, lists and maps, known length and not, tags, halves of floats.
    b"\x5a\xff\xff\xff\xff",
    b"\x7b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\x9f",
    b"\xbf",
    b"\xff",
    b"\x81",
    b"\xa1",
    b"\xc1",
    b"\xf9\x7e\x00",
    b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xf6",
    // Protocol buffers: varints of ten bytes, groups, lengths.
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x0b",
    b"\x0c",
    b"\x0a\xff\xff\xff\xff\x0f",
    b"\x12\x00",
    b"\x08\x00",
    // DNS: pointers, the root, the longest label, TSIG.
    b"\xc0\x0c",
    b"\xc0\x00",
    b"\x00",
    b"\x3f",
    b"\x00\xfa\x00\xff",
    b"\x00\x29",
    // HTTP.
    b"HTTP/1.1 ",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 0\r\n",
    b"\r\n\r\n",
    b"ffffffffffffffff\r\n",
    // Magic numbers of the store.
    b"QRATESN\n",
    b"QRATEMT\n",
    b"QRATEID\n",
];

/// `base` with a few changes; `other` lends passages.
pub fn mutated(base: &[u8], other: &[u8], rng: &mut StdRng) -> Vec<u8> {
    if rng.random_ratio(1, 50) {
        return (0..rng.random_range(0..512)).map(|_| rng.random()).collect();
    }
    let mut bytes = base.to_vec();
    for _ in 0..rng.random_range(1..6) {
        change(&mut bytes, other, rng);
        bytes.truncate(LONGEST);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], rng: &mut StdRng) {
    let at = rng.random_range(0..=bytes.len());
    let passage = passage(bytes.len(), rng);
    match rng.random_range(0..11) {
        0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
        1 if at < bytes.len() => bytes[at] = rng.random(),
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(passage)),
        4 => {
            let copy = bytes[passage].to_vec();
            bytes.splice(at..at, copy);
        }
        5 => {
            let lent = other[self::passage(other.len(), rng)].to_vec();
            bytes.splice(passage, lent);
        }
        6 => {
            let cut = rng.random_range(0..=other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[cut..]);
        }
        7 => {
            let field = length_field(bytes.len(), rng);
            overwrite(bytes, at, &field);
        }
        8 => {
            let token = *TOKENS.choose(rng).unwrap();
            bytes.splice(at..at, token.iter().copied());
        }
        9 => overwrite(bytes, at, TOKENS.choose(rng).unwrap()),
        // Depth: a passage again and again. Seldom long, because long inputs are slow ones.
        _ => {
            let many = if rng.random_ratio(1, 20) { 20_000 } else { 200 };
            let many = rng.random_range(2..=many);
            let unit = if rng.random() { TOKENS.choose(rng).unwrap().to_vec() } else { bytes[passage].to_vec() };
            let unit = unit.repeat(many.min(1 + LONGEST / unit.len().max(1)));
            bytes.splice(at..at, unit);
        }
    }
}

/// A short passage, mostly.
fn passage(length: usize, rng: &mut StdRng) -> std::ops::Range<usize> {
    let from = rng.random_range(0..=length);
    let longest = if rng.random_ratio(1, 4) { length - from } else { (length - from).min(16) };
    from..from + rng.random_range(0..=longest)
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    let room = with.len().min(bytes.len() - at);
    bytes[at..at + room].copy_from_slice(&with[..room]);
}

/// A number of 1 to 8 bytes that is about the length, or as large as it can be.
fn length_field(length: usize, rng: &mut StdRng) -> Vec<u8> {
    let length = length as u64;
    let near = [
        0,
        1,
        length.wrapping_sub(1),
        length,
        length + 1,
        u64::MAX,
        u64::MAX >> 1,
        1 << 31,
        u64::from(u32::MAX),
        1 << 16,
    ];
    let number = near.choose(rng).unwrap().wrapping_add(rng.random_range(0..3));
    let width = *[1, 2, 4, 8].choose(rng).unwrap();
    if rng.random() { number.to_le_bytes()[..width].to_vec() } else { number.to_be_bytes()[8 - width..].to_vec() }
}
