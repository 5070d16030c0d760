//! The failover protocol: pure, deterministic, without I/O, clocks, randomness or hash order.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod draft;
pub mod names;
pub mod record;
pub mod report;
pub mod service;
pub mod state;
