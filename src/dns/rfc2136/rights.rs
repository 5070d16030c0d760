//! What the key may do at the server, found out without changing anything; and the least that it must be allowed.
//!
//! The question is an UPDATE that cannot change anything, for two reasons of which either would do: its prerequisite names an RRset
//! that does not exist (a random name), and what it would delete are values that do not exist either. BIND 9.18 and Knot
//! 3.2 look at the rights first (measured), so that their answer tells: `NXRRSET` says that the condition stopped it and the rights did
//! not, `REFUSED` and `NOTAUTH` that the rights did. RFC 2136 §3.2 and §3.3 have the conditions come first, and then `NXRRSET` says
//! nothing; so a name that nobody needs to change is asked for as well. Where that is let through too, the server keeps
//! the order of the standard or the key may change the whole zone: which of the two cannot be told without writing.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::{
    op::{Message, OpCode, Query, ResponseCode},
    rr::{DNSClass, RData, Record as WireRecord, RecordType as WireType, rdata, rdata::tsig::TsigError},
};
use tokio::time::Instant;

use super::Rfc2136;
use crate::{
    core::record::{DomainName, Record},
    dns::{
        Finding, Grant, ProviderError,
        inspect::{
            self,
            subject::{CLOCK, CREDENTIALS, RIGHTS, ZONE},
        },
        tsig::{FUDGE, Reply},
        wire::{self, Connection, Found},
    },
};

/// What became of an UPDATE whose condition cannot hold.
enum Probed {
    /// The condition stopped it.
    LetThrough,
    /// The rights did.
    Refused(ProviderError),
    /// Neither.
    Other(Finding),
}

impl Rfc2136 {
    /// The findings of [`Provider::rights`](crate::dns::Provider::rights).
    pub(super) async fn look_at_rights(&self, record: &Record) -> Vec<Finding> {
        let deadline = Instant::now() + self.timeout;
        let mut connection = match Connection::open(&self.server, deadline).await {
            Ok(connection) => connection,
            Err(error) => {
                return vec![Finding::unknown(ZONE, error, "check `server`, and that this node may reach it")];
            }
        };
        let (mut findings, known) = self.look_at_zone(&mut connection, record, deadline).await;
        if known {
            findings.extend(self.look_at_updates(&mut connection, record, deadline).await);
        }
        findings
    }

    /// Key, clock and zone, by a signed question; and whether it is worth asking more.
    async fn look_at_zone(
        &self,
        connection: &mut Connection,
        record: &Record,
        deadline: Instant,
    ) -> (Vec<Finding>, bool) {
        let unclear =
            |error: String| (vec![Finding::unknown(ZONE, format!("{}: {error}", self.server), "try again")], false);
        let apex = match wire::wire_name(&record.zone) {
            Ok(apex) => apex,
            Err(error) => return unclear(error),
        };
        let mut question = wire::question(apex, WireType::SOA, false);
        let reply = match self.exchange(connection, &mut question, deadline).await {
            Ok(reply) => reply,
            Err(error) => return unclear(error),
        };
        if let Some(error) = reply.error {
            let subject = if error == TsigError::BadTime { CLOCK } else { CREDENTIALS };
            return (vec![Finding::of_error(subject, &self.bad_signature(error, reply.skew, record))], false);
        }
        let mut findings = vec![];
        if reply.authentic {
            let key = self.key.name();
            findings
                .push(Finding::pass(CREDENTIALS, format!("{} knows the key `{key}` and signs with it", self.server)));
            findings.extend(reply.skew.map(clock));
        }
        let hint = format!("name the primary server of zone {} as `server`", record.zone);
        findings.push(match wire::read_answer(&question, &reply.message, true) {
            Ok(Found::Records { data, .. }) if matches!(data[..], [RData::SOA(_)]) => {
                let serial =
                    data.iter().find_map(|data| if let RData::SOA(soa) = data { Some(soa.serial) } else { None });
                Finding::pass(ZONE, format!("{} serves {}, serial {}", self.server, record.zone, serial.unwrap_or(0)))
            }
            Ok(_) => Finding::fail(ZONE, format!("{} is not the apex of a zone at {}", record.zone, self.server), hint),
            Err(unusable) => {
                let said = crate::dns::authoritative::describe(&unusable);
                Finding::fail(ZONE, format!("{} for {}: {said}", self.server, record.zone), hint)
            }
        });
        let serves = findings.last().is_some_and(|finding| finding.hint.is_empty());
        (findings, serves && reply.authentic)
    }

