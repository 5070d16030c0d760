//! Records and changes, for what single providers are tested for besides the contract.

use quorate::{
    core::{
        names::Epoch,
        record::{Fence, Record, RecordType, RecordValue, RrSet},
    },
    dns::{Change, FenceReading, Provider, ProviderError, Reading, Receipt},
};

use crate::contract::CLUSTER;

pub const ZONE: &str = "example.test";
pub const EU: &str = "203.0.113.10";
pub const US: &str = "198.51.100.20";
/// Three values of `www`, the first of which stands there at the beginning.
pub const ADDRESSES: [&str; 3] = [EU, US, "198.51.100.21"];
/// Where the fence of `www` stands.
pub const FENCE: &str = "_quorate.www.example.test";

pub fn record(name: &str, rtype: RecordType) -> Record {
    Record {
        provider: "main".parse().unwrap(),
        zone: ZONE.parse().unwrap(),
        name: name.parse().unwrap(),
        rtype,
        ttl: if rtype.is_in_dns() { 60 } else { 0 },
    }
}

pub fn www() -> Record {
    record("www.example.test", RecordType::A)
}

/// A record that is not there.
pub fn nothing() -> Record {
    record("nothing.example.test", RecordType::A)
}

pub fn rrset(rtype: RecordType, ttl: u32, values: &[&str]) -> RrSet {
    RrSet { ttl, values: values.iter().map(|value| RecordValue::parse(rtype, value).unwrap()).collect() }
}

pub fn change(record: &Record, expected: Reading, values: &[&str], epoch: u64) -> Change {
    let fence = Fence { cluster: CLUSTER.parse().unwrap(), epoch: Epoch(epoch) };
    Change { record: record.clone(), expected, rrset: rrset(record.rtype, record.ttl, values), fence }
}

/// Reads, and writes what was read to these values.
pub async fn switch(
    provider: &dyn Provider,
    record: &Record,
    values: &[&str],
    epoch: u64,
) -> Result<Receipt, ProviderError> {
    let expected = provider.read(record).await?;
    provider.write(&change(record, expected, values, epoch)).await
}

pub fn epoch_of(reading: &Reading) -> u64 {
    match &reading.fence {
        FenceReading::Present(fence) => fence.epoch.0,
        other => panic!("a fence expected: {other:?}"),
    }
}

/// The texts of a TXT without their quotes.
pub fn unquoted(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| text.trim_matches('"').to_owned()).collect()
}
