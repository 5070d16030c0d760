//! The providers against real servers (BIND, Knot) and against a fake of OVH's API that OVH's own client passes too.

#[path = "../common/dns_frame.rs"]
mod dns_frame;
#[path = "../common/dns_server.rs"]
mod dns_server;
#[path = "../common/fake_ovh/mod.rs"]
mod fake_ovh;
#[path = "../common/hold_proxy.rs"]
mod hold_proxy;
#[path = "../common/python.rs"]
mod python;

mod authoritative;
mod iplb;
mod ovh;
mod rfc2136;
mod rights;
