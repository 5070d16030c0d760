//! Global Accelerator's API, as far as dials and fences need it: each call once, each list to its end.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use aws_sdk_globalaccelerator::{
    Client as Sdk,
    config::Builder as Config,
    types::{AcceleratorStatus, Tag},
};
use tokio::sync::OnceCell;

use super::{
    super::{ProviderError, http::Effect},
    AcceleratorConfig,
    pool::{self, Group, Ids, Place},
    refusal::meaning,
};
use crate::{
    aws::{Access, Clock},
    core::record::{Fence, Record},
};

/// Global Accelerator has one endpoint for all the world, in this region.
const REGION: &str = "us-west-2";
/// How many entries a page has: the most that AWS gives.
const PAGE: i32 = 100;
/// How many pages are read at most.
const PAGES: usize = 50;

/// One AWS account.
#[derive(Debug)]
pub(super) struct Client {
    access: Access,
    sdk: OnceCell<Sdk>,
    /// AWS's.
    pub(super) clock: Clock,
    timeout: Duration,
    account: Option<String>,
    /// The ARNs of accelerators that were looked up, by id.
    found: Mutex<BTreeMap<String, String>>,
}

impl Client {
    pub(super) fn new(config: &AcceleratorConfig) -> Self {
        Self {
            access: Access::new(config.aws.clone()),
            sdk: OnceCell::new(),
            clock: Clock::default(),
            timeout: config.timeout,
            account: config.account_id.clone(),
            found: Mutex::default(),
        }
    }

    async fn sdk(&self) -> &Sdk {
        let make = || async {
            let config = Config::from(&self.access.config(REGION, self.timeout).await);
            Sdk::from_conf(config.interceptor(self.clock.clone()).build())
        };
        Box::pin(self.sdk.get_or_init(make)).await
    }

    /// The ARN of an accelerator, as far as it is known without asking.
    pub(super) fn known_arn(&self, accelerator: &str) -> Option<String> {
        if let Some(account) = &self.account {
            return Some(pool::arn(account, accelerator));
        }
        self.found.lock().expect("nobody panics with the lock").get(accelerator).cloned()
    }

    /// Where the record lies.
    pub(super) async fn place(&self, record: &Record) -> Result<Place, ProviderError> {
        let ids = Ids::of(record)?;
        if let Some(arn) = self.known_arn(ids.accelerator) {
            return Ok(ids.at(arn));
        }
        let mut token = None;
        for _ in 0..PAGES {
            let call = self.sdk().await.list_accelerators().max_results(PAGE).set_next_token(token);
            let answer =
                Box::pin(call.send()).await.map_err(|error| meaning(&error, "ListAccelerators", Effect::None))?;
            let mut arns = answer.accelerators().iter().filter_map(|found| found.accelerator_arn());
            if let Some(arn) = arns.find(|arn| pool::accelerator_id(arn) == Some(ids.accelerator)) {
                let mut found = self.found.lock().expect("nobody panics with the lock");
                found.insert(ids.accelerator.to_owned(), arn.to_owned());
                return Ok(ids.at(arn.to_owned()));
            }
            token = answer.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if token.is_none() {
                return Err(ProviderError::Permanent {
                    message: format!("Global Accelerator has no accelerator {} in this account", ids.accelerator),
                    hint: "check the record's zone, and whose credentials these are".to_owned(),
                });
            }
        }
        Err(too_many("accelerators"))
    }

    /// The texts of the fence's tag: one or none.
    pub(super) async fn fence(&self, place: &Place) -> Result<Vec<String>, ProviderError> {
        let call = self.sdk().await.list_tags_for_resource().resource_arn(&place.accelerator);
        let answer =
            Box::pin(call.send()).await.map_err(|error| meaning(&error, "ListTagsForResource", Effect::None))?;
        // AWS may leave an empty list out. That an empty answer is none is seen because tags are read twice.
        let tags = answer.tags.unwrap_or_default();
        let ours = tags.into_iter().filter(|tag| tag.key() == place.tag).map(|tag| tag.value().to_owned());
        Ok(ours.collect())
    }

    /// Writes the fence's tag over.
    pub(super) async fn set_fence(&self, place: &Place, fence: &Fence) -> Result<(), ProviderError> {
        let tag = Tag::builder().key(&place.tag).value(fence.to_string()).build().map_err(|error| {
            ProviderError::Permanent {
                message: format!("a request could not be built: {error}"),
                hint: "report this as a bug".to_owned(),
            }
        })?;
        let call = self.sdk().await.tag_resource().resource_arn(&place.accelerator).tags(tag);
        Box::pin(call.send()).await.map(drop).map_err(|error| meaning(&error, "TagResource", Effect::Change))
    }

    /// Every endpoint group of the listener.
    pub(super) async fn groups(&self, place: &Place) -> Result<Vec<Group>, ProviderError> {
        let (mut groups, mut token) = (vec![], None);
        for _ in 0..PAGES {
            let call = self.sdk().await.list_endpoint_groups().listener_arn(&place.listener).max_results(PAGE);
            let call = call.set_next_token(token);
            let answer =
                Box::pin(call.send()).await.map_err(|error| meaning(&error, "ListEndpointGroups", Effect::None))?;
            token = answer.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            let Some(page) = answer.endpoint_groups else { return Err(empty("ListEndpointGroups", Effect::None)) };
            for group in page {
                let (Some(arn), Some(region), Some(dial)) =
                    (group.endpoint_group_arn, group.endpoint_group_region, group.traffic_dial_percentage)
                else {
                    return Err(empty("ListEndpointGroups", Effect::None));
                };
                groups.push(Group { arn, region, dial });
            }
            if token.is_none() {
                return Ok(groups);
            }
        }
        Err(too_many("endpoint groups"))
    }

    /// Turns one dial; whatever else the group has stays as it is.
    pub(super) async fn turn(&self, arn: &str, dial: f32) -> Result<(), ProviderError> {
        let call = self.sdk().await.update_endpoint_group().endpoint_group_arn(arn).traffic_dial_percentage(dial);
        let answer =
            Box::pin(call.send()).await.map_err(|error| meaning(&error, "UpdateEndpointGroup", Effect::Change))?;
        // The answer is the group as it is now; an answer without one is none of Global Accelerator.
        if answer.endpoint_group().is_none() { Err(empty("UpdateEndpointGroup", Effect::Change)) } else { Ok(()) }
    }

    /// Whether all edge locations have what was changed last.
    pub(super) async fn is_deployed(&self, place: &Place) -> Result<bool, ProviderError> {
        let call = self.sdk().await.describe_accelerator().accelerator_arn(&place.accelerator);
        let answer =
            Box::pin(call.send()).await.map_err(|error| meaning(&error, "DescribeAccelerator", Effect::None))?;
        let status = answer.accelerator().and_then(|accelerator| accelerator.status().cloned());
        status
            .map(|status| status == AcceleratorStatus::Deployed)
            .ok_or_else(|| empty("DescribeAccelerator", Effect::None))
    }
}

fn empty(call: &str, effect: Effect) -> ProviderError {
    let message = format!("Global Accelerator: {call}: the answer lacks what AWS documents");
    match effect {
        Effect::Change => ProviderError::Indeterminate(message),
        Effect::None => ProviderError::Transient { message, retry_after: None },
    }
}

fn too_many(what: &str) -> ProviderError {
    ProviderError::Permanent {
        message: format!("Global Accelerator lists {what} without end: {PAGES} pages were read"),
        hint: "name the account (`account_id` of the provider), or report this as a bug".to_owned(),
    }
}
