//! Every decoder as a function of bytes, for the drivers in `tests/fuzz`. Only with the feature `testing`.
//!
//! What comes from outside is bytes: a peer's message, a file on disk, a provider's answer, a probed endpoint's, a caller's.
//! Whatever they are, their decoder answers or refuses: it never panics, nor takes memory or time out of proportion. A
//! [`Target`] calls one decoder as the product calls it, and holds what it accepted to what must be true of it, such as that
//! it encodes and decodes to itself. The modules keep their targets beside their decoders, so that nothing is made public
//! for a test.

mod state;
mod texts;

use std::{fmt::Debug, str::FromStr};

pub(crate) use state::{answer_everything, log_of_actions, serving};

/// One decoder under test.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and that of its directory of inputs in `tests/fixtures/fuzz`.
    pub name: &'static str,
    /// Decodes the bytes. Panics if something is accepted that must not be.
    pub run: fn(&[u8]),
    /// Inputs that the decoder accepts, made by the real encoders: where mutation begins.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every decoder.
#[must_use]
pub fn targets() -> Vec<Target> {
    let groups = [
        crate::raft::fuzz::TARGETS,
        crate::raft::store::fuzz::TARGETS,
        state::TARGETS,
        texts::TARGETS,
        crate::dns::fuzz::TARGETS,
        crate::dns::ovh::fuzz::TARGETS,
        crate::dns::ovh::fuzz::BALANCER_TARGETS,
        crate::dns::cloudflare::fuzz::TARGETS,
        crate::dns::accelerator::fuzz::TARGETS,
        crate::dns::cloudflare::pools::fuzz::TARGETS,
        crate::probe::fuzz::TARGETS,
        crate::grpc::fuzz::TARGETS,
        crate::inspect::fuzz::TARGETS,
        crate::cli::fuzz::TARGETS,
        crate::history::fuzz::TARGETS,
        crate::dns::powerdns::fuzz::TARGETS,
        crate::dns::route53::fuzz::TARGETS,
        crate::dynamodb::fuzz::TARGETS,
    ];
    groups.concat()
}

/// Which of several decoders the first byte asks for, and the bytes for it.
pub(crate) fn split(input: &[u8]) -> Option<(u8, &[u8])> {
    input.split_first().map(|(first, rest)| (*first, rest))
}

/// An input for a target that begins with [`split`].
pub(crate) fn joined(first: u8, rest: impl AsRef<[u8]>) -> Vec<u8> {
    [&[first], rest.as_ref()].concat()
}

/// What was read from a text is written so that it reads as the same again.
pub(crate) fn reads_back<T: FromStr<Err: Debug> + ToString + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let written = value.to_string();
        let again = written.parse::<T>().expect("what was accepted is written so that it is accepted");
        assert_eq!(again, value, "`{written}`");
    }
}
