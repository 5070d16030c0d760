//! Evidence as a file: everything that a service's switches rested on, exported from a node and verified without one.
//!
//! ```text
//! { "format": "quorate evidence", "version": 1,
//!   "exported": { cluster, node, applied_index, term, wall_ms, program },
//!   "files":    { SHA-256: the service file that switches rest on },
//!   "services": { NAME: { "bundles": [ the sealed switch, with "sums" and "hash" ], "head": HASH, "open": EPOCH or null } },
//!   "sums": { JSON pointer: SHA-256 }, "hash": HASH }
//! ```
//! How a bundle is summed, hashed and bound to the one before it: [`crate::core::seal`]. The document as a whole is summed and
//! hashed in the same way. Its bytes are those of its JSON with sorted keys, indented by two blanks, and a newline: any other
//! byte is a fault, so that each of them counts.
//!
//! What it proves: that nothing in the file was changed since a head hash was written down elsewhere, and that what it says is
//! what the protocol would have done with such votes. What it does not: the hashes follow from the content, so whoever can
//! rewrite the state of a majority of nodes, or this file before anybody saw its head, can make another chain that verifies.
//! Hold the head against another node's, or against an earlier export.

mod document;
mod judge;
mod sums;
mod verify;

pub use document::{Exported, export, text};
pub use verify::{Fault, Summary, SummaryOfService, continues, has_head, verify};

/// What a file says that it is.
const FORMAT: &str = "quorate evidence";
/// The version that is written, and the only one that is read.
const VERSION: u64 = 1;
