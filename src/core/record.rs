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
    #[error(
        "`{0}` is not a record type that can fail over: use A, AAAA or CNAME, or POOL for a switch that is no DNS record"
    )]
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
    /// Not the target of an alias.
    #[error("`{0}` is no alias: alias:ZONE:NAME, with the id of the hosted zone that NAME lies in")]
    Alias(String),
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

/// The types of record that can fail over: three of DNS, and one for what providers switch without DNS.
///
/// # Pools
///
/// A load balancer or an accelerator is switched by telling it which of its own parts take the traffic. Such a switch is a
/// record of type [`RecordType::Pool`], and everything that holds for records holds for it: conditional writes, fence, epoch,
/// reconciliation. Only DNS knows nothing of it, so no nameserver is asked and it has no TTL (0).
///
/// * Its *values* are [`Member`]s: the names of the parts that shall take the traffic, in the provider's own words; the parts
///   that are not named take none. What a member is, and whether it exists, is the provider's to say.
/// * Its *zone* and *name* place it: the zone is whatever holds the pool (an accelerator's id, a load balancer's), the name is
///   the pool's id below that. Both follow the rules of domain names, so that one record is still one place.
/// * Its *fence* stands wherever the provider can keep a text beside the pool (a tag, a description). A provider that cannot
///   compare it in the same call is of grade C.
///
/// ```toml
/// [[record]]
/// provider = "accelerator"
/// zone = "1234abcd-abcd-1234-abcd-1234abcdefgh"    # the accelerator
/// name = "0123vxyz"                                # its listener
/// type = "POOL"                                    # and no ttl
///
/// [[region]]
/// name = "eu-west-3"
/// values = { POOL = ["eu-west-3"] }                # the endpoint groups that take traffic
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RecordType {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// One other name.
    Cname,
    /// Members of a pool that is no DNS record.
    Pool,
}

impl RecordType {
    /// Whether DNS knows it: nameservers answer for it, and it has a TTL.
    #[must_use]
    pub fn is_in_dns(self) -> bool {
        self != Self::Pool
    }
}

impl FromStr for RecordType {
    type Err = RecordError;
    fn from_str(text: &str) -> Result<Self, RecordError> {
        match text {
            "A" => Ok(Self::A),
            "AAAA" => Ok(Self::Aaaa),
            "CNAME" => Ok(Self::Cname),
            "POOL" => Ok(Self::Pool),
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
            Self::Pool => "POOL",
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
    /// An A or AAAA record that the provider resolves itself.
    Alias(Alias),
    /// One member of a pool.
    Member(Member),
}

/// The target of an alias: another name of the same provider, whose addresses it answers with.
///
/// Written `alias:ZONE:NAME`, where ZONE is the id of the hosted zone that NAME lies in, as Route 53 has it (`AliasTarget`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Alias {
    /// The id of the target's hosted zone: letters and digits.
    pub zone: String,
    /// The target.
    pub name: DomainName,
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "alias:{}:{}", self.zone, self.name)
    }
}

impl FromStr for Alias {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<Self, RecordError> {
        let wrong = || RecordError::Alias(text.chars().take(80).collect());
        let (zone, name) = text.strip_prefix("alias:").and_then(|rest| rest.split_once(':')).ok_or_else(wrong)?;
        let id = (1..=32).contains(&zone.len()) && zone.bytes().all(|c| c.is_ascii_alphanumeric());
        let name = name.parse().map_err(|_| wrong())?;
        if id { Ok(Self { zone: zone.to_owned(), name }) } else { Err(wrong()) }
    }
}

/// The name of a pool's member: 1 to 255 letters, digits, `-`, `_`, `.`, `:`, `/`, `+`, `=` or `@`. What it means is the
/// provider's to say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Member(String);

impl Member {
    /// The name as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Member {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<Self, RecordError> {
        let word = |c: u8| c.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&c);
        if (1..=255).contains(&text.len()) && text.bytes().all(word) {
            Ok(Self(text.to_owned()))
        } else {
            Err(RecordError::Value {
                value: text.chars().take(80).collect(),
                rtype: RecordType::Pool,
                expected: "1 to 255 letters, digits, '-', '_', '.', ':', '/', '+', '=' or '@'",
            })
        }
    }
}

