//! When each node was heard last, counted a second time: from the entries of the log alone, not from the state's views.

use std::collections::BTreeMap;

use quorate::{
    core::{
        names::{LogTime, NodeId},
        state::Action,
    },
    raft::simulated::Step,
};

use super::View;
use crate::cluster::OPINION_TTL;

#[derive(Default)]
pub struct Heard {
    /// Term and log time of each node's last report.
    reports: BTreeMap<NodeId, (u64, LogTime)>,
    /// What the simulation's time is ahead of log time in each term, as told by the entry that was committed quickest.
    ahead: BTreeMap<u64, i64>,
}

impl Heard {
    /// An entry was applied.
    pub fn applied(&mut self, view: &View<'_>, step: &Step) {
        if step.action.is_some() {
            let ahead = self.ahead.entry(step.position.term).or_insert(i64::MAX);
            *ahead = ahead_of_log_time(view).min(*ahead);
        }
        if let Some(Action::Reports(reports)) = &step.action {
            let at = (step.position.term, view.state().log_time);
            self.reports.extend(reports.iter().map(|report| (report.node, at)));
        }
    }

    /// Whether the node was heard in the term of this step, and not longer ago than an opinion counts.
    pub fn lately(&self, view: &View<'_>, step: &Step, node: NodeId) -> bool {
        let fresh =
            |(term, at): &(u64, LogTime)| *term == step.position.term && view.state().log_time <= at.after(OPINION_TTL);
        self.reports.get(&node).is_some_and(fresh)
    }

    /// For how long, in ms, this entry waited for its quorum after it was stamped. Leader and followers may lose each other
    /// meanwhile: what an entry rests on was so when it was stamped.
    pub fn waited(&self, view: &View<'_>, step: &Step) -> u64 {
        let quickest = self.ahead.get(&step.position.term).copied().unwrap_or(i64::MAX);
        u64::try_from(ahead_of_log_time(view).saturating_sub(quickest)).unwrap_or(0)
    }
}

fn ahead_of_log_time(view: &View<'_>) -> i64 {
    i64::try_from(view.now).unwrap().saturating_sub_unsigned(view.state().log_time.0)
}
