//! The TCP probe: connect, and, if configured, send a text and wait for another.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    check::{Answer, BODY_LIMIT, Client, Failure, Progress, Stage},
    connect::connect,
};
use crate::core::service::TcpCheck;

/// Passes as soon as the answer contains the text; fails when it ended or grew past [`BODY_LIMIT`] without.
pub(super) async fn check(client: &Client, check: &TcpCheck, progress: &Progress) -> Result<Answer, Failure> {
    let mut stream = connect(&client.resolver, &check.target, progress).await?;
    progress.enter(Stage::Waiting);
    if let Some(text) = &check.send {
        stream.write_all(text.as_bytes()).await.map_err(Failure::Broken)?;
    }
    let Some(wanted) = check.expect.as_deref().map(str::as_bytes) else { return Ok(Answer::default()) };
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        // Only what is new, and as much before it as may begin the text, is searched.
        let from = answer.len().saturating_sub(wanted.len());
        let room = chunk.len().min(BODY_LIMIT - answer.len());
        let read = if room == 0 { 0 } else { stream.read(&mut chunk[..room]).await.map_err(Failure::Broken)? };
        if read == 0 {
            return Ok(Answer::new(Some(Failure::TcpAnswer(answer.len()))));
        }
        progress.enter(Stage::Reading);
        answer.extend_from_slice(&chunk[..read]);
        if contains(&answer[from..], wanted) {
            return Ok(Answer::default());
        }
    }
}

/// Whether `text` occurs in `bytes`. An empty one does.
pub(super) fn contains(bytes: &[u8], text: &[u8]) -> bool {
    text.is_empty() || bytes.windows(text.len()).any(|window| window == text)
}
