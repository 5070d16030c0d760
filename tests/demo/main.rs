//! The demo as a whole, and its parts on their own against independent clients: `nsupdate`, `dig` and an HTTP client.

mod nameserver;
mod region;
mod run;