    async fn look_at_updates(&self, connection: &mut Connection, record: &Record, deadline: Instant) -> Vec<Finding> {
        let stranger = format!("quorate-{}.{}", nonce(), record.zone);
        let stranger = stranger.parse::<DomainName>().map_err(|error| error.to_string());
        let mut asked = vec![];
        for place in [
            stranger.map(|name| (name, WireType::TXT)),
            wire::wire_type(record.rtype).map(|rtype| (record.name.clone(), rtype)),
            Ok((record.fence_name(), WireType::TXT)),
        ] {
            let probed = match place {
                Ok((name, rtype)) => self.probe(connection, record, &name, rtype, deadline).await,
                Err(error) => Err(error),
            };
            asked.push(probed.unwrap_or_else(|error| {
                Probed::Other(Finding::unknown(RIGHTS, format!("{}: {error}", self.server), "try again"))
            }));
        }
        let mut asked = asked.into_iter();
        let tells = !matches!(asked.next(), Some(Probed::LetThrough));
        let key = self.key.name();
        let whats = [format!("{} {}", record.name, record.rtype), format!("{} TXT", record.fence_name())];
        let finding = |(probed, what): (Probed, String)| match probed {
            Probed::LetThrough if tells => Finding::pass(RIGHTS, format!("the key `{key}` may change {what}")),
            Probed::LetThrough => Finding::unknown(
                RIGHTS,
                format!(
                    "{what}: {} lets any name through as far as conditions, so it cannot be told without writing",
                    self.server
                ),
                "if the key may change the whole zone, grant it less: `quoratectl provider policy`",
            ),
            Probed::Refused(ProviderError::Permanent { message, hint }) => {
                Finding::fail(RIGHTS, format!("the key `{key}` may not change {what}: {message}"), hint)
            }
            Probed::Refused(error) => Finding::of_error(RIGHTS, &error),
            Probed::Other(finding) => finding,
        };
        asked.zip(whats).map(finding).collect()
    }

    /// Asks to change one RRset under a condition that cannot hold.
    async fn probe(
        &self,
        connection: &mut Connection,
        record: &Record,
        name: &DomainName,
        rtype: WireType,
        deadline: Instant,
    ) -> Result<Probed, String> {
        let mut message = impossible(record, name, rtype)?;
        let reply = self.exchange(connection, &mut message, deadline).await?;
        if reply.message.metadata.id != message.metadata.id {
            return Err("the answer is to another message".to_owned());
        }
        Ok(match (reply.message.metadata.response_code, reply.error) {
            (ResponseCode::NXRRSet | ResponseCode::NXDomain, None) if reply.authentic => Probed::LetThrough,
            (ResponseCode::Refused | ResponseCode::NotAuth, _) => Probed::Refused(self.refusal(&reply, record)),
            (ResponseCode::NoError, None) => Probed::Other(Finding::fail(
                "conditions",
                format!("{} took an update whose condition does not hold", self.server),
                "it does not check prerequisites (RFC 2136 §3.2) and would let a stale write through: do not use it here",
            )),
            _ => Probed::Other(Finding::of_error(RIGHTS, &self.refusal(&reply, record))),
        })
    }

    async fn exchange(
        &self,
        connection: &mut Connection,
        message: &mut Message,
        deadline: Instant,
    ) -> Result<Reply, String> {
        let (bytes, mac) = self.key.sign(message).map_err(|error| error.to_string())?;
        let answer = connection.ask(&bytes, deadline).await?;
        self.key.verify(&answer, &mac)
    }

    /// The least-privilege policy for BIND and Knot.
    pub(super) fn least_privilege(&self, records: &[Record]) -> Vec<Grant> {
        policy(self.key.name(), records)
    }
}

fn clock(skew: i64) -> Finding {
    let by = skew.unsigned_abs();
    let figure = match skew {
        0 => "the server's clock and this node's agree to the second".to_owned(),
        1.. => format!("the server's clock is {by} s ahead, TSIG allows {FUDGE} s"),
        _ => format!("the server's clock is {by} s behind, TSIG allows {FUDGE} s"),
    };
    if by > u64::from(FUDGE) {
        return Finding::fail(CLOCK, figure, "set both clocks by NTP");
    }
    let mut finding = Finding::pass(CLOCK, figure);
    if by > u64::from(FUDGE) / 2 {
        "set both clocks by NTP before they part further".clone_into(&mut finding.hint);
    }
    finding
}

