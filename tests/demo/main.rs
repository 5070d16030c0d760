//! The parts of the demo on their own, against independent clients: `nsupdate`, `dig` and an HTTP client.

mod nameserver;
mod region;
