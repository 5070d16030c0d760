//! A provider that shall know for which service it is asked is told with every call of the leader.

use super::*;

/// Answers only where it was told the service.
#[derive(Debug)]
struct Named {
    inner: Arc<TestProvider>,
    service: Option<ServiceName>,
}

impl Named {
    fn check(&self) -> Result<(), ProviderError> {
        match self.service.as_ref().map(ServiceName::as_str) {
            Some("app") => Ok(()),
            other => Err(ProviderError::Permanent { message: format!("asked for {other:?}"), hint: String::new() }),
        }
    }
}

#[async_trait]
impl Provider for Named {
    fn grade(&self) -> Grade {
        self.inner.grade()
    }

    fn longest_request(&self) -> Duration {
        self.inner.longest_request()
    }

    fn serving(&self, service: &ServiceName) -> Option<Arc<dyn Provider>> {
        Some(Arc::new(Self { inner: self.inner.clone(), service: Some(service.clone()) }))
    }

    async fn read(&self, record: &Record) -> Result<Reading, ProviderError> {
        self.check()?;
        self.inner.read(record).await
    }

    async fn write(&self, change: &Change) -> Result<Receipt, ProviderError> {
        self.check()?;
        self.inner.write(change).await
    }
}

#[tokio::test(start_paused = true)]
async fn every_call_of_the_leader_names_the_service() {
    let named = |world: &World| Arc::new(Named { inner: world.provider.clone(), service: None });
    // Adopted and written, then put right by the reconciliation.
    let world = World::new(Some(0), FenceReading::Absent, u32::MAX, Fault::Before);
    world.lead_with(named(&world), |app| app.active.is_some()).await;
    assert_eq!(world.taken(), [(1, rrset(0))]);
    let world = World::switching(u32::MAX, Fault::Before);
    world.lead_with(named(&world), |app| app.open.is_none()).await;
    let older = Reading { rrset: Some(rrset(0)), fence: FenceReading::Present(fence("prod", 1)) };
    *world.provider.stands.lock().unwrap() = older;
    let provider = world.provider.clone();
    world.lead_with(named(&world), move |_| provider.taken.lock().unwrap().len() == 2).await;
    assert_eq!(world.taken(), [(2, rrset(1)), (2, rrset(1))]);
}
