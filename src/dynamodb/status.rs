//! What a status of a table or of a replica means, and what to do about it.
//!
//! The statuses are those of Amazon DynamoDB's API reference: `TableStatus` of `TableDescription`, and `ReplicaStatus` of
//! `ReplicaDescription`.

/// A status in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// Items can be read and written there.
    pub usable: bool,
    /// It becomes another one by itself.
    pub passing: bool,
    /// What it means.
    pub means: &'static str,
    /// What to do; empty when nothing is.
    pub advice: &'static str,
}

/// What a status means. One that nobody here knows is not usable.
#[must_use]
pub fn meaning(status: &str) -> Meaning {
    let (usable, passing, means, advice) = match status {
        "ACTIVE" => (true, false, "in order: it can be read and written", ""),
        "UPDATING" => (true, true, "its settings are being changed; it can be read and written meanwhile", ""),
        "CREATING" => (
            false,
            true,
            "it is being made and filled; that takes from minutes to hours, by the size of the table",
            "wait: `quoratectl dynamodb replicate` shows the progress",
        ),
        "CREATION_FAILED" => (
            false,
            false,
            "it could not be made",
            "read AWS's reason, delete this replica (update-table, ReplicaUpdates Delete), mend what it says, and replicate again",
        ),
        "DELETING" => (
            false,
            true,
            "somebody is removing it",
            "find out who; replicate again once it is gone, and take the region out of the service until then",
        ),
        "REGION_DISABLED" => (
            false,
            false,
            "its AWS region is switched off for this account",
            "enable the region within 20 hours, or AWS takes the replica out of the table and it goes on alone",
        ),
        "INACCESSIBLE_ENCRYPTION_CREDENTIALS" => (
            false,
            false,
            "DynamoDB cannot use the KMS key that encrypts it",
            "enable the key, or restore its policy, within 20 hours, or AWS takes the replica out of the table",
        ),
        "ARCHIVING" => (
            false,
            true,
            "DynamoDB is archiving it, for its KMS key could not be used for seven days",
            "restore the key first, then restore the table from the backup that AWS makes of it",
        ),
        "ARCHIVED" => (
            false,
            false,
            "DynamoDB has archived it, for its KMS key could not be used for seven days",
            "restore the table from the backup that AWS made of it, then replicate again",
        ),
        "REPLICATION_NOT_AUTHORIZED" => (
            false,
            false,
            "the table's replication lacks a right",
            "give the service-linked role AWSServiceRoleForDynamoDBReplication its rights back",
        ),
        _ => (
            false,
            false,
            "a status that this release does not know",
            "look at the table in AWS's console; it counts as not usable until it says ACTIVE",
        ),
    };
    Meaning { usable, passing, means, advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_takes_reads_and_writes_is_usable() {
        let known = [
            "CREATING",
            "CREATION_FAILED",
            "UPDATING",
            "DELETING",
            "ACTIVE",
            "REGION_DISABLED",
            "INACCESSIBLE_ENCRYPTION_CREDENTIALS",
            "ARCHIVING",
            "ARCHIVED",
            "REPLICATION_NOT_AUTHORIZED",
        ];
        let unknown = meaning("SOMETHING_NEW");
        assert!(!unknown.usable && !meaning("").usable && !meaning("active").usable);
        for status in known {
            let of = meaning(status);
            assert_eq!(of.usable, matches!(status, "ACTIVE" | "UPDATING"), "{status}");
            assert_eq!(of.advice.is_empty(), of.usable, "{status}: what is not usable says what to do");
            assert_ne!(of, unknown, "{status} is known");
        }
    }

    /// What the SDK of this release knows is known here too.
    #[test]
    fn every_status_of_the_sdk_is_explained() {
        let unknown = meaning("SOMETHING_NEW");
        let replicas = aws_sdk_dynamodb::types::ReplicaStatus::values();
        let tables = aws_sdk_dynamodb::types::TableStatus::values();
        for status in replicas.iter().chain(tables) {
            assert_ne!(meaning(status), unknown, "{status}");
        }
    }
}
