//! The public API (`quorate.v1`): who may call what, and the cluster behind it.
//!
//! ```text
//! TLS ─▶ role of the certificate (auth) ─▶ verdict / admin: proto to domain and back (convert) ─▶ dyn Cluster
//!                                              every refusal becomes a canonical code (errors)
//! ```
//! The servers hold no state and decide nothing: they read a state through [`Cluster`] and propose actions to it. They
//! never see the consensus engine, nor a provider's credentials.

pub mod cluster;
pub mod errors;

pub use cluster::{Cluster, ClusterError, Consistency, ReadInfo, Violation};
