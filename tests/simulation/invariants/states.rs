//! 8. Equal logs give equal states: every node's state hash at an index is the same.

use super::{Invariant, Verdict, View};

#[derive(Default)]
pub struct States(u64);

impl Invariant for States {
    fn number(&self) -> u8 {
        8
    }

    fn ticked(&mut self, view: &View<'_>) -> Verdict {
        self.0 += 1;
        if !self.0.is_multiple_of(100) {
            return Ok(());
        }
        let at = view.state().position;
        let standing: Vec<_> = view.disks.iter().filter(|(_, disk)| disk.applied() == Some(at)).collect();
        if standing.is_empty() {
            return Ok(());
        }
        let wanted = view.replica.hash();
        for (node, disk) in standing {
            if let Some((position, hash)) = disk.state_hash().filter(|(position, _)| *position == at)
                && hash != wanted
            {
                return Err(format!("node {node} has another state than the log gives at {position:?}"));
            }
        }
        Ok(())
    }
}
