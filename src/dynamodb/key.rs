//! The key under which a heartbeat stands, in whatever keys a table has.

use sha2::{Digest, Sha256};

use crate::core::names::ClusterId;

/// What a table's keys are called, and of which type they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySchema {
    /// The partition key.
    pub hash: (String, KeyType),
    /// The sort key.
    pub range: Option<(String, KeyType)>,
}

/// The types that a key may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// `S`
    Text,
    /// `N`
    Number,
    /// `B`
    Binary,
}

/// A value of one of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyValue {
    /// `S`
    Text(String),
    /// `N`, as digits.
    Number(String),
    /// `B`
    Binary(Vec<u8>),
}

/// Where the heartbeats of one cluster through one region stand: by name of the key attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatKey(pub Vec<(String, KeyValue)>);

impl HeartbeatKey {
    /// The pattern of every key of a cluster whose partition key is a text, as IAM understands it.
    #[must_use]
    pub fn all(cluster: &ClusterId) -> String {
        format!("quorate#heartbeat#{cluster}#*")
    }

    /// `quorate#heartbeat#CLUSTER#REGION`. Each cluster and each region written through has an item of its own, for two
    /// regions that write the same item overwrite each other.
    #[must_use]
    pub fn new(keys: &KeySchema, cluster: &ClusterId, through: &str) -> Self {
        let text = format!("quorate#heartbeat#{cluster}#{through}");
        let (hash, kind) = &keys.hash;
        let mut key = vec![(hash.clone(), kind.value(&text))];
        key.extend(keys.range.iter().map(|(range, kind)| (range.clone(), kind.value("quorate#heartbeat"))));
        Self(key)
    }
}

impl KeyType {
    /// The text in this type. A number has no room for it: half of its hash, negative, for identifiers are not.
    fn value(self, text: &str) -> KeyValue {
        match self {
            Self::Text => KeyValue::Text(text.to_owned()),
            Self::Binary => KeyValue::Binary(text.as_bytes().to_vec()),
            Self::Number => {
                let digest = Sha256::digest(text.as_bytes());
                let number = digest.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
                KeyValue::Number(format!("-{}", number.max(1)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_key_has_a_place_for_it() {
        let cluster = "prod".parse().unwrap();
        let key = |hash, range: Option<KeyType>| {
            let range = range.map(|kind| ("sk".to_owned(), kind));
            HeartbeatKey::new(&KeySchema { hash: ("pk".into(), hash), range }, &cluster, "eu-west-3").0
        };
        let text = "quorate#heartbeat#prod#eu-west-3";
        assert_eq!(key(KeyType::Text, None), [("pk".into(), KeyValue::Text(text.into()))]);
        let both = key(KeyType::Binary, Some(KeyType::Text));
        assert_eq!(both[0].1, KeyValue::Binary(text.into()));
        assert_eq!(both[1], ("sk".into(), KeyValue::Text("quorate#heartbeat".into())));
        // Pinned: nodes of different releases must find the same item.
        let number = key(KeyType::Number, Some(KeyType::Number));
        let KeyValue::Number(digits) = &number[0].1 else { panic!("{number:?}") };
        assert!(digits.starts_with('-') && digits.len() < 22, "{digits}");
        assert_ne!(number[0].1, number[1].1);
    }
}
