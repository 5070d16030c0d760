//! A load balancer as Cloudflare's API has it: the values that it holds, the fence in its description, and the PATCH that
//! changes both.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    core::record::{DomainName, Fence, Member, Record, RecordValue, RrSet},
    dns::{Change, FenceReading, ProviderError, clip},
};

/// What a value begins with that names a fallback outside of the default pools.
const FALLBACK: &str = "fallback:";
/// What the fence stands between.
const OPEN: &str = "[quorate ";
const CLOSE: char = ']';

/// `GET /accounts/{account}/load_balancers/pools`: one of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Pool {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    /// Unknown of those that the configuration names.
    #[serde(default)]
    pub(super) enabled: Option<bool>,
}

/// The pools that there are, and what services call them.
#[derive(Debug, Clone)]
pub(super) struct Pools {
    all: Vec<Pool>,
    /// What each goes by, by its id.
    called: BTreeMap<String, String>,
    /// The first that goes by a name.
    first: BTreeMap<String, usize>,
}

/// `GET /zones/{zone}/load_balancers`: one of them. What is not named here stays as it is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Balancer {
    pub(super) id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    default_pools: Option<Vec<String>>,
    #[serde(default)]
    fallback_pool: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    pub(super) enabled: Option<bool>,
    #[serde(default)]
    pub(super) modified_on: Option<String>,
    #[serde(default)]
    steering_policy: Option<String>,
    #[serde(default)]
    region_pools: Value,
    #[serde(default)]
    country_pools: Value,
    #[serde(default)]
    pop_pools: Value,
    #[serde(default)]
    rules: Value,
    #[serde(default)]
    pool_sets: Value,
}

/// `PATCH /zones/{zone}/load_balancers/{id}`: all that a switch changes, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Patch {
    pub(super) default_pools: Vec<String>,
    pub(super) fallback_pool: String,
    pub(super) description: String,
}

impl Pool {
    /// Its name, if that can stand in a service file.
    fn name(&self) -> Option<&str> {
        let fits = self.name.parse::<Member>().is_ok() && !self.name.contains(':');
        fits.then_some(&*self.name)
    }
}

impl Pools {
    /// An account can have hundreds of pools: names are counted once.
    pub(super) fn new(pools: Vec<Pool>) -> Self {
        let mut bearers: BTreeMap<&str, usize> = BTreeMap::new();
        for name in pools.iter().filter_map(Pool::name) {
            *bearers.entry(name).or_default() += 1;
        }
        let (mut called, mut first) = (BTreeMap::new(), BTreeMap::new());
        for (at, pool) in pools.iter().enumerate() {
            let alone = pool.name().filter(|name| bearers[name] == 1);
            let goes_by = called.entry(pool.id.clone()).or_insert_with(|| alone.unwrap_or(&pool.id).to_owned());
            first.entry(goes_by.clone()).or_insert(at);
        }
        Self { all: pools, called, first }
    }

    /// What the pool of this id goes by: its name, unless another has that, too; else the id itself.
    fn called<'a>(&'a self, id: &'a str) -> &'a str {
        self.called.get(id).map_or(id, String::as_str)
    }

    /// The pool that goes by this.
    fn find(&self, called: &str) -> Result<&Pool, ProviderError> {
        if let Some(at) = self.first.get(called) {
            return Ok(&self.all[*at]);
        }
        let message = format!("Cloudflare has no pool `{called}` in this account");
        let same = self.all.iter().filter(|pool| pool.name == called).map(|pool| &*pool.id).collect::<Vec<_>>();
        let hint = match self.all.iter().find(|pool| pool.id == called) {
            Some(pool) => format!("that is the id of a pool: call it by its name, `{}`", clip(&pool.name)),
            None if same.len() > 1 => {
                format!(
                    "more than one pool has this name: rename one, or name the id that you mean ({})",
                    same.join(", ")
                )
            }
            None => {
                let known = self.all.iter().map(|pool| self.called(&pool.id)).take(20).collect::<Vec<_>>().join(", ");
                format!("correct the service file, or make the pool; there are: {}", clip(&known))
            }
        };
        Err(ProviderError::Permanent { message, hint })
    }

    /// How many there are, and the first of their names.
    pub(super) fn in_words(&self) -> String {
        let names: Vec<_> = self.all.iter().map(|pool| self.called(&pool.id)).take(5).collect();
        let more = if self.all.len() > names.len() { ", …" } else { "" };
        format!("{}: {}{more}", self.all.len(), clip(&names.join(", ")))
    }
}

impl Balancer {
    /// Whether it answers for this host name.
    pub(super) fn is_named(&self, name: &DomainName) -> bool {
        self.name.trim_end_matches('.').eq_ignore_ascii_case(name.as_str())
    }

