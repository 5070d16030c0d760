//! A farm and its servers as OVH's API has them.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::caption::{Caption, Ids};
use crate::{
    core::record::{DomainName, Member, Record, RecordType, RecordValue, RrSet},
    dns::{ProviderError, Reading, clip},
};

/// Where a farm is: the record's zone is the load balancer, its name `http-12345` the farm's kind and number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) balancer: DomainName,
    pub(super) kind: &'static str,
    pub(super) farm: u64,
}

/// The kinds of farm, each with paths of its own.
const KINDS: [&str; 3] = ["http", "tcp", "udp"];

impl Place {
    pub(super) fn of(record: &Record) -> Result<Self, ProviderError> {
        let name = record.name.relative_to(&record.zone).unwrap_or_default();
        let parts = name.split_once('-').and_then(|(kind, id)| {
            let kind = KINDS.into_iter().find(|known| *known == kind)?;
            let farm: u64 = id.parse().ok()?;
            (farm.to_string() == id).then_some((kind, farm))
        });
        let Some((kind, farm)) = parts.filter(|_| record.rtype == RecordType::Pool) else {
            return Err(ProviderError::Permanent {
                message: format!("`{name}` names no farm of load balancer {}", record.zone),
                hint: "a farm's record is named by kind and number, such as http-12345, tcp-12345 or udp-12345"
                    .to_owned(),
            });
        };
        Ok(Self { balancer: record.zone.clone(), kind, farm })
    }

    /// The path of something of the load balancer.
    pub(super) fn at_balancer(&self, rest: &str) -> String {
        format!("/ipLoadbalancing/{}/{rest}", self.balancer)
    }

    /// The farm's path.
    pub(super) fn path(&self) -> String {
        self.at_balancer(&format!("{}/farm/{}", self.kind, self.farm))
    }

    /// The path of one of its servers.
    pub(super) fn server(&self, id: u64) -> String {
        format!("{}/server/{id}", self.path())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} farm {} of load balancer {}", self.kind, self.farm, self.balancer)
    }
}

/// `GET …/farm/{farmId}`, of which the name alone matters.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    #[serde(rename = "displayName", default)]
    pub(super) display_name: Option<String>,
}

/// `GET …/farm/{farmId}/server/{serverId}`, as far as it is compared.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Server {
    #[serde(rename = "serverId")]
    pub(super) id: u64,
    #[serde(rename = "displayName", default)]
    display_name: Option<String>,
    address: String,
    #[serde(default)]
    port: Option<u32>,
    status: Status,
    /// Servers of UDP farms have none.
    #[serde(default)]
    weight: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Active,
    Inactive,
}

/// The body that changes a server. What it does not name stays as it is.
#[derive(Debug, Serialize)]
pub(super) struct Turn {
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
}

/// The body that changes a farm's name.
#[derive(Debug, Serialize)]
pub(super) struct Rename<'a> {
    #[serde(rename = "displayName")]
    pub(super) display_name: &'a str,
}

impl Server {
    /// An active server of weight 0 gets no traffic.
    pub(super) fn takes_traffic(&self) -> bool {
        self.status == Status::Active && self.weight != Some(0)
    }

    /// What the server is called in a service file: its name at OVH, or its address where it has none.
    pub(super) fn name(&self) -> &str {
        self.display_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&self.address)
    }

    /// The change that gives it traffic or takes it away. Weights are people's business, except that 0 is none.
    pub(super) fn turned(&self, on: bool) -> Turn {
        let status = if on { Status::Active } else { Status::Inactive };
        Turn { status, weight: (on && self.weight == Some(0)).then_some(1) }
    }
}

/// `GET …/pendingChanges`: what is staged and not published, a zone each.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Pending {
    pub(super) number: u64,
    pub(super) zone: String,
}

/// `GET …/task/{id}` and the answer to `POST …/refresh`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Task {
    pub(super) id: u64,
    pub(super) status: TaskStatus,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum TaskStatus {
    Todo,
    Doing,
    Done,
    Blocked,
    Cancelled,
    Error,
}

