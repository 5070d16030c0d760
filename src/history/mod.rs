//! What a node applied, kept for a while, so that a policy can be tried on the past.
//!
//! ```text
//! apply ─▶ Recorder ─(bounded queue)─▶ thread ─▶ history/segment-00000042 …   ─▶ gRPC ─▶ `history export`, `replay`
//!           never waits, drops instead     no fsync, rotated, bounded
//! ```
//! It is a recording and no part of consensus: nothing is decided from it, nothing waits for it, and losing it costs nothing but
//! the past. A power cut may take its last seconds, a damaged record is skipped and named, a full disk stops the recording and
//! never the node. Each segment begins with the whole state, so that a replay can begin at any of them.
//!
//! What is absent on purpose: the single observation. Sites tell the cluster runs, and these are what is recorded.

mod format;
#[cfg(feature = "testing")]
pub(crate) mod fuzz;
mod record;
mod recorder;
pub mod segments;
mod trim;

pub use format::{Damage, Decoder, Item, encode};
pub use record::{Begin, Record};
pub use recorder::{Recorder, Settings};
pub use trim::Trimmer;
