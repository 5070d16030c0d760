//! Probing: how a node learns whether regions are up.

pub mod ledger;
