//! The failover protocol: pure, deterministic, without I/O, clocks, randomness, async or hash order.
//!
//! ```text
//! reports ─▶ opinion (runs, rise and fall) ─▶ verdict (a quorum of sites) ─▶ due ─▶ safety (named rules) ─▶ switch
//! ```
//! [`state::State::apply`] is the only way in: it takes a committed command with the leader's stamps and changes the
//! state. [`state::State::due`] says what a leader should propose; what it proposes is checked again in `apply`.
//!
//! What is absent on purpose: clocks (log time comes with the command), `HashMap` (hash order differs between nodes), and
//! any crate but serde and thiserror (and, to seal evidence, sha2, hex and `serde_json`, which are as pure). Clippy denies the
//! first two.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod apply;
pub mod audit;
mod calm;
pub mod draft;
mod due;
mod earliest;
pub mod explain;
pub mod gauge;
pub mod names;
pub mod opinion;
pub mod record;
mod refusal;
pub mod report;
pub mod sabotage;
pub mod safety;
pub mod seal;
pub mod service;
pub mod state;
pub mod switch;
#[cfg(test)]
pub(crate) mod tests;
pub mod verdict;
pub mod window;