impl TaskStatus {
    pub(super) fn is_over(self) -> bool {
        !matches!(self, Self::Todo | Self::Doing)
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Todo => "todo",
            Self::Doing => "doing",
            Self::Done => "done",
            Self::Blocked => "blocked",
            Self::Cancelled => "cancelled",
            Self::Error => "error",
        })
    }
}

/// What is staged of a farm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Farm {
    pub(super) caption: Caption,
    pub(super) servers: BTreeMap<u64, Server>,
}

impl Farm {
    pub(super) fn new(named: &Named, servers: Vec<Server>) -> Self {
        let caption = Caption::parse(named.display_name.as_deref().unwrap_or_default());
        Self { caption, servers: servers.into_iter().map(|server| (server.id, server)).collect() }
    }

    /// The servers that take traffic.
    pub(super) fn taking(&self) -> Ids {
        self.servers.values().filter(|server| server.takes_traffic()).map(|server| server.id).collect()
    }

    /// The servers that take traffic once a write that was begun has ended: it may have died between two of its edits, which
    /// leaves a mixture of two regions that nobody wanted. With the fence still the old one, that is no settled reading.
    pub(super) fn intended(&self) -> Ids {
        let mut taking = self.taking();
        if let Some(mark) = self.caption.mark() {
            taking.extend(mark.on.iter().filter(|id| self.servers.contains_key(id)));
            taking.retain(|id| !mark.off.contains(id));
        }
        taking
    }

    /// The one server of that name.
    fn named(&self, place: &Place, name: &str) -> Result<&Server, ProviderError> {
        let found: Vec<_> = self.servers.values().filter(|server| server.name() == name).collect();
        match found[..] {
            [server] => Ok(server),
            [] => {
                let names: Vec<_> = self.servers.values().map(Server::name).collect();
                Err(ProviderError::Permanent {
                    message: format!("the {place} has no server `{name}`; it has {}", clip(&names.join(", "))),
                    hint: "a value is a server's name at OVH (displayName), or its address where it has none"
                        .to_owned(),
                })
            }
            _ => Err(ProviderError::Permanent {
                message: format!("the {place} has {} servers that are called `{}`", found.len(), clip(name)),
                hint: "give each a displayName of its own at OVH".to_owned(),
            }),
        }
    }

    /// What stands there, as a record.
    pub(super) fn reading(&self, place: &Place) -> Result<Reading, ProviderError> {
        let value = |id: &u64| {
            let name = self.servers.get(id).map(Server::name).unwrap_or_default();
            self.named(place, name)?;
            let member: Member = name.parse().map_err(|error| ProviderError::Permanent {
                message: format!("server {id} of the {place} has a name that Quorate cannot write: {error}"),
                hint: "rename it at OVH".to_owned(),
            })?;
            Ok(RecordValue::Member(member))
        };
        let values = self.intended().iter().map(value).collect::<Result<std::collections::BTreeSet<_>, _>>()?;
        let rrset = (!values.is_empty()).then_some(RrSet { ttl: 0, values });
        Ok(Reading { rrset, fence: self.caption.fence() })
    }

