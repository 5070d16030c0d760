//! Quorate: DNS failover that takes a quorum.

pub mod core;
pub mod dns;
pub mod pki;
pub mod proto;
pub mod raft;
pub mod tls;