impl TryFrom<String> for Member {
    type Error = RecordError;
    fn try_from(text: String) -> Result<Self, RecordError> {
        text.parse()
    }
}

impl From<Member> for String {
    fn from(member: Member) -> Self {
        member.0
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl RecordValue {
    /// Whether a record of this type can hold it.
    #[must_use]
    pub fn fits(&self, rtype: RecordType) -> bool {
        matches!(
            (rtype, self),
            (RecordType::A, Self::A(_) | Self::Alias(_))
                | (RecordType::Aaaa, Self::Aaaa(_) | Self::Alias(_))
                | (RecordType::Cname, Self::Cname(_))
                | (RecordType::Pool, Self::Member(_))
        )
    }

    /// Reads a value of the given type.
    ///
    /// # Errors
    /// [`RecordError::Value`] when the text is no value of that type.
    pub fn parse(rtype: RecordType, text: &str) -> Result<Self, RecordError> {
        let wrong = |expected| RecordError::Value { value: text.chars().take(80).collect(), rtype, expected };
        match rtype {
            RecordType::A | RecordType::Aaaa if text.starts_with("alias:") => text.parse().map(Self::Alias),
            RecordType::Pool => text.parse().map(Self::Member),
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
            Self::Alias(alias) => alias.fmt(f),
            Self::Member(member) => member.fmt(f),
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
    /// Its time to live in seconds; 0 for a pool.
    pub ttl: u32,
}

impl Record {
    /// The name of the fence beside it. The parser of services sees to it that it fits.
    #[must_use]
    pub fn fence_name(&self) -> DomainName {
        DomainName(format!("{FENCE_LABEL}.{}", self.name))
    }

    /// Where the fence stands, in words: a TXT of DNS, or the text that the provider keeps beside a pool.
    #[must_use]
    pub fn fence_place(&self) -> String {
        if self.rtype.is_in_dns() {
            format!("the TXT {}", self.fence_name())
        } else {
            format!("the text beside {self}")
        }
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

impl RrSet {
    /// Whether nameservers answer with these very values: not for a pool, nor for an alias, whose addresses the provider
    /// chooses.
    #[must_use]
    pub fn is_in_dns(&self) -> bool {
        !self.values.iter().any(|value| matches!(value, RecordValue::Alias(_) | RecordValue::Member(_)))
    }
}

impl fmt::Display for RrSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, value) in self.values.iter().enumerate() {
            write!(f, "{}{value}", if i == 0 { "" } else { ", " })?;
        }
        if !self.is_in_dns() {
            return Ok(());
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

/// A text at the fence's place that is not a fence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no fence of a version that this release knows")]
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
    fn aliases_and_members_read_back_and_fit_their_types_only() {
        let read = |rtype, text: &str| RecordValue::parse(rtype, text);
        let alias = "alias:Z35SXDOTRQ7X7K:eu.elb.example.com";
        for rtype in [RecordType::A, RecordType::Aaaa] {
            let value = read(rtype, alias).unwrap();
            assert_eq!(value.to_string(), alias);
            assert!(value.fits(rtype) && !value.fits(RecordType::Cname) && !value.fits(RecordType::Pool));
            let rrset = RrSet { ttl: 60, values: [value].into() };
            assert!(!rrset.is_in_dns() && rrset.to_string() == alias);
        }
        for bad in ["alias:", "alias:Z1", "alias:Z1:", "alias::eu.example.com", "alias:Z-1:eu.example.com"] {
            assert!(matches!(read(RecordType::A, bad), Err(RecordError::Alias(_))), "{bad}");
        }
        assert!(read(RecordType::Cname, alias).is_err());

        let member = read(RecordType::Pool, "farm/123").unwrap();
        assert!(member.to_string() == "farm/123" && member.fits(RecordType::Pool) && !member.fits(RecordType::A));
        for bad in ["", "a b", "a\n", &"a".repeat(256)] {
            assert!(read(RecordType::Pool, bad).is_err(), "{bad}");
        }
        assert!("POOL".parse() == Ok(RecordType::Pool) && !RecordType::Pool.is_in_dns() && RecordType::A.is_in_dns());
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
