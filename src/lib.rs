//! Quorate: DNS failover that takes a quorum.

pub mod core;
pub mod demo;
pub mod dns;
pub mod proto;
