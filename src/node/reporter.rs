//! Sends the node's reports to whoever leads: at each tick, and at once when there is news.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::{debug, trace};

use super::Node;

impl Node {
    /// Reports until dropped.
    pub(super) async fn report(self: Arc<Self>, every: Duration) {
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut force_full = true;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.prober.news() => {}
            }
            let report = self.prober.ledger().next_report(Instant::now().into_std(), force_full);
            let seq = report.seq;
            // An answer that takes longer than an election would is as good as none.
            let answer = timeout(self.patience, self.hand_in(report)).await;
            let mut ledger = self.prober.ledger();
            match answer {
                Ok(Ok(reply)) => {
                    trace!(seq, "reported");
                    force_full = false;
                    match reply.needs_full {
                        None => ledger.acked(seq),
                        Some(last) => ledger.refused(seq, last),
                    }
                }
                Ok(Err(why)) => {
                    debug!(seq, %why, "the report reached no leader");
                    ledger.unanswered();
                    drop(ledger);
                    // News stays news: without a leader it would be offered again at once.
                    tick.tick().await;
                }
                Err(_) => {
                    debug!(seq, "the report was not answered in time");
                    ledger.unanswered();
                }
            }
        }
    }
}
