//! What a node's own controls said, and which peers it reached.

use serde::{Deserialize, Serialize};

use crate::core::{names::NodeId, switch::SightEvidence};

/// A node's own sight when a switch was authorised.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sight {
    /// The node.
    pub node: u64,
    /// Its site.
    pub site: String,
    /// Why it called itself blind.
    pub blind: Option<String>,
    /// Its controls.
    pub controls: Vec<Control>,
    /// The peers that it reached.
    pub peers_reached: Vec<u64>,
    /// The peers that it did not reach.
    pub peers_missed: Vec<u64>,
}

/// A control, as its node last saw it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Control {
    /// What it is called.
    pub control: String,
    /// What kept it from working.
    pub fails: Option<String>,
}

impl Sight {
    /// As it is published.
    #[must_use]
    pub fn of(node: NodeId, of: &SightEvidence) -> Self {
        let peers = |reached| of.peers.iter().filter(move |(_, was)| **was == reached).map(|(peer, _)| *peer).collect();
        let control =
            |(control, fails): &(String, Option<String>)| Control { control: control.clone(), fails: fails.clone() };
        Self {
            node,
            site: of.site.to_string(),
            blind: of.blind.clone(),
            controls: of.controls.iter().map(control).collect(),
            peers_reached: peers(true),
            peers_missed: peers(false),
        }
    }
}
