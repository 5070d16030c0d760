//! A provider that checks nothing. The contract must find it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use quorate::{
    core::record::Record,
    dns::{Change, Grade, Provider, ProviderError, Reading, Receipt},
};

use crate::contract::{Handle, Of, Subject, Trouble, Truth};

/// How often a careless provider reads and writes again. What is older than the fence that it reads, it cannot write at all.
const CARELESS_TRIES: usize = 8;

/// A subject whose provider writes whatever stands there: what it is told to expect is read anew just before.
pub struct Unconditional(pub Box<dyn Subject>);

#[derive(Debug)]
struct Careless(Handle);

#[async_trait]
impl Provider for Careless {
    fn grade(&self) -> Grade {
        self.0.grade()
    }

    fn longest_request(&self) -> Duration {
        self.0.longest_request()
    }

    async fn read(&self, record: &Record) -> Result<Reading, ProviderError> {
        self.0.read(record).await
    }

    async fn write(&self, change: &Change) -> Result<Receipt, ProviderError> {
        for _ in 1..CARELESS_TRIES {
            let expected = self.0.read(&change.record).await?;
            match self.0.write(&Change { expected, ..change.clone() }).await {
                Err(ProviderError::Stale(_)) => {}
                done => return done,
            }
        }
        self.0.write(change).await
    }
}

#[async_trait]
impl Subject for Unconditional {
    fn name(&self) -> &'static str {
        "careless"
    }

    fn provider(&self) -> Handle {
        Arc::new(Careless(self.0.provider()))
    }

    fn record(&self) -> Record {
        self.0.record()
    }

    fn values(&self) -> [&'static str; 3] {
        self.0.values()
    }

    fn absent(&self) -> Result<Record, &'static str> {
        self.0.absent()
    }

    async fn truth(&self) -> Truth {
        self.0.truth().await
    }

    async fn put_fence(&self, text: Option<&str>) {
        self.0.put_fence(text).await;
    }

    async fn arm(&self, of: Of, trouble: Trouble) -> Result<Handle, &'static str> {
        Ok(Arc::new(Careless(self.0.arm(of, trouble).await?)))
    }

    async fn disarm(&self) -> usize {
        self.0.disarm().await
    }

    async fn sent(&self) -> usize {
        self.0.sent().await
    }

    async fn caught(&self) {
        self.0.caught().await;
    }

    async fn release(&self) {
        self.0.release().await;
    }

    fn secrets(&self) -> Vec<String> {
        self.0.secrets()
    }
}
