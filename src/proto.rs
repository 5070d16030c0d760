//! The generated protocol: the public API (`quorate.v1`) and the peers' own (`quorate.raft.v1`).
#![allow(missing_docs, clippy::all, clippy::pedantic, rustdoc::all)]

/// `quorate.v1`: verdicts and administration.
pub mod v1 {
    tonic::include_proto!("quorate.v1");

    /// The descriptors of `quorate.v1`, for server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/quorate_v1.bin"));
}

/// `quorate.raft.v1`: between nodes.
pub mod raft {
    tonic::include_proto!("quorate.raft.v1");
}
