//! DNS failover that takes a quorum.
//!
//! A cluster of three or five nodes, one a site. Every node probes every region of a service; the observations are
//! replicated through Raft; a region is down only when a quorum of *sites* says so; and only the elected leader changes DNS,
//! under an epoch that the record itself carries. What that is good for, and how to run it, is in the README; this is the map
//! for whoever reads the code.
//!
//! ```text
//!    regions          controls, peers                                      DNS provider      nameservers
//!       ▲                   ▲                                               ▲       ▲             ▲
//!       │ probes            │ am I blind?                        read, then │       │ conditional │ do all
//!       │                   │                                               │       │ write       │ agree?
//!  ┌────┴───────────────────┴───┐  report   ┌───────────────────────────────┴───────┴─────────────┴──┐
//!  │ probe: outcomes to runs    ├──────────▶│ leader: due ─▶ propose ─▶ carry out the committed      │
//!  └────────────────────────────┘           │         intent ─▶ settle; reconcile meanwhile          │
//!        on every node                      └──────┬──────────────────────────────────▲──────────────┘
//!                                          propose │           on the leader alone    │ applied state
//!                                           ┌──────▼──────────────────────────────────┴──────────────┐
//!                                           │ raft: log, votes, snapshots; peers over gRPC with mTLS  │
//!                                           └──────┬──────────────────────────────────▲──────────────┘
//!                                        commands  │           on every node          │ State
//!                                           ┌──────▼──────────────────────────────────┴──────────────┐
//!                                           │ core: opinions ─▶ verdicts ─▶ rules ─▶ switches. Pure   │
//!                                           └──────────────────────▲─────────────────────────────────┘
//!  quoratectl (cli) ── gRPC, mTLS, roles ──▶ grpc ─────────────────┘ reads; Prometheus ── HTTP ──▶ http, metrics
//! ```
//!
//! # Where to begin
//!
//! [`core`] is the whole of what is decided, without I/O, clock or randomness: read [`core::state`], then [`core::verdict`],
//! [`core::switch`] and [`core::safety`]. [`leader`] is the whole of what is done about it. Everything else is a shell.
//!
//! | module | what it is |
//! |---|---|
//! | [`core`] | pure: validated services, opinions, verdicts, rules, switches, evidence, the record of administrative acts |
//! | [`leader`] | what only a leader does: propose what is due, carry out intents, reconcile |
//! | [`raft`] | consensus; its `store` alone knows what is on disk, and no openraft type leaves it |
//! | [`probe`] | the schedule, one file a kind of probe, controls and blindness, runs and reports |
//! | [`dns`] | the providers and their grades; asking every authoritative nameserver |
//! | [`dynamodb`] | replicas of global tables, heartbeats through one region and their arrival in another |
//! | [`aws`] | how AWS is reached: one client, bounded times, credentials |
//! | [`inspect`] | what a node finds out without changing anything: rights, records, fresh probes; the rehearsed switch |
//! | [`node`] | wires it all; the one place that starts tasks |
//! | [`grpc`], [`view`], [`proto`] | the public API, what it shows, and its generated types |
//! | [`http`], [`metrics`], [`telemetry`] | metrics and health without certificates; logs |
//! | [`cli`] | `quoratectl`, one file a command family |
//! | [`config`], [`service_file`], [`reader`], [`diagnostic`], [`secret`] | TOML to validated values, every mistake at once; credentials |
//! | [`tls`], [`pki`] | who is calling; the cluster's certificates |
//! | [`evidence`] | the evidence of switches as a file, and its verification without a cluster |
//! | [`history`], [`replay`] | what a node applied, kept for a while; the same observations under another policy |
//! | [`surroundings`] | wall time, connections, a listener: the system's, or a simulation's |
//! | [`demo`] | the whole of it on one machine, and a judge |
//!
//! Dependencies run one way: `bin → node, cli, demo`; `node → leader, probe, raft, grpc, http`; `grpc → inspect → leader,
//! probe, dns`; `leader, config → dns`; `inspect, leader, probe → dynamodb → aws`; all `→ core`. `probe` and `dns` never see `raft`,
//! and `core` sees nothing. `tests/tidy.rs` holds this.
//!
//! # Time
//!
//! Wall clocks decide nothing. *Log time* is carried by each command: milliseconds of the leader's monotonic clock since it
//! first took office in its term, added to the log time it took over. It stands still between two terms, and goes on while a
//! leader is without a quorum. An opinion counts only if its run was logged in the current term, and within its time to live
//! since the leader was given it, so that an election voids all opinions: elections delay a failover and never cause one.
//!
//! # Invariants
//!
//! Tests, the demo's judge and comments quote them by number.
//!
//! 1. Epochs of a service rise by exactly one, and at most one switch is open per service.
//! 2. Every provider write names a committed intent; its sender was confirmed leader after that intent was committed.
//! 3. An automatic switch is authorised only with a quorum of distinct sites down on `from`, and up on `to`, all logged in the
//!    current term and fresh.
//! 4. Blind, silent or expired is never down.
//! 5. A record never goes empty, and never takes a value that is no region's.
//! 6. A write of a superseded epoch never lasts: refused (grades A and B), or found and undone within one reconcile interval
//!    (grade C).
//! 7. What was acknowledged survives `kill -9` of any minority and the power loss of all.
//! 8. Equal logs give equal states: every node's state hash at an index is the same.
//! 9. With a majority connected, `from` truly dead for a majority of sites and another region up, DNS switches within the bound
//!    that the policy implies.
//! 10. A leader lost at any instant of a switch costs time, never a second epoch, a half-written record or a stuck service.
//! 11. One outage causes one switch: no flap faster than the cooldown, none beyond the budget.
//!
//! # Absent on purpose
//!
//! * **Belief in leadership as authority.** A check before an act is no fence: the condition is the provider's to check, and
//!   `apply` checks every proposal again.
//! * **A verdict in anybody's memory.** Verdicts are computed where the log is applied, on every node alike.
//! * **Retries that hide.** A provider's write is never repeated by the one who sent it; its fate is read first.
//! * **Health that the region tells by itself.** Nodes ask; nothing is pushed, so that silence can only be unknown.
//! * **Steering of shares of traffic.** A service is in one region. Weights, geography and latency are another program's work.
//! * **A nameserver.** Records stay where they are; Quorate is out of the path of every query and of all traffic.
//! * **A figure for lag that nobody measured.** What AWS's metrics leave out in an outage is unknown here, and never zero.

pub mod aws;
pub mod cli;
pub mod config;
pub mod core;
pub mod demo;
pub mod diagnostic;
pub mod dns;
pub mod dynamodb;
pub mod evidence;
#[cfg(feature = "testing")]
pub mod fuzz;
pub mod grpc;
pub mod history;
pub mod http;
pub mod inspect;
pub mod leader;
pub mod metrics;
pub mod node;
pub mod pki;
pub mod probe;
pub mod proto;
pub mod raft;
pub mod reader;
pub mod replay;
pub mod secret;
pub mod service_file;
pub mod surroundings;
pub mod telemetry;
pub mod tls;
pub mod view;
