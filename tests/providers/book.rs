//! The file in which the examples of `deploy` for `webhook` and `exec` keep their records, read and written without them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use quorate::core::record::Record;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::contract::Truth;

/// A directory with the file in it; gone when this is dropped.
pub struct Book(TempDir);

fn key(record: &Record) -> String {
    format!("{} {}", record.name, record.rtype)
}

impl Book {
    /// With one record that holds one value, without a fence.
    pub fn seeded(record: &Record, value: &str) -> Self {
        let book = Self(tempfile::Builder::new().prefix("quorate-book-").tempdir().expect("a directory"));
        let standing = json!({ "values": [value], "ttl": record.ttl, "fence": null });
        book.replace(&json!({ key(record): standing }));
        book
    }

    pub fn dir(&self) -> &Path {
        self.0.path()
    }

    pub fn path(&self) -> PathBuf {
        self.dir().join("records.json")
    }

    /// As the examples do, so that nobody reads half of it.
    fn replace(&self, records: &Value) {
        let fresh = self.dir().join("records.json.test");
        fs::write(&fresh, records.to_string()).expect("to write");
        fs::rename(fresh, self.path()).expect("to rename");
    }

    fn records(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path()).expect("the file")).expect("JSON")
    }

    pub fn truth(&self, record: &Record) -> Truth {
        let standing = &self.records()[key(record)];
        let values = standing["values"].as_array().expect("a list").iter();
        let mut values: Vec<_> = values.map(|value| value.as_str().expect("a text").to_owned()).collect();
        values.sort();
        Truth { values, fence: standing["fence"].as_str().map(str::to_owned).into_iter().collect() }
    }

    /// For which service the record was written last.
    pub fn service(&self, record: &Record) -> Option<String> {
        self.records()[key(record)]["service"].as_str().map(str::to_owned)
    }

    /// Puts another fence beside the record, behind everybody's back.
    pub fn put_fence(&self, record: &Record, text: Option<&str>) {
        let mut records = self.records();
        records[key(record)]["fence"] = json!(text);
        self.replace(&records);
    }
}
