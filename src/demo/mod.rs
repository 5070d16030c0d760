//! The demo.

pub mod nameserver;
pub mod zone;
