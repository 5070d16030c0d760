//! What resolvers will be told: asks every authoritative nameserver of a zone, at each of its addresses.
//!
//! A provider that took a write has not yet told the world; its nameservers have when all of them answer so. The list
//! configured for the provider wins; otherwise the zone's NS records are looked up through a resolver. Nothing here writes,
//! caches, or decides: a laggard is reported, and the caller judges it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use futures::future::join_all;
use hickory_proto::{
    op::Message,
    rr::{RData, RecordType as WireType},
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::wire::{self, Connection, Found, ServerAddress, Unusable};
use crate::core::{
    names::ProviderName,
    record::{DomainName, Record, RecordValue, RrSet},
};

/// How long one nameserver may take, UDP and TCP together.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long one datagram's answer is waited for; then once more, then TCP.
const DATAGRAM_PATIENCE: Duration = Duration::from_millis(800);
/// How many addresses are asked at most: the largest zones have 13 nameservers with two addresses each.
const TARGETS_LIMIT: usize = 64;
/// The first and the longest pause between two rounds of questions.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Where the system names its resolvers (resolv.conf(5)).
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What one nameserver said, and how long it took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameserverAnswer {
    /// Name and address, or the address alone when the address is what was configured.
    pub server: String,
    /// What it said.
    pub answer: Answer,
    /// From the question to the answer, or to giving up.
    pub elapsed: Duration,
}

/// A nameserver's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The record.
    Values {
        /// Seconds.
        ttl: u32,
        /// At least one.
        values: BTreeSet<RecordValue>,
        /// Whether the server called itself an authority; an answer that is none came out of a cache and proves nothing.
        authoritative: bool,
    },
    /// The server says that there is no such record.
    NoData,
    /// There was no usable answer.
    Error(String),
}

impl Answer {
    /// Whether this is an authority's answer with exactly the wanted values and TTL.
    #[must_use]
    pub fn agrees_with(&self, wanted: &RrSet) -> bool {
        matches!(self, Self::Values { ttl, values, authoritative: true } if *ttl == wanted.ttl && *values == wanted.values)
    }
}

/// The last round of answers, and whether all of them were the wanted one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Every nameserver answered with the wanted RRset.
    pub agreed: bool,
    /// What each said last.
    pub answers: Vec<NameserverAnswer>,
}

/// Finds and asks nameservers.
#[derive(Debug, Clone, Default)]
pub struct Authoritative {
    configured: BTreeMap<ProviderName, Vec<ServerAddress>>,
    resolvers: Vec<ServerAddress>,
}

/// One address to ask.
#[derive(Debug, Clone)]
struct Target {
    label: String,
    address: SocketAddr,
}

impl Authoritative {
    /// `configured`: the nameservers of a provider's zones, where they are not to be looked up. `resolvers`: who is asked
    /// for NS records; the system's own when empty.
    #[must_use]
    pub fn new(configured: BTreeMap<ProviderName, Vec<ServerAddress>>, resolvers: Vec<ServerAddress>) -> Self {
        Self { configured, resolvers }
    }

    /// Asks each nameserver once, all at the same time. When none can be found, the one answer says why.
    pub async fn ask_all(&self, record: &Record) -> Vec<NameserverAnswer> {
        let deadline = Instant::now() + PATIENCE;
        match self.targets(record, deadline).await {
            Ok(targets) => ask_round(&targets, record, deadline + PATIENCE).await,
            Err(error) => vec![error],
        }
    }

