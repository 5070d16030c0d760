//! Quorate: DNS failover that takes a quorum.

pub mod cli;
pub mod config;
pub mod core;
pub mod demo;
pub mod diagnostic;
pub mod dns;
pub mod grpc;
pub mod http;
pub mod leader;
pub mod metrics;
pub mod node;
pub mod pki;
pub mod probe;
pub mod proto;
pub mod raft;
pub mod reader;
pub mod secret;
pub mod service_file;
pub mod telemetry;
pub mod tls;
pub mod view;
