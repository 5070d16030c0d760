//! The provider that the leader works with here: one record, and whatever shall become of a write.

use std::collections::VecDeque;

use super::*;

/// What becomes of a write at the provider, when it is not what shall.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fate {
    /// Refused: somebody else wrote in between.
    Stale,
    /// The answer is lost.
    Lost { applied: bool },
    /// One step was applied in any case, and the next put off by so many seconds.
    PutOff { applied: bool, seconds: u64 },
    /// The answer is a receipt, and nothing was done.
    Forgotten,
    /// It is applied, and the answer never comes.
    Hangs,
}

/// A provider of grade A with one record, which remembers every write that it took.
#[derive(Debug)]
pub(super) struct TestProvider {
    pub(super) stands: Mutex<Reading>,
    pub(super) taken: Mutex<Vec<(u64, RrSet)>>,
    pub(super) fuse: Arc<Fuse>,
    /// Of the next writes.
    pub(super) fates: Mutex<VecDeque<Option<Fate>>>,
    /// A write begins, and never ends by itself: it waits for `ends`.
    pub(super) hangs: bool,
    /// A write that hangs has begun.
    pub(super) begun: Arc<tokio::sync::Notify>,
    pub(super) ends: Arc<tokio::sync::Notify>,
    pub(super) grade: Grade,
    pub(super) goes_in_steps: bool,
    /// When a write that hung was dropped.
    pub(super) dropped: Arc<Mutex<Option<Instant>>>,
}

/// Remembers when it was dropped.
struct Dropped(Arc<Mutex<Option<Instant>>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        *self.0.lock().unwrap() = Some(Instant::now());
    }
}

#[async_trait]
impl Provider for TestProvider {
    fn grade(&self) -> Grade {
        self.grade
    }

    fn longest_request(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn goes_in_steps(&self) -> bool {
        self.goes_in_steps
    }

    async fn read(&self, _: &Record) -> Result<Reading, ProviderError> {
        Ok(self.stands.lock().unwrap().clone())
    }

    async fn write(&self, change: &Change) -> Result<Receipt, ProviderError> {
        if self.hangs && change.fence.epoch == Epoch(2) {
            let _dropped = Dropped(self.dropped.clone());
            self.begun.notify_one();
            self.ends.notified().await;
            return Err(ProviderError::Indeterminate("the answer was lost".into()));
        }
        let fate = self.fates.lock().unwrap().pop_front().flatten();
        let done = self.take(change, fate);
        if fate == Some(Fate::Hangs) {
            let _dropped = Dropped(self.dropped.clone());
            std::future::pending::<()>().await;
        }
        done
    }
}

impl TestProvider {
    fn take(&self, change: &Change, fate: Option<Fate>) -> Result<Receipt, ProviderError> {
        if let Some(Fate::Stale) = fate {
            return Err(ProviderError::Stale("somebody else wrote".into()));
        }
        let blown = self.fuse.blows();
        if blown && self.fuse.fault == Fault::Before {
            return Err(ProviderError::Indeterminate("never sent".into()));
        }
        let mut stands = self.stands.lock().unwrap();
        if !change.holds_at(&stands) {
            return Err(ProviderError::Stale("it is not as read".into()));
        }
        let lost = ProviderError::Indeterminate("no answer to this one".into());
        match fate {
            Some(Fate::Lost { applied: false }) => return Err(lost),
            Some(Fate::Forgotten) => return Ok(Receipt("forgotten".into())),
            Some(Fate::PutOff { applied: false, seconds }) => return Err(put_off(seconds)),
            _ => {}
        }
        *stands = Reading { rrset: Some(change.rrset.clone()), fence: FenceReading::Present(change.fence.clone()) };
        self.taken.lock().unwrap().push((change.fence.epoch.0, change.rrset.clone()));
        match fate {
            Some(Fate::Lost { .. }) => return Err(lost),
            Some(Fate::PutOff { seconds, .. }) => return Err(put_off(seconds)),
            _ => {}
        }
        if blown { Err(ProviderError::Indeterminate("the answer was lost".into())) } else { Ok(Receipt("ok".into())) }
    }
}

fn put_off(seconds: u64) -> ProviderError {
    let message = "one step is done, the next was put off".into();
    ProviderError::Unfinished { message, retry_after: Some(Duration::from_secs(seconds)) }
}
