//! AWS Global Accelerator: which endpoint groups of a listener take traffic. Grade C: no call has a condition, so a stale write
//! is detected, not refused.
//!
//! A record of type POOL: its zone is the accelerator's id, its name the listener's, its values are the regions of the endpoint
//! groups whose traffic dial is 100; all others are at 0. The fence is the tag `quorate:LISTENER` of the accelerator, because of
//! a listener's resources only the accelerator can have tags (AWS Global Accelerator Developer Guide, "Using tag-based
//! policies": "only accelerators can include tags"; Service Authorization Reference, `TagResource`).
//!
//! ```text
//! read      tag, endpoint groups, tag again         not what was expected, or a region without a group: nothing is done
//! claim     TagResource                             the fence names the new epoch before any dial is turned
//! up        tag; UpdateEndpointGroup 100            for each new region
//! down      tag, groups, tag; UpdateEndpointGroup 0 for each old one, after the new ones were read back at 100
//! read      tag, groups, tag                        not what was written: in doubt, and the leader reads again
//! follow    DescribeAccelerator                     until DEPLOYED at AWS' edge locations, for a bounded time
//! ```
//!
//! * The fence goes first, so that whoever else has read the old one sees before each of its own steps that it was overtaken.
//!   A leader that is lost between two steps leaves the new epoch's fence with dials of before: its successor reads that they
//!   are not what the epoch wants, and turns them under the same epoch. New and old regions open beside each other under our
//!   own fence are such a write, half done, or a late step of one: they are no person's hand.
//! * A dial between 0 and 100 is somebody's hand: it is read as `REGION@DIAL`, which is no region's value.
//! * AWS does not say in which order its edge locations learn of two updates. In its API the new group takes traffic before the
//!   old one stops.
//!
//! What this never does: send an update twice, or change anything of a group but its dial.

mod client;
#[cfg(feature = "testing")]
pub(crate) mod fuzz;
mod pool;
mod refusal;
mod rights;

use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{Change, FenceReading, Finding, Grade, Grant, Provider, ProviderError, Reading, Receipt};
use crate::{aws::Settings, core::record::Record};
use client::Client;
use pool::{Group, Ids, OPEN, Place, SHUT, Turns};
use refusal::after_claim;
pub use rights::{policy, policy_of_account};

/// How often a reading is taken anew when the fence changed while the groups were being read.
const READ_ROUNDS: usize = 3;
/// The pauses between two questions whether a change is DEPLOYED.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// For how long AWS may still carry out a call after its connection was lost: an assumption, as AWS documents nothing.
const LONGEST_REQUEST: Duration = Duration::from_mins(1);

/// What it takes to reach an account.
#[derive(Debug, Clone)]
pub struct AcceleratorConfig {
    /// Endpoint and credentials.
    pub aws: Settings,
    /// The account's number, which ARNs have; accelerators are looked up without it, which takes one right more.
    pub account_id: Option<String>,
    /// How long each call may take.
    pub timeout: Duration,
    /// How long a change is followed until it is DEPLOYED.
    pub deployed_within: Duration,
}

impl AcceleratorConfig {
    /// The time each call may take, unless configured.
    pub const TIMEOUT: Duration = Duration::from_secs(10);
    /// How long a change is followed, unless configured.
    pub const DEPLOYED_WITHIN: Duration = Duration::from_secs(30);
}

/// The accelerators of one AWS account.
#[derive(Debug)]
pub struct Accelerator {
    client: Client,
    deployed_within: Duration,
}

/// What stands at a listener.
#[derive(Debug)]
struct Found {
    reading: Reading,
    groups: Vec<Group>,
}

impl Accelerator {
    /// Connects to nothing.
    #[must_use]
    pub fn new(config: &AcceleratorConfig) -> Self {
        Self { client: Client::new(config), deployed_within: config.deployed_within }
    }

    /// The dials and the fence as they stood in one moment: the fence is read before and after the groups.
    async fn look(&self, record: &Record, place: &Place) -> Result<Found, ProviderError> {
        let mut before = self.client.fence(place).await?;
        for _ in 0..READ_ROUNDS {
            let groups = self.client.groups(place).await?;
            let after = self.client.fence(place).await?;
            if before == after {
                return Ok(Found { reading: pool::reading(record, &groups, after)?, groups });
            }
            before = after;
        }
        Err(ProviderError::Transient { message: format!("{record} changed with every reading"), retry_after: None })
    }

