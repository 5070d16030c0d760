//! What several integration tests need: certificates, links that can be cut, and waiting for conditions.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod link;
pub mod pki;

use std::time::Duration;

use tokio::time::Instant;

/// Waits until `condition` holds; panics with `what` after `limit`.
pub async fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
