//! Consensus between real nodes: own stores, mTLS over loopback, and links that can be cut.

#[path = "../common/mod.rs"]
mod common;

mod cluster;
mod consensus;
mod refusals;