    /// Turns the dials of a record whose fence already names this epoch.
    async fn turn(&self, change: &Change, place: &Place, turns: &Turns<'_>) -> Result<(), ProviderError> {
        let guarded = change.condition().is_some();
        let record = &change.record;
        for group in &turns.up {
            if guarded {
                let fence = FenceReading::of(self.client.fence(place).await?);
                still_ours(change, &fence)?;
            }
            self.client.turn(&group.arn, OPEN).await?;
        }
        for group in &turns.down {
            if guarded {
                let found = self.look(record, place).await?.reading;
                still_ours(change, &found.fence)?;
                // Nobody may have shut the new regions meanwhile: then this would be the last that takes traffic (invariant 5).
                let open = found.rrset.is_some_and(|found| change.rrset.values.is_subset(&found.values));
                if !open {
                    return Err(ProviderError::Indeterminate(format!(
                        "the new regions of {record} do not read back as open: the old ones stay open as well"
                    )));
                }
            }
            self.client.turn(&group.arn, SHUT).await?;
        }
        let found = self.look(record, place).await?.reading;
        still_ours(change, &found.fence)?;
        if found.rrset.as_ref() == Some(&change.rrset) {
            return Ok(());
        }
        Err(ProviderError::Indeterminate(format!("{record} does not read back as written: {found}")))
    }

    /// Follows a change until AWS calls it DEPLOYED or the time is over, and says which.
    async fn follow(&self, place: &Place) -> String {
        let (began, mut pause) = (Instant::now(), PAUSES.0);
        loop {
            let heard = match self.client.is_deployed(place).await {
                Ok(true) => {
                    let took = began.elapsed();
                    tracing::info!(accelerator = place.accelerator, ?took, "Global Accelerator: DEPLOYED");
                    return format!("DEPLOYED after {:.1} s", took.as_secs_f64());
                }
                Ok(false) => {
                    let waited = began.elapsed();
                    tracing::info!(accelerator = place.accelerator, ?waited, "Global Accelerator: IN_PROGRESS");
                    "IN_PROGRESS"
                }
                Err(why) => {
                    tracing::warn!(accelerator = place.accelerator, %why, "nobody says how far the change is");
                    if !why.retryable() {
                        return format!("unknown whether DEPLOYED: {why}");
                    }
                    "unknown whether DEPLOYED"
                }
            };
            if began.elapsed() + pause >= self.deployed_within {
                return format!("{heard} after {:.1} s", began.elapsed().as_secs_f64());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}

/// Whether the fence still names this very change.
fn still_ours(change: &Change, fence: &FenceReading) -> Result<(), ProviderError> {
    if change.condition().is_none() || matches!(fence, FenceReading::Present(fence) if *fence == change.fence) {
        return Ok(());
    }
    let now = match fence {
        FenceReading::Absent => "is gone".to_owned(),
        FenceReading::Present(fence) => format!("says `{fence}`"),
        FenceReading::Unreadable(texts) => format!("says `{}`", super::clip(&texts.join(" | "))),
    };
    Err(ProviderError::Stale(format!("somebody else wrote {} meanwhile: its fence {now}", change.record)))
}

#[async_trait]
impl Provider for Accelerator {
    fn kind(&self) -> &'static str {
        "global-accelerator"
    }

    fn grade(&self) -> Grade {
        Grade::C
    }

    fn longest_request(&self) -> Duration {
        LONGEST_REQUEST
    }

    fn goes_in_steps(&self) -> bool {
        true
    }

    fn fence_place(&self, record: &Record) -> String {
        Ids::of(record).map_or_else(
            |_| record.fence_place(),
            |ids| format!("the tag `{}` of accelerator {}", ids.tag(), ids.accelerator),
        )
    }

    async fn read(&self, record: &Record) -> Result<Reading, ProviderError> {
        let place = self.client.place(record).await?;
        Ok(self.look(record, &place).await?.reading)
    }

    async fn rights(&self, record: &Record) -> Vec<Finding> {
        self.look_at_rights(record).await
    }

    fn policy(&self, records: &[Record]) -> Vec<Grant> {
        policy(&|accelerator| self.client.known_arn(accelerator), records)
    }

    async fn write(&self, change: &Change) -> Result<Receipt, ProviderError> {
        change.check_values(pool::is_region)?;
        let record = &change.record;
        let place = self.client.place(record).await?;
        let before = self.look(record, &place).await?;
        if !change.holds_at(&before.reading) {
            return Err(ProviderError::Stale(format!("{record} is not what was read: {}", before.reading)));
        }
        let turns = pool::turns(record, &before.groups, &change.rrset)?;
        self.client.set_fence(&place, &change.fence).await?;
        let turned = self.turn(change, &place, &turns).await;
        turned.map_err(|error| after_claim(record, &change.fence, error))?;
        let followed = self.follow(&place).await;
        Ok(Receipt(format!("Global Accelerator turned the dials of {}: {turns}; {followed}", place.listener)))
    }
}
