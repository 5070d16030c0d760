//! The admin CLI; everything is in `quorate::cli`.

use std::{io, process::ExitCode};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // Fails only when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let exit = quorate::cli::run(std::env::args_os(), &mut io::stdout(), &mut io::stderr()).await;
    ExitCode::from(exit as u8)
}
