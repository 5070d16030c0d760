//! 5. A record never goes empty, and never takes a value that is no region's.

use super::{Invariant, Verdict, View};
use crate::world::Arrived;

pub struct Values;

impl Invariant for Values {
    fn number(&self) -> u8 {
        5
    }

    fn written(&mut self, _: &View<'_>, write: &Arrived) -> Verdict {
        let values = write.change.rrset.values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        if ["192.0.2.1", "192.0.2.2"].contains(&values.as_str()) {
            Ok(())
        } else {
            Err(format!("{} would answer `{values}`", write.change.record))
        }
    }
}
