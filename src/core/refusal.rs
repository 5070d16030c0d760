//! Why the state forbids what was proposed, in words for whoever asked.

use serde::{Deserialize, Serialize};

use super::{
    names::{Epoch, RegionName, ServiceName},
    safety::Rule,
    state::{ENDPOINTS_LIMIT, ServiceState},
};

/// Why the state forbids a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    /// No such service.
    #[error("there is no service `{0}`")]
    NoService(ServiceName),
    /// No such region.
    #[error("service `{service}` has no region `{region}`")]
    NoRegion {
        /// The service.
        service: ServiceName,
        /// The region asked for.
        region: RegionName,
    },
    /// The epoch proposed or expected is not the one that follows.
    #[error("the service's epoch is {current}, not {expected}: someone switched it meanwhile")]
    Epoch {
        /// What was expected.
        expected: Epoch,
        /// What it is.
        current: Epoch,
    },
    /// Nothing to switch.
    #[error("`{0}` is the active region already")]
    AlreadyActive(RegionName),
    /// A rule holds it.
    #[error("rule `{rule}` holds it: {figure}")]
    Rule {
        /// Which one.
        rule: Rule,
        /// Its figure.
        figure: String,
    },
    /// The switch in question is not open, or not that far.
    #[error("epoch {0} is not open")]
    NotOpen(Epoch),
    /// A service must not change under an open switch.
    #[error("the switch of epoch {0} is still open: wait until it is observed")]
    SwitchOpen(Epoch),
    /// The active region must stay in the file.
    #[error("`{0}` is the active region and must stay in the service: switch away from it first")]
    ActiveRegionRemoved(RegionName),
    /// The service is adopted already, or not yet.
    #[error("the record is adopted already")]
    Adopted,
    /// Too many endpoints.
    #[error("the cluster would have {0} endpoints, {ENDPOINTS_LIMIT} are the most")]
    TooManyEndpoints(usize),
    /// No switch is open that could be aborted.
    #[error("no switch is under way, epoch {0} is over: to move the service, start a switch")]
    NothingToAbort(Epoch),
    /// The open switch has no region to go back to.
    #[error(
        "epoch {0} does not leave a region that was active before, so nothing is there to go back to: start a switch"
    )]
    NothingToGoBackTo(Epoch),
    /// Another service has the name at that provider: both would write one fence.
    #[error(
        "service `{service}` cannot have {record}: service `{by}` has {theirs}, and both would write one fence; put them into \
         one service, or take one of them out"
    )]
    RecordTaken {
        /// Who would have it.
        service: ServiceName,
        /// The record.
        record: String,
        /// Who has it.
        by: ServiceName,
        /// Under what type.
        theirs: String,
    },
    /// The open switch leads there.
    #[error("epoch {epoch} is under way to `{to}` already")]
    UnderWay {
        /// The epoch of the open switch.
        epoch: Epoch,
        /// Where it leads.
        to: RegionName,
    },
}

impl Refusal {
    /// Why a service does not go to the region that it answers, or is on its way to.
    #[must_use]
    pub fn no_move(state: &ServiceState, to: &RegionName) -> Self {
        match &state.open {
            Some(open) => Self::UnderWay { epoch: open.epoch, to: to.clone() },
            None => Self::AlreadyActive(to.clone()),
        }
    }
}
