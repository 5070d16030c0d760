//! The demo.

pub mod nameserver;
pub mod region;
pub mod zone;
