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
}

impl Heard {
    /// An entry was applied.
    pub fn applied(&mut self, view: &View<'_>, step: &Step) {
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
}
