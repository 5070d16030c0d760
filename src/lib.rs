//! Quorate: DNS failover that takes a quorum.

pub mod core;
pub mod dns;
pub mod leader;
pub mod probe;
pub mod proto;