    /// Asks until every nameserver answers with `wanted`, or until `deadline`. Asks at least once before the deadline,
    /// and never waits past it.
    pub async fn settle(&self, record: &Record, wanted: &RrSet, deadline: Instant) -> Settled {
        // Of a pool no nameserver knows, and what an alias answers is the provider's to choose.
        if !wanted.is_in_dns() {
            return Settled { agreed: true, answers: vec![] };
        }
        let targets = match self.targets(record, deadline).await {
            Ok(targets) => targets,
            Err(error) => return Settled { agreed: false, answers: vec![error] },
        };
        let mut pause = PAUSES.0;
        loop {
            let answers = ask_round(&targets, record, deadline).await;
            let agreed = !answers.is_empty() && answers.iter().all(|answer| answer.answer.agrees_with(wanted));
            if agreed || Instant::now() + pause >= deadline {
                return Settled { agreed, answers };
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Every address to ask, or an answer that says why there is none.
    async fn targets(&self, record: &Record, deadline: Instant) -> Result<Vec<Target>, NameserverAnswer> {
        let started = Instant::now();
        let failed = |server: String, error: String| NameserverAnswer {
            server,
            answer: Answer::Error(error),
            elapsed: started.elapsed(),
        };
        let servers = match self.configured.get(&record.provider) {
            Some(servers) if !servers.is_empty() => servers.clone(),
            _ => {
                let found = self.look_up_nameservers(&record.zone, deadline).await;
                found.map_err(|error| failed(format!("zone {}", record.zone), error))?
            }
        };
        let mut targets: Vec<Target> = Vec::new();
        for (server, addresses) in
            join_all(servers.iter().map(|server| async move { (server, server.addresses(deadline).await) })).await
        {
            // A nameserver whose address is unknown cannot be shown to agree, so it must not drop out of the list.
            let addresses = addresses.map_err(|error| failed(server.to_string(), error))?;
            targets.extend(addresses.into_iter().map(|address| {
                let (server, plain) = (server.to_string(), address.to_string());
                Target { label: if server == plain { plain } else { format!("{server} ({plain})") }, address }
            }));
        }
        targets.truncate(TARGETS_LIMIT);
        Ok(targets)
    }

    /// The zone's NS records, from the first resolver that has them.
    async fn look_up_nameservers(&self, zone: &DomainName, deadline: Instant) -> Result<Vec<ServerAddress>, String> {
        let resolvers = if self.resolvers.is_empty() { system_resolvers().await? } else { self.resolvers.clone() };
        let question = wire::question(wire::wire_name(zone)?, WireType::NS, true);
        let mut last = format!("no resolver in {RESOLV_CONF}");
        for resolver in resolvers {
            match look_up_through(&resolver, &question, deadline).await {
                Ok(servers) => return Ok(servers),
                Err(error) => last = format!("resolver {resolver}: {error}"),
            }
        }
        Err(format!("the nameservers of {zone} are unknown: {last}; name them as `nameservers`"))
    }
}

async fn look_up_through(
    resolver: &ServerAddress,
    question: &Message,
    deadline: Instant,
) -> Result<Vec<ServerAddress>, String> {
    let deadline = deadline.min(Instant::now() + PATIENCE);
    let address = *resolver.addresses(deadline).await?.first().ok_or("it has no address")?;
    let answer = exchange(address, question, deadline).await?;
    match wire::read_answer(question, &answer, false) {
        Ok(Found::Records { data, .. }) => nameservers(&data),
        Ok(Found::Nothing | Found::Alias(_)) => Err("there is no such zone".to_owned()),
        Err(unusable) => Err(describe(&unusable)),
    }
}

/// The servers that NS records name.
pub(super) fn nameservers(data: &[RData]) -> Result<Vec<ServerAddress>, String> {
    let names = data.iter().filter_map(|data| if let RData::NS(ns) = data { Some(ns.0.to_ascii()) } else { None });
    let servers: Result<Vec<ServerAddress>, _> = names.map(|name| name.parse()).collect();
    servers.map_err(|error| error.to_string())
}

/// The resolvers that the system names, as resolv.conf(5) has them; at most three are used.
async fn system_resolvers() -> Result<Vec<ServerAddress>, String> {
    let text = tokio::fs::read_to_string(RESOLV_CONF).await.map_err(|error| format!("{RESOLV_CONF}: {error}"))?;
    Ok(parse_resolv_conf(&text))
}

pub(super) fn parse_resolv_conf(text: &str) -> Vec<ServerAddress> {
    let entry = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == "nameserver").then_some(())?;
        words.next()?.parse().ok()
    };
    text.lines().filter_map(entry).take(3).collect()
}

async fn ask_round(targets: &[Target], record: &Record, deadline: Instant) -> Vec<NameserverAnswer> {
    join_all(targets.iter().map(|target| async move {
        let started = Instant::now();
        let answer = ask(target.address, record, deadline.min(started + PATIENCE)).await;
        NameserverAnswer { server: target.label.clone(), answer, elapsed: started.elapsed() }
    }))
    .await
}

async fn ask(server: SocketAddr, record: &Record, deadline: Instant) -> Answer {
    let asked = async {
        let question = wire::question(wire::wire_name(&record.name)?, wire::wire_type(record.rtype)?, false);
        let answer = exchange(server, &question, deadline).await?;
        let authoritative = answer.metadata.authoritative;
        match wire::read_answer(&question, &answer, false).map_err(|unusable| describe(&unusable))? {
            Found::Records { ttl, data } => {
                let values = data.iter().map(wire::read_value).collect::<Result<_, _>>()?;
                Ok(Answer::Values { ttl, values, authoritative })
            }
            Found::Nothing if authoritative => Ok(Answer::NoData),
            Found::Nothing => Err("not an authority for the zone".to_owned()),
            Found::Alias(target) => Err(format!("the name is a CNAME to {target}")),
        }
    };
    asked.await.unwrap_or_else(|error: String| Answer::Error(error))
}

pub(super) fn describe(unusable: &Unusable) -> String {
    match unusable {
        Unusable::Mismatch(error) => error.clone(),
        Unusable::Code(code) => format!("answered {code:?}"),
        Unusable::NotAuthoritative => "not an authority for the zone".to_owned(),
        Unusable::Truncated => "the answer was cut short".to_owned(),
    }
}

/// As a resolver asks: by UDP, twice, and by TCP when the answer is cut short or never comes.
async fn exchange(server: SocketAddr, question: &Message, deadline: Instant) -> Result<Message, String> {
    let bytes = question.to_vec().map_err(|error| error.to_string())?;
    for _ in 0..2 {
        let patience = deadline.min(Instant::now() + DATAGRAM_PATIENCE);
        let Ok(answer) = wire::ask_udp(server, &bytes, patience).await else { continue };
        match Message::from_vec(&answer) {
            Ok(answer) if !answer.metadata.truncation => return Ok(answer),
            _ => break,
        }
    }
    let mut connection = Connection::open_at(server, deadline).await?;
    let answer = connection.ask(&bytes, deadline).await?;
    Message::from_vec(&answer).map_err(|error| format!("the answer is no DNS message: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_gives_the_first_three_resolvers() {
        let text = "# nameserver 192.0.2.9\nsearch example.net\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 # x\n\
                    nameserver fe80::1%eth0\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n";
        let shown: Vec<_> = parse_resolv_conf(text).iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.3:53"]);
    }

    #[test]
    fn only_an_authority_with_the_same_values_and_ttl_agrees() {
        let values: BTreeSet<_> = [RecordValue::A([192, 0, 2, 1].into())].into();
        let wanted = RrSet { ttl: 60, values: values.clone() };
        let answer = |ttl, authoritative| Answer::Values { ttl, values: values.clone(), authoritative };
        assert!(answer(60, true).agrees_with(&wanted));
        assert!(!answer(60, false).agrees_with(&wanted));
        assert!(!answer(59, true).agrees_with(&wanted));
        assert!(!Answer::NoData.agrees_with(&wanted));
        assert!(!Answer::Error("timeout".into()).agrees_with(&wanted));
    }
}
