//! The main job end to end: real nodes, real DNS servers, real outages, and only the public tools to see and steer them.
//!
//! Each test has a cluster of its own. What is concluded about the record is concluded from `dig` at the DNS server, what is
//! concluded about the cluster from `quoratectl`.

#[path = "../common/cluster.rs"]
mod cluster;
#[path = "../common/dns_frame.rs"]
mod dns_frame;
#[path = "../common/dns_server.rs"]
mod dns_server;
#[path = "../common/fake_accelerator.rs"]
mod fake_accelerator;
#[path = "../common/fake_cloudflare/mod.rs"]
mod fake_cloudflare;
#[path = "../common/fake_http.rs"]
mod fake_http;
#[path = "../common/fake_ovh/mod.rs"]
mod fake_ovh;
#[path = "../common/fault_proxy.rs"]
mod fault_proxy;
#[path = "../common/hold_proxy.rs"]
mod hold_proxy;
#[path = "../common/ministack.rs"]
mod ministack;
#[path = "../common/netns.rs"]
mod netns;
#[path = "../common/python.rs"]
mod python;
#[path = "../common/route53.rs"]
mod route53_zone;
#[path = "../common/seat.rs"]
mod seat;

mod aborted;
mod accelerator;
mod audit;
mod clients;
mod cloudflare_pools;
mod delayed;
mod drill;
mod evidence;
mod failover;
mod freeze;
mod input;
mod iplb;
mod isolation;
mod killed;
mod members;
mod ovh;
mod reads;
mod replay;
mod route53;
mod several;
mod stage;
mod windows;
