//! The providers with HTTP APIs: each passes one table of cases, against a real server or a fake that an independent client
//! passes too.

#[path = "../common/dns_server.rs"]
mod dns_server;
#[path = "../common/fake_cloudflare/mod.rs"]
mod fake_cloudflare;
#[path = "../common/fake_http.rs"]
mod fake_http;
#[path = "../common/powerdns_server.rs"]
mod powerdns_server;
#[path = "../common/python.rs"]
mod python;

mod cloudflare;
mod contract;
mod exec;
mod powerdns;
mod webhook;
