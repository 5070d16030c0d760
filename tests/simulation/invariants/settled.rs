//! 10. A leader lost at any instant of a switch costs time, never a second epoch, a half-written record or a stuck service.

use super::{Invariant, Verdict, View};

pub struct Settled;

impl Invariant for Settled {
    fn number(&self) -> u8 {
        10
    }

    fn at_rest(&mut self, view: &View<'_>) -> Verdict {
        for (name, service) in &view.state().services {
            if let Some(open) = &service.open {
                return Err(format!("{name}: epoch {} is stuck: {:?}", open.epoch, service.trouble));
            }
        }
        Ok(())
    }
}
