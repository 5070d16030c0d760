//! What `DynamoDB` answers, once the SDK has read it: tables and their replicas, and the item of a heartbeat.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, KeySchemaElement, KeyType as Kind, ReplicaDescription, ReplicaStatus,
    ScalarAttributeType, TableDescription, TableStatus,
};

use super::{AT, HeartbeatKey, TERM, attributes, beat_of, description};
use crate::{
    dynamodb::status::meaning,
    fuzz::{Target, joined, split},
};

pub(crate) const TARGETS: &[Target] = &[Target { name: "dynamodb-answer", run: answer, seeds: answers }];

/// How many lines are looked at.
const LINES: usize = 200;

/// Lines of a word and what it says: of a table, or, if the first byte is 1, of an item.
fn answer(input: &[u8]) {
    let Some((kind, rest)) = split(input) else { return };
    let text = String::from_utf8_lossy(rest);
    // The SDK's types are large, and no table has so many replicas.
    let lines: Vec<(&str, &str)> = text.split('\n').filter_map(|line| line.split_once(' ')).take(LINES).collect();
    if kind == 1 { item(&lines) } else { table(&lines) }
}

fn item(lines: &[(&str, &str)]) {
    let value = |(kind, text): (&str, &str)| match kind {
        "N" => AttributeValue::N(text.to_owned()),
        "B" => AttributeValue::Bool(!text.is_empty()),
        _ => AttributeValue::S(text.to_owned()),
    };
    let names = [TERM, AT, "pk"].map(str::to_owned);
    let item = names.into_iter().zip(lines.iter().copied().map(value)).collect();
    if let Some(beat) = beat_of(&item) {
        assert!(
            [beat.term, beat.at.0]
                .iter()
                .zip(lines)
                .all(|(number, (kind, text))| { *kind == "N" && text.parse() == Ok(*number) })
        );
    }
}

fn table(lines: &[(&str, &str)]) {
    let mut table = TableDescription::builder();
    for (word, said) in lines {
        let (name, more) = said.split_once(' ').unwrap_or((said, ""));
        table = match *word {
            "status" => table.table_status(TableStatus::from(name)),
            "key" => match KeySchemaElement::builder().attribute_name(name).key_type(Kind::Hash).build() {
                Ok(key) => table.key_schema(key),
                Err(_) => return,
            },
            "type" => {
                let kind = ScalarAttributeType::from(more);
                match AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build() {
                    Ok(definition) => table.attribute_definitions(definition),
                    Err(_) => return,
                }
            }
            _ => {
                let replica = ReplicaDescription::builder().replica_status(ReplicaStatus::from(more));
                table.replicas(replica.region_name(name).replica_status_description(*word).build())
            }
        };
    }
    let Some(described) = description(&table.build()) else { return };
    let _ = meaning(&described.status);
    for replica in described.replicas.values() {
        assert!(!meaning(&replica.status).means.is_empty());
    }
    let key = HeartbeatKey::new(&described.keys, &"prod".parse().expect("a name"), "eu-west-3");
    assert!((1..=2).contains(&attributes(&key).len()), "a table has one key or two");
}

fn answers() -> Vec<Vec<u8>> {
    let table =
        "status ACTIVE\nkey pk\nkey sk\ntype pk S\ntype sk N\nreplica us-east-1 ACTIVE\nreplica eu-west-3 CREATING";
    vec![
        joined(0, table),
        joined(0, "key pk\ntype pk B\nreplica eu-west-3 INACCESSIBLE_ENCRYPTION_CREDENTIALS"),
        joined(0, "key pk\ntype pk M"),
        joined(1, "N 7\nN 18446744073709551615\nS quorate#heartbeat#prod#eu-west-3"),
        joined(1, "N -1\nN 1e3"),
    ]
}
