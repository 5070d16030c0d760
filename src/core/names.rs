//! The names and numbers that everything else is keyed by.
//!
//! A name that exists is valid: it was parsed once (`FromStr`, also on deserialisation) and is never checked again.

use std::{borrow::Borrow, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// A node's number in the cluster, chosen at `quorated init` or `member add`; never reused.
pub type NodeId = u64;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a {what}: use 1 to 63 characters of a-z, 0-9 and '-', starting and ending with a letter or digit"
)]
pub struct NameError {
    what: &'static str,
    text: String,
}

fn parse_name(what: &'static str, text: &str) -> Result<String, NameError> {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let edge = |c: Option<&u8>| c.is_some_and(|c| *c != b'-');
    let bytes = text.as_bytes();
    if bytes.len() <= 63 && bytes.iter().all(|c| inner(*c)) && edge(bytes.first()) && edge(bytes.last()) {
        Ok(text.to_owned())
    } else {
        Err(NameError { what, text: text.chars().take(80).collect() })
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                parse_name($what, text).map(Self)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name!(/// The name of a service, unique in the cluster.
    ServiceName, "service name");
name!(/// The name of a region, unique in its service.
    RegionName, "region name");
name!(/// The place and provider that a node runs at; votes are counted by site.
    Site, "site name");
name!(/// The name under which a node's configuration holds a DNS provider's credentials.
    ProviderName, "provider name");
name!(/// The cluster's identity, written into every fence.
    ClusterId, "cluster id");

macro_rules! number {
    ($(#[$doc:meta])* $type:ident, $int:ty) => {
        $(#[$doc])*
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub $int);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number!(/// The number of a switch; per service, each one more than the last. 0: nothing written yet.
    Epoch, u64);
number!(/// An endpoint's number, given out when a service is applied; a changed probe gets a new one.
    EndpointId, u32);
number!(/// The cluster's clock in milliseconds: moved by the leader's commands only, so it stands still without a leader.
    LogTime, u64);

impl Epoch {
    /// The last that a fence may carry. Nothing is above what `next` can reach, so that no text in DNS can make epochs wrap.
    pub const LAST: Self = Self(1 << 63);
    /// The last under which a record is taken over: whoever could write 2⁶² into a fence must not leave the cluster without
    /// epochs to go on from.
    pub const LAST_ADOPTED: Self = Self(1 << 62);

    /// The epoch of the switch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl LogTime {
    /// This instant and `span` more; saturates.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to this instant; zero if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "eu-west-3", "0", &"x".repeat(63)] {
            assert!(good.parse::<RegionName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a b", "é", &"x".repeat(64)] {
            assert!(bad.parse::<RegionName>().is_err(), "{bad}");
        }
    }
}
