//! Sends the node's reports to whoever leads: at each tick, and at once when there is news.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::debug;

use super::Node;
use crate::leader::ReportReply;

/// The least time between two reports: when a whole region dies, its endpoints' failures share a few.
const SPACING: Duration = Duration::from_millis(30);

impl Node {
    /// Reports until dropped.
    pub(super) async fn report(self: Arc<Self>, every: Duration) {
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.prober.news() => {}
            }
            let peers = self.peers_seen.borrow().clone();
            self.prober.ledger().set_peers(&peers);
            let report = self.prober.ledger().next_report(Instant::now().into_std(), false);
            let seq = report.seq;
            // An answer that takes longer than an election would is as good as none.
            let answer = timeout(self.patience, self.hand_in(report)).await;
            let reached = matches!(answer, Ok(Ok(_)));
            match answer {
                Ok(Ok(ReportReply { needs_full: None })) => {
                    debug!(seq, "the leader took the report");
                    self.prober.ledger().acked(seq);
                }
                Ok(Ok(ReportReply { needs_full: Some(last) })) => self.prober.ledger().refused(seq, last),
                Ok(Err(why)) => debug!(seq, %why, "the report reached no leader"),
                Err(_) => debug!(seq, "the report was not answered in time"),
            }
            if !reached {
                self.prober.ledger().unanswered();
                // News stays news: without a leader it would be offered again at once.
                tick.tick().await;
            }
            sleep(SPACING).await;
        }
    }
}
