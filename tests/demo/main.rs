//! The parts of the demo on their own, against independent clients: `nsupdate`, `dig` and `curl`-like requests.

mod nameserver;
