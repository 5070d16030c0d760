//! What DNS holds: record names, RRsets and the fence beside them.

use std::{
    collections::BTreeSet,
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::names::{ClusterId, Epoch, ProviderName};

/// The label under which the fence stands: `_quorate.<record name>`.
pub const FENCE_LABEL: &str = "_quorate";

/// An absolute domain name: lower case, without the trailing dot (RFC 1035 §2.3.1 lengths; `_` and a leading `*` allowed).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DomainName(String);

/// Why a text is not what DNS can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not a domain name.
    #[error("`{0}` is not a domain name: labels of 1 to 63 letters, digits, '-' or '_', 253 characters at most in all")]
    Domain(String),
    /// Not a record type that Quorate switches.
    #[error("`{0}` is not a record type that can fail over: use A, AAAA or CNAME")]
    Type(String),
    /// Not a value of that type.
    #[error("`{value}` is not a value of an {rtype} record: {expected}")]
    Value {
        /// The value given.
        value: String,
        /// The record's type.
        rtype: RecordType,
        /// What would have been one.
        expected: &'static str,
    },
}

impl DomainName {
    /// The name without a trailing dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name is `zone` or lies below it.
    #[must_use]
    pub fn is_in(&self, zone: &DomainName) -> bool {
        self.relative_to(zone).is_some()
    }

    /// The name without its zone: empty at the apex, `None` outside the zone.
    #[must_use]
    pub fn relative_to(&self, zone: &DomainName) -> Option<&str> {
        let rest = self.0.strip_suffix(zone.as_str())?;
        if rest.is_empty() { Some("") } else { rest.strip_suffix('.') }
    }

    /// `label.self`, if that is still a domain name.
    ///
    /// # Errors
    /// The joined name is longer than a domain name can be, or `label` is none.
    pub fn child(&self, label: &str) -> Result<Self, RecordError> {
        format!("{label}.{}", self.0).parse()
    }
}

impl FromStr for DomainName {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<Self, RecordError> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let label_ok = |(i, label): (usize, &str)| {
            let word = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
            (i == 0 && label == "*")
                || ((1..=63).contains(&label.len())
                    && label.bytes().all(word)
                    && !label.starts_with('-')
                    && !label.ends_with('-'))
        };
        if !name.is_empty() && name.len() <= 253 && name.split('.').enumerate().all(label_ok) {
            Ok(Self(name))
        } else {
            Err(RecordError::Domain(text.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for DomainName {
    type Error = RecordError;
    fn try_from(text: String) -> Result<Self, RecordError> {
        text.parse()
    }
}

impl From<DomainName> for String {
    fn from(name: DomainName) -> Self {
        name.0
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The types of record that can fail over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RecordType {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// One other name.
    Cname,
}

impl FromStr for RecordType {
    type Err = RecordError;
    fn from_str(text: &str) -> Result<Self, RecordError> {
        match text {
            "A" => Ok(Self::A),
            "AAAA" => Ok(Self::Aaaa),
            "CNAME" => Ok(Self::Cname),
            other => Err(RecordError::Type(other.chars().take(20).collect())),
        }
    }
}

impl TryFrom<String> for RecordType {
    type Error = RecordError;
    fn try_from(text: String) -> Result<Self, RecordError> {
        text.parse()
    }
}

impl From<RecordType> for String {
    fn from(rtype: RecordType) -> Self {
        rtype.to_string()
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
        })
    }
}

/// One value of a record, in canonical form, so that equal values are equal texts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RecordValue {
    /// An A record's address.
    A(Ipv4Addr),
    /// An AAAA record's address.
    Aaaa(Ipv6Addr),
    /// A CNAME record's target.
    Cname(DomainName),
}

impl RecordValue {
    /// Reads a value of the given type.
    ///
    /// # Errors
    /// [`RecordError::Value`] when the text is no value of that type.
    pub fn parse(rtype: RecordType, text: &str) -> Result<Self, RecordError> {
        let wrong = |expected| RecordError::Value { value: text.chars().take(80).collect(), rtype, expected };
        match rtype {
            RecordType::A => text.parse().map(Self::A).map_err(|_| wrong("an IPv4 address such as 203.0.113.10")),
            RecordType::Aaaa => text.parse().map(Self::Aaaa).map_err(|_| wrong("an IPv6 address such as 2001:db8::10")),
            RecordType::Cname => {
                text.parse().map(Self::Cname).map_err(|_| wrong("a domain name such as eu.example.net"))
            }
        }
    }
}

impl fmt::Display for RecordValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::A(address) => address.fmt(f),
            Self::Aaaa(address) => address.fmt(f),
            Self::Cname(name) => name.fmt(f),
        }
    }
}

