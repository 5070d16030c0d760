//! `DynamoDB` itself, through AWS's SDK.

#[cfg(feature = "testing")]
pub(crate) mod fuzz;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client,
    config::Builder,
    primitives::Blob,
    types::{
        AttributeDefinition, AttributeValue, CreateReplicationGroupMemberAction, KeySchemaElement,
        ReplicationGroupUpdate, ScalarAttributeType, TableDescription,
    },
};

use super::{Beat, Description, HeartbeatKey, KeySchema, KeyType, KeyValue, ReplicaLine, Tables};
use crate::{
    aws::{Access, Clock, Fault},
    core::{names::LogTime, service::Table},
};

/// How long items may take.
const ITEM: Duration = Duration::from_secs(1);
/// How long descriptions and changes of tables may take.
const TABLE: Duration = Duration::from_secs(2);
/// The attributes of a heartbeat beside its key.
const TERM: &str = "quorate_term";
const AT: &str = "quorate_at";
const NOTE: &str = "quorate_note";
/// One that no heartbeat has.
const NEVER: &str = "quorate_never";

/// `DynamoDB` in every region that is asked for.
#[derive(Clone)]
pub struct DynamoDb {
    access: Access,
    /// A client keeps its connections; made when a region is first asked.
    clients: Arc<Mutex<HashMap<String, Client>>>,
    clock: Clock,
}

impl fmt::Debug for DynamoDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoDb").finish_non_exhaustive()
    }
}

impl DynamoDb {
    /// Reached like this.
    #[must_use]
    pub fn new(access: Access) -> Self {
        Self { access, clients: Arc::default(), clock: Clock::default() }
    }

    async fn client(&self, region: &str) -> Client {
        let known = |clients: &HashMap<String, Client>| clients.get(region).cloned();
        if let Some(client) = known(&self.clients.lock().unwrap_or_else(PoisonError::into_inner)) {
            return client;
        }
        let config = self.access.config(region, TABLE).await;
        let made = Client::from_conf(Builder::from(&config).interceptor(self.clock.clone()).build());
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.entry(region.to_owned()).or_insert(made).clone()
    }

    /// The clock of the regions that answered.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Whether a heartbeat may be written under this key, without writing it: AWS looks at rights before it looks at the
    /// condition, which cannot hold.
    ///
    /// # Errors
    /// It may not, or there is no answer.
    pub async fn may_write(&self, table: &Table, key: &HeartbeatKey) -> Result<(), Fault> {
        let put = self.client(&table.region).await.put_item().table_name(&table.table).set_item(Some(attributes(key)));
        let put = put.condition_expression(format!("attribute_exists({NEVER})"));
        match within(ITEM, put.send()).await?.map_err(|error| Fault::of(&error)) {
            Err(fault) if fault.is("ConditionalCheckFailedException") => Ok(()),
            Err(fault) => Err(fault),
            Ok(_) => Err(Fault::Down(format!("somebody has given the heartbeat an attribute `{NEVER}`"))),
        }
    }

    /// Whether the table answers for this key, read consistently; what stands there is not looked at, nor whether anything
    /// does.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn answers(&self, table: &Table, key: &BTreeMap<String, KeyValue>) -> Result<(), Fault> {
        let key = key.iter().map(|(name, value)| (name.clone(), attribute(value))).collect();
        self.get(table, key).await.map(drop)
    }

    async fn get(
        &self,
        table: &Table,
        key: HashMap<String, AttributeValue>,
    ) -> Result<Option<HashMap<String, AttributeValue>>, Fault> {
        let get = self.client(&table.region).await.get_item().table_name(&table.table).set_key(Some(key));
        let answer = within(ITEM, get.consistent_read(true).send()).await?;
        answer.map(|answer| answer.item).map_err(|error| Fault::of(&error))
    }

    /// Asks for a replica in the region `to`; AWS makes it by and by.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn replicate(&self, table: &Table, to: &str) -> Result<(), Fault> {
        let create = CreateReplicationGroupMemberAction::builder().region_name(to).build();
        let create = create.map_err(|error| Fault::Ours(error.to_string()))?;
        let update = ReplicationGroupUpdate::builder().create(create).build();
        let client = self.client(&table.region).await;
        let asked = client.update_table().table_name(&table.table).replica_updates(update).send();
        within(TABLE, asked).await?.map(drop).map_err(|error| Fault::of(&error))
    }
}

/// The SDK has a limit of its own; this one also covers the loading of credentials.
async fn within<T>(limit: Duration, asked: impl Future<Output = T>) -> Result<T, Fault> {
    tokio::time::timeout(limit, asked).await.map_err(|_| Fault::Down(format!("no answer within {limit:?}")))
}

