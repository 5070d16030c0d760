//! 7. What was acknowledged survives kill -9 of any minority and the power loss of all.
//!
//! What was applied once stands in the log of every node that has applied that far, whatever was lost on the way.

use super::{Invariant, Verdict, View};

#[derive(Default)]
pub struct Durable(u64);

impl Invariant for Durable {
    fn number(&self) -> u8 {
        7
    }

    fn ticked(&mut self, view: &View<'_>) -> Verdict {
        self.0 += 1;
        if !self.0.is_multiple_of(20) {
            return Ok(());
        }
        view.disks
            .iter()
            .try_for_each(|(node, disk)| view.replica.agrees(disk).map_err(|why| format!("node {node}: {why}")))
    }
}