fn nonce() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

/// An UPDATE that changes nothing: its condition names an RRset that does not exist, and it deletes a value that does not.
fn impossible(record: &Record, name: &DomainName, rtype: WireType) -> Result<Message, String> {
    let mut message = Message::query();
    message.metadata.id = rand::random();
    message.metadata.op_code = OpCode::Update;
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(wire::wire_name(&record.zone)?, WireType::SOA));
    let absent: DomainName =
        format!("quorate-{}.{}", nonce(), record.zone).parse().map_err(|error| format!("{error}"))?;
    let text = || RData::TXT(rdata::TXT::new(vec![nonce()]));
    // "RRset exists (value dependent)", §2.4.2.
    message.add_answers([WireRecord::from_rdata(wire::wire_name(&absent)?, 0, text())]);
    let value = match rtype {
        // Reserved addresses (RFC 1112 §4, RFC 6666) and a reserved name (RFC 2606): no region answers them.
        WireType::A => RData::A(rdata::A(Ipv4Addr::from_bits(0xf000_0000 | rand::random::<u32>()))),
        WireType::AAAA => {
            RData::AAAA(rdata::AAAA(Ipv6Addr::from_bits(0x0100_u128 << 112 | u128::from(rand::random::<u64>()))))
        }
        WireType::CNAME => RData::CNAME(rdata::CNAME(wire::wire_name(
            &format!("quorate-{}.invalid", nonce()).parse::<DomainName>().map_err(|error| error.to_string())?,
        )?)),
        _ => text(),
    };
    // "Delete an RR from an RRset", §2.5.4: ignored where there is no such RR.
    let mut delete = WireRecord::from_rdata(wire::wire_name(name)?, 0, value);
    delete.dns_class = DNSClass::NONE;
    message.add_authorities([delete]);
    Ok(message)
}

/// What to paste, for each zone of the records.
#[must_use]
pub fn policy(key: &DomainName, records: &[Record]) -> Vec<Grant> {
    let zones = inspect::zones(records);
    let in_zone = |zone: &DomainName| records.iter().filter(|record| record.zone == *zone).collect::<Vec<_>>();
    zones.into_iter().flat_map(|zone| [bind(key, zone, &in_zone(zone)), knot(key, zone, &in_zone(zone))]).collect()
}

/// The owners in the order of the records, each with the types that are changed at it.
fn owners(records: &[&Record]) -> Vec<(DomainName, Vec<String>)> {
    let mut owners: Vec<(DomainName, Vec<String>)> = vec![];
    let all = records
        .iter()
        .flat_map(|record| [(record.name.clone(), record.rtype.to_string()), (record.fence_name(), "TXT".to_owned())]);
    for (name, rtype) in all {
        match owners.iter_mut().find(|(known, _)| *known == name) {
            Some((_, types)) if types.contains(&rtype) => {}
            Some((_, types)) => types.push(rtype),
            None => owners.push((name, vec![rtype])),
        }
    }
    owners
}

fn bind(key: &DomainName, zone: &DomainName, records: &[&Record]) -> Grant {
    let grant =
        |(name, types): (DomainName, Vec<String>)| format!("    grant {key} name {name}. {};\n", types.join(" "));
    let grants: Vec<_> = owners(records).into_iter().map(grant).collect();
    Grant {
        place: format!("BIND: named.conf, in the block of zone \"{zone}\" (in place of allow-update)"),
        text: format!("update-policy {{\n{}}};\n", grants.concat()),
    }
}

/// One rule: Knot asks that a single one allows all of an update, so that names and types cannot be paired.
fn knot(key: &DomainName, zone: &DomainName, records: &[&Record]) -> Grant {
    let owners = owners(records);
    let mut types: Vec<&str> = owners.iter().flat_map(|(_, types)| types).map(String::as_str).collect();
    types.sort_unstable();
    types.dedup();
    let names: Vec<_> = owners.iter().map(|(name, _)| format!("{name}.")).collect();
    Grant {
        place: format!("Knot: knot.conf, and `acl: quorate` in the block of zone {zone}"),
        text: format!(
            "acl:\n  - id: quorate\n    key: {key}\n    action: update\n    update-type: [{}]\n    update-owner: name\n    \
             update-owner-match: equal\n    update-owner-name: [{}]\n",
            types.join(", "),
            names.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests;
