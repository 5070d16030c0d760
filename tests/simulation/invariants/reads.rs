//! 7. What was acknowledged survives: whoever reads later, with a quorum behind the answer, is told of it.
//!
//! Even what some node had applied before the question is in the answer, whoever gives it.

use super::{Invariant, Verdict, View};
use crate::cluster::{Done, Order};

pub struct Reads;

impl Invariant for Reads {
    fn number(&self) -> u8 {
        7
    }

    fn answered(&mut self, _: &View<'_>, done: &Done) -> Verdict {
        match (&done.order, &done.outcome) {
            (Order::Read { service, since }, Ok(Some(epoch))) if *epoch < since.0 => {
                Err(format!("{service}: a read answers epoch {epoch}, and epoch {since} stood before it was asked"))
            }
            _ => Ok(()),
        }
    }
}