    fn default_pools(&self) -> &[String] {
        self.default_pools.as_deref().unwrap_or_default()
    }

    fn description(&self) -> &str {
        self.description.as_deref().unwrap_or_default()
    }

    /// The pool of last resort, where it is none of those that take traffic anyway.
    fn other_fallback(&self) -> Option<&str> {
        let id = self.fallback_pool.as_deref().filter(|id| !id.is_empty())?;
        (!self.default_pools().iter().any(|pool| pool == id)).then_some(id)
    }

    /// The values of the record.
    pub(super) fn values(&self, pools: &Pools) -> Result<BTreeSet<RecordValue>, String> {
        let named = self.default_pools().iter().map(|id| pools.called(id).to_owned());
        let fallback = self.other_fallback().map(|id| format!("{FALLBACK}{}", pools.called(id)));
        let member = |text: String| text.parse().map(RecordValue::Member).map_err(|_| clip(&text));
        named.chain(fallback).map(member).collect()
    }

    /// The fence that the description has.
    pub(super) fn fence(&self) -> FenceReading {
        FenceReading::of(marks(self.description()).into_iter().map(|(_, text)| text.to_owned()).collect())
    }

    /// The change to what is wanted.
    pub(super) fn patch(&self, pools: &Pools, change: &Change) -> Result<Patch, ProviderError> {
        let (default_pools, fallback_pool) = self.select(pools, &change.record, &change.rrset)?;
        Ok(Patch { default_pools, fallback_pool, description: fenced(self.description(), &change.fence) })
    }

    /// The ids of the default pools, in their order, and of the fallback that these values name; or why it cannot have them.
    pub(super) fn select(
        &self,
        pools: &Pools,
        record: &Record,
        rrset: &RrSet,
    ) -> Result<(Vec<String>, String), ProviderError> {
        let refuse = |message: String, hint: &str| Err(ProviderError::Permanent { message, hint: hint.to_owned() });
        let texts: Vec<String> = rrset.values.iter().map(ToString::to_string).collect();
        let (fallbacks, named): (Vec<&str>, Vec<&str>) =
            texts.iter().map(String::as_str).partition(|text| text.starts_with(FALLBACK));
        let wanted = named.into_iter().map(|name| pools.find(name)).collect::<Result<Vec<_>, _>>()?;
        let fallback = match fallbacks[..] {
            [] => None,
            [one] => Some(pools.find(&one[FALLBACK.len()..])?),
            _ => return refuse(format!("{record} can have one fallback pool"), "name one `fallback:` in each region"),
        };
        if wanted.is_empty() {
            let hint = "name the pools that shall take the region's traffic in its values";
            return refuse(format!("{record} would be left with its fallback alone"), hint);
        }
        if fallback.is_some_and(|pool| wanted.contains(&pool)) {
            let hint = "leave the `fallback:` out: one of the pools that take the traffic is the fallback by itself";
            return refuse(format!("{record} names a pool and has it as another fallback, too"), hint);
        }
        if wanted.iter().all(|pool| pool.enabled == Some(false)) {
            let hint = "enable one of them: Cloudflare answers nothing at all where every pool is disabled";
            return refuse(format!("the pools that {record} shall switch to are disabled: {rrset}"), hint);
        }
        let is_wanted = |id: &str| wanted.iter().any(|pool| pool.id == id);
        let mut default_pools: Vec<String> = self.default_pools().iter().filter(|id| is_wanted(id)).cloned().collect();
        let new = wanted.iter().filter(|pool| !self.default_pools().contains(&pool.id)).map(|pool| pool.id.clone());
        default_pools.extend(new.collect::<Vec<_>>());
        // Cloudflare's own default is the last one.
        let own = self.fallback_pool.as_ref().filter(|id| is_wanted(id)).or(default_pools.last());
        let fallback_pool = fallback.map(|pool| &pool.id).or(own).cloned().unwrap_or_default();
        Ok((default_pools, fallback_pool))
    }

    /// Whether it is what the PATCH asked for.
    pub(super) fn holds(&self, patch: &Patch) -> bool {
        self.default_pools() == patch.default_pools
            && self.fallback_pool.as_ref() == Some(&patch.fallback_pool)
            && self.description() == patch.description
    }

    /// What a PATCH makes of it.
    #[cfg(feature = "testing")]
    pub(super) fn with(&self, patch: &Patch) -> Self {
        let Patch { default_pools, fallback_pool, description } = patch.clone();
        let (default_pools, fallback_pool) = (Some(default_pools), Some(fallback_pool));
        Self { default_pools, fallback_pool, description: Some(description), ..self.clone() }
    }