    /// The servers that these values name.
    pub(super) fn servers_of(&self, place: &Place, wanted: &RrSet) -> Result<Ids, ProviderError> {
        wanted.values.iter().map(|value| Ok(self.named(place, &value.to_string())?.id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::FenceReading;

    fn record(name: &str) -> Record {
        Record {
            provider: "main".parse().unwrap(),
            zone: "ip-203.0.113.1".parse().unwrap(),
            name: format!("{name}.ip-203.0.113.1").parse().unwrap(),
            rtype: RecordType::Pool,
            ttl: 0,
        }
    }

    fn farm(name: &str, servers: &[(u64, Option<&str>, &str, Option<u32>)]) -> Farm {
        let server = |(id, name, status, weight): &(u64, Option<&str>, &str, Option<u32>)| {
            let body = serde_json::json!({ "serverId": id, "displayName": name, "address": format!("192.0.2.{id}"),
                "status": status, "weight": weight, "backendId": 7, "serverState": [] });
            serde_json::from_value(body).unwrap()
        };
        Farm::new(&Named { display_name: Some(name.to_owned()) }, servers.iter().map(server).collect())
    }

    fn values(farm: &Farm) -> Vec<String> {
        let reading = farm.reading(&Place::of(&record("http-7")).unwrap()).unwrap();
        reading.rrset.map_or_else(Vec::new, |rrset| rrset.values.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_farm_is_named_by_kind_and_number() {
        let place = Place::of(&record("http-12345")).unwrap();
        assert_eq!(place.server(9), "/ipLoadbalancing/ip-203.0.113.1/http/farm/12345/server/9");
        assert!(Place::of(&record("udp-1")).is_ok());
        for bad in ["http", "http-07", "http--7", "https-7", "7-http", "http-7.x", "http-99999999999999999999"] {
            assert!(Place::of(&record(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn servers_that_take_traffic_are_the_values() {
        let servers = [
            (1, Some("web-a"), "active", Some(5)),
            (2, Some("web-b"), "inactive", Some(5)),
            (3, Some("web-c"), "active", Some(0)),
            (4, None, "active", None),
            (5, Some(""), "active", Some(1)),
        ];
        assert_eq!(values(&farm("web", &servers)), ["192.0.2.4", "192.0.2.5", "web-a"]);
        assert_eq!(values(&farm("web", &[(2, Some("web-b"), "inactive", None)])), [""; 0]);
    }

    /// Whatever part of a write was staged, its farm reads as what the write is for, under the fence of before.
    #[test]
    fn a_write_that_died_reads_as_what_it_was_for() {
        let name = "web _quorate v=1 cluster=prod epoch=1 next=2 +2 -1";
        for (a, b) in [("active", "inactive"), ("active", "active"), ("inactive", "active")] {
            let farm = farm(name, &[(1, Some("web-a"), a, None), (2, Some("web-b"), b, None)]);
            assert_eq!(values(&farm), ["web-b"], "{a} {b}");
            let FenceReading::Present(fence) = farm.caption.fence() else { panic!("a fence") };
            assert_eq!(fence.epoch.0, 1);
        }
        // Somebody else's edit beside it stays visible.
        let third = [(1, Some("a"), "active", None), (2, Some("b"), "active", None), (3, Some("c"), "active", None)];
        assert_eq!(values(&farm(name, &third)), ["b", "c"]);
    }

    #[test]
    fn names_that_are_not_one_server_are_refused() {
        let place = Place::of(&record("http-7")).unwrap();
        let twice = farm("", &[(1, Some("web"), "active", None), (2, Some("web"), "inactive", None)]);
        assert!(twice.reading(&place).unwrap_err().to_string().contains("2 servers that are called `web`"));
        let spaced = farm("", &[(1, Some("web a"), "active", None)]);
        assert!(spaced.reading(&place).unwrap_err().to_string().contains("rename it"));
        let rrset = RrSet { ttl: 0, values: [RecordValue::Member("web-b".parse().unwrap())].into() };
        let error = spaced.servers_of(&place, &rrset).unwrap_err().to_string();
        assert!(error.contains("has no server `web-b`; it has web a"), "{error}");
    }

    #[test]
    fn a_weight_of_nothing_becomes_the_default_and_others_stay() {
        let farm =
            farm("", &[(1, None, "inactive", Some(0)), (2, None, "inactive", Some(7)), (3, None, "active", None)]);
        let body = |id: u64, on| serde_json::to_string(&farm.servers[&id].turned(on)).unwrap();
        assert_eq!(body(1, true), r#"{"status":"active","weight":1}"#);
        assert_eq!(body(2, true), r#"{"status":"active"}"#);
        assert_eq!(body(3, false), r#"{"status":"inactive"}"#);
    }
}