#[async_trait]
impl Tables for DynamoDb {
    async fn describe(&self, table: &Table) -> Result<Description, Fault> {
        let asked = self.client(&table.region).await.describe_table().table_name(&table.table).send();
        let answer = within(TABLE, asked).await?.map_err(|error| Fault::of(&error))?;
        let described = answer.table.as_ref().and_then(description);
        described.ok_or_else(|| Fault::Down("the description lacks the table's keys".to_owned()))
    }

    async fn beat(&self, table: &Table, key: &HeartbeatKey, beat: Beat) -> Result<(), Fault> {
        let (term, at) = (number(beat.term), number(beat.at.0));
        let note = AttributeValue::S("written by Quorate to measure how far replicas are behind".to_owned());
        let mut item = attributes(key);
        item.extend([(TERM.to_owned(), term.clone()), (AT.to_owned(), at.clone()), (NOTE.to_owned(), note)]);
        // A leader that does not know yet that it is none must not hide its successor's heartbeats.
        let put = self.client(&table.region).await.put_item().table_name(&table.table).set_item(Some(item));
        let put = put
            .condition_expression(
                "attribute_not_exists(quorate_term) OR quorate_term < :term OR (quorate_term = :term AND quorate_at < :at)",
            )
            .expression_attribute_values(":term", term)
            .expression_attribute_values(":at", at);
        within(ITEM, put.send()).await?.map(drop).map_err(|error| Fault::of(&error))
    }

    async fn last_beat(&self, table: &Table, key: &HeartbeatKey) -> Result<Option<Beat>, Fault> {
        Ok(self.get(table, attributes(key)).await?.as_ref().and_then(beat_of))
    }
}

/// The heartbeat that an item holds.
fn beat_of(item: &HashMap<String, AttributeValue>) -> Option<Beat> {
    let number = |name| item.get(name).and_then(|value| value.as_n().ok()?.parse::<u64>().ok());
    number(TERM).zip(number(AT)).map(|(term, at)| Beat { term, at: LogTime(at) })
}

fn number(n: u64) -> AttributeValue {
    AttributeValue::N(n.to_string())
}

fn attribute(value: &KeyValue) -> AttributeValue {
    match value {
        KeyValue::Text(text) => AttributeValue::S(text.clone()),
        KeyValue::Number(digits) => AttributeValue::N(digits.clone()),
        KeyValue::Binary(bytes) => AttributeValue::B(Blob::new(bytes.clone())),
    }
}

fn attributes(key: &HeartbeatKey) -> HashMap<String, AttributeValue> {
    key.0.iter().map(|(name, value)| (name.clone(), attribute(value))).collect()
}

/// The table as described; `None` without keys, which every table has.
fn description(of: &TableDescription) -> Option<Description> {
    let schema = of.key_schema();
    let keys = KeySchema {
        hash: key(schema.first()?, of.attribute_definitions())?,
        range: schema.get(1).and_then(|range| key(range, of.attribute_definitions())),
    };
    let replica = |of: &aws_sdk_dynamodb::types::ReplicaDescription| {
        let line = ReplicaLine {
            status: of.replica_status().map(|status| status.as_str().to_owned()).unwrap_or_default(),
            description: of.replica_status_description().map(str::to_owned),
            progress: of.replica_status_percent_progress().map(str::to_owned),
        };
        Some((of.region_name()?.to_owned(), line))
    };
    let billing = of.billing_mode_summary().and_then(|summary| summary.billing_mode());
    let stream = of.stream_specification().filter(|stream| stream.stream_enabled());
    Some(Description {
        status: of.table_status().map(|status| status.as_str().to_owned()).unwrap_or_default(),
        keys,
        replicas: of.replicas().iter().filter_map(replica).collect(),
        // A table that was never on demand has no summary.
        billing: billing.map_or("PROVISIONED", |mode| mode.as_str()).to_owned(),
        stream: stream.and_then(|stream| stream.stream_view_type()).map(|view| view.as_str().to_owned()),
        global_version: of.global_table_version().map(str::to_owned),
    })
}

fn key(of: &KeySchemaElement, definitions: &[AttributeDefinition]) -> Option<(String, KeyType)> {
    let name = of.attribute_name();
    let kind = match definitions.iter().find(|definition| definition.attribute_name() == name)?.attribute_type() {
        ScalarAttributeType::S => KeyType::Text,
        ScalarAttributeType::N => KeyType::Number,
        ScalarAttributeType::B => KeyType::Binary,
        _ => return None,
    };
    Some((name.to_owned(), kind))
}