    /// What sends traffic past the default pools, by its name in the API.
    pub(super) fn passed_by(&self) -> Vec<&'static str> {
        let by_place = [
            ("region_pools", &self.region_pools),
            ("country_pools", &self.country_pools),
            ("pop_pools", &self.pop_pools),
        ];
        let geo = matches!(self.steering_policy.as_deref(), None | Some("" | "geo"));
        let by_place = by_place.into_iter().filter(|_| geo);
        let all = by_place.chain([("rules", &self.rules), ("pool_sets", &self.pool_sets)]);
        all.filter(|(_, value)| !is_empty(value)).map(|(name, _)| name).collect()
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().all(|item| item["disabled"] == true),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// Where fences stand in a description, and what is between their brackets. One that nothing closes goes to the end, with its
/// bracket: who cut it off may have cut the epoch, too, so that it must not read as a fence.
fn marks(description: &str) -> Vec<(Range<usize>, &str)> {
    let begins = description.match_indices(OPEN);
    let mark = |(begin, open): (usize, &str)| {
        let inner = begin + open.len();
        match description[inner..].find(CLOSE) {
            Some(length) => (begin..inner + length + CLOSE.len_utf8(), &description[inner..inner + length]),
            None => (begin..description.len(), &description[begin..]),
        }
    };
    begins.map(mark).collect()
}

/// The description with this fence in the place of the old one, or at its end; what else it says stays.
fn fenced(description: &str, fence: &Fence) -> String {
    let mark = format!("{OPEN}{fence}{CLOSE}");
    match marks(description).into_iter().next() {
        Some((at, _)) => format!("{}{mark}{}", &description[..at.start], &description[at.end..]),
        None if description.trim().is_empty() => mark,
        None => format!("{description} {mark}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::names::Epoch;

    #[test]
    fn a_fence_changes_in_its_place_and_nothing_else_does() {
        let fence = Fence { cluster: "prod".parse().unwrap(), epoch: Epoch(7) };
        for (before, after) in [
            ("", "[quorate v=1 cluster=prod epoch=7]"),
            ("  ", "[quorate v=1 cluster=prod epoch=7]"),
            ("the shop", "the shop [quorate v=1 cluster=prod epoch=7]"),
            ("the [shop]\nof é", "the [shop]\nof é [quorate v=1 cluster=prod epoch=7]"),
            ("a [quorate v=1 cluster=prod epoch=6] b", "a [quorate v=1 cluster=prod epoch=7] b"),
        ] {
            assert_eq!(fenced(before, &fence), after);
            assert_eq!(fenced(after, &fence), after);
        }
    }

    #[test]
    fn what_is_no_fence_is_not_read_as_none() {
        let read = |text: &str| {
            let answer = serde_json::json!({ "id": "1", "description": text });
            serde_json::from_value::<Balancer>(answer).unwrap().fence()
        };
        let fence = Fence { cluster: "prod".parse().unwrap(), epoch: Epoch(6) };
        assert_eq!(read("the shop [quorate]"), FenceReading::Absent);
        assert_eq!(read("a [quorate v=1 cluster=prod epoch=6] b"), FenceReading::Present(fence));
        // Cut off, twice, and of a later release.
        for bad in [
            "[quorate v=1 cluster=prod epoch=6",
            "[quorate v=1 cluster=prod epoch=6 and more",
            "[quorate v=1 cluster=prod epoch=6][quorate v=1 cluster=prod epoch=6]",
            "[quorate v=2 whatever]",
            "[quorate ]",
        ] {
            assert!(matches!(read(bad), FenceReading::Unreadable(_)), "{bad}");
        }
    }

    #[test]
    fn names_that_two_pools_share_are_no_names() {
        let pool = |id: &str, name: &str| Pool { id: id.into(), name: name.into(), enabled: Some(true) };
        let pools = Pools::new(vec![pool("1", "eu"), pool("2", "us"), pool("3", "us"), pool("4", "a b")]);
        let called: Vec<_> = ["1", "2", "3", "4", "5"].iter().map(|id| pools.called(id)).collect();
        assert_eq!(called, ["eu", "2", "3", "4", "5"]);
        assert_eq!((&*pools.find("eu").unwrap().id, &*pools.find("3").unwrap().id), ("1", "3"));
        for (name, says) in [("us", "(2, 3)"), ("1", "by its name, `eu`"), ("asia", "there are: eu, 2, 3, 4")] {
            let error = pools.find(name).unwrap_err().to_string();
            assert!(error.contains(&format!("no pool `{name}`")) && error.contains(says), "{error}");
        }
    }
}
