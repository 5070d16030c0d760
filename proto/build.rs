//! Compiles the protocol without `protoc`: protox parses, tonic generates.

use std::{env, error::Error, path::PathBuf};

use tonic_prost_build::Config;

const PUBLIC: [&str; 3] = ["quorate/v1/verdict.proto", "quorate/v1/admin.proto", "quorate/v1/history.proto"];
const PEERS: [&str; 2] = ["quorate/raft/v1/peer.proto", "quorate/raft/v1/store.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let files = protox::compile(PUBLIC.iter().chain(&PEERS), ["proto"])?;
    // The reflection service of the daemon publishes the API, not the peers' protocol.
    let public = protox::compile(PUBLIC, ["proto"])?;
    std::fs::write(out.join("quorate_v1.bin"), prost::Message::encode_to_vec(&public))?;
    let mut config = Config::new();
    config.bytes(["."]);
    tonic_prost_build::configure().compile_fds_with_config(files, config)?;
    Ok(())
}
