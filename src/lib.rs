//! Quorate: DNS failover that takes a quorum.

pub mod cli;
pub mod core;
pub mod dns;
pub mod grpc;
pub mod leader;
pub mod probe;
pub mod proto;
pub mod view;
