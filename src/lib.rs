//! Quorate: DNS failover that takes a quorum.

pub mod core;
pub mod dns;
pub mod grpc;
pub mod proto;