/// One RRset at one provider: what a switch changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Record {
    /// Whose credentials reach it.
    pub provider: ProviderName,
    /// The zone it lies in.
    pub zone: DomainName,
    /// Its absolute name, in the zone.
    pub name: DomainName,
    /// Its type.
    pub rtype: RecordType,
    /// Its time to live in seconds.
    pub ttl: u32,
}

impl Record {
    /// The name of the fence beside it. The parser of services sees to it that it fits.
    #[must_use]
    pub fn fence_name(&self) -> DomainName {
        DomainName(format!("{FENCE_LABEL}.{}", self.name))
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at {}", self.name, self.rtype, self.provider)
    }
}

/// The values and TTL of a record: what a name answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RrSet {
    /// Seconds.
    pub ttl: u32,
    /// At least one (invariant 5).
    pub values: BTreeSet<RecordValue>,
}

impl fmt::Display for RrSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, value) in self.values.iter().enumerate() {
            write!(f, "{}{value}", if i == 0 { "" } else { ", " })?;
        }
        write!(f, " (TTL {} s)", self.ttl)
    }
}

/// Who wrote the record last, and under which epoch. Published as TXT: `v=1 cluster=<id> epoch=<e>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// The cluster that owns the record.
    pub cluster: ClusterId,
    /// The epoch of the switch that wrote it.
    pub epoch: Epoch,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v=1 cluster={} epoch={}", self.cluster, self.epoch)
    }
}

/// A TXT at the fence's name that is not a fence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the TXT `{0}` is no fence of a version that this release knows")]
pub struct FenceError(pub String);

impl FromStr for Fence {
    type Err = FenceError;

    fn from_str(text: &str) -> Result<Self, FenceError> {
        let parse = || {
            let mut fields = text.split(' ');
            let version = fields.next()?;
            let cluster = fields.next()?.strip_prefix("cluster=")?.parse().ok()?;
            let epoch = fields.next()?.strip_prefix("epoch=")?;
            let canonical = epoch == "0" || !epoch.starts_with(['0', '+']);
            let epoch = Epoch(epoch.parse().ok()?);
            let sound = version == "v=1" && canonical && epoch <= Epoch::LAST && fields.next().is_none();
            sound.then_some(Self { cluster, epoch })
        };
        parse().ok_or_else(|| FenceError(text.chars().take(120).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_reads_back_and_nothing_else_is_one() {
        let fence = Fence { cluster: "prod".parse().unwrap(), epoch: Epoch(42) };
        assert_eq!(fence.to_string(), "v=1 cluster=prod epoch=42");
        assert_eq!(fence.to_string().parse(), Ok(fence));
        for bad in [
            "",
            "v=2 cluster=a epoch=1",
            "v=1 cluster=a epoch=01",
            "v=1 cluster=a epoch=+1",
            "v=1 cluster=a epoch=1 x",
            "v=1 cluster=a epoch=18446744073709551615",
        ] {
            assert!(bad.parse::<Fence>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_lie_in_their_zones_by_whole_labels() {
        let zone: DomainName = "Example.com.".parse().unwrap();
        let relative = |name: &str| name.parse::<DomainName>().unwrap().relative_to(&zone).map(str::to_owned);
        assert_eq!(relative("app.example.com"), Some("app".into()));
        assert_eq!(relative("example.com"), Some(String::new()));
        assert_eq!(relative("badexample.com"), None);
        assert_eq!(relative("example.org"), None);
    }
}
