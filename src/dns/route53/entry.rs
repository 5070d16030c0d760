//! Record sets as Route 53 has them, and as Quorate has them.

use aws_sdk_route53::types::{AliasTarget, ResourceRecord, ResourceRecordSet, RrType};
use aws_smithy_types::error::operation::BuildError;

use super::super::{ProviderError, text};
use crate::core::record::{Alias, DomainName, Fence, Record, RecordType, RecordValue, RrSet};

/// `Z123` of `/hostedzone/Z123`, and `C123` of `/change/C123`.
pub(super) fn bare_id(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

/// Whether a name of Route 53 is this one: absolute, and with what is no letter, digit, `-`, `_` or `.` as `\ooo`.
pub(super) fn is_name(text: &str, name: &DomainName) -> bool {
    text.parse::<DomainName>().is_ok_and(|text| text == *name)
}

pub(super) fn rr_type(record: &Record) -> Result<RrType, ProviderError> {
    match record.rtype {
        RecordType::A => Ok(RrType::A),
        RecordType::Aaaa => Ok(RrType::Aaaa),
        RecordType::Cname => Ok(RrType::Cname),
        RecordType::Pool => Err(ProviderError::Permanent {
            message: format!("{record} is no DNS record"),
            hint: "give the record a type of DNS, or a provider that switches pools".to_owned(),
        }),
    }
}

/// The record set that is ours among those of one name and type: the one with our set identifier, or the only one.
pub(super) fn ours(
    record: &Record,
    sets: Vec<ResourceRecordSet>,
    identifier: Option<&str>,
) -> Result<Option<ResourceRecordSet>, ProviderError> {
    let refuse = |message: String, hint: String| Err(ProviderError::Permanent { message, hint });
    let names: Vec<_> = sets.iter().filter_map(ResourceRecordSet::set_identifier).map(str::to_owned).collect();
    match identifier {
        // Route 53 lets no set without an identifier stand beside one that has one.
        None if !names.is_empty() => refuse(
            format!("{record} has a routing policy: its record sets are {}", names.join(", ")),
            "say which one fails over: `set_identifier` of the provider".to_owned(),
        ),
        None => Ok(sets.into_iter().next()),
        Some(wanted) => {
            let found = sets.into_iter().find(|set| set.set_identifier() == Some(wanted));
            if found.is_some() {
                return Ok(found);
            }
            refuse(
                format!("{record} has no record set `{wanted}` at Route 53"),
                "make it once by hand: its routing policy is not Quorate's to choose".to_owned(),
            )
        }
    }
}

/// The values and TTL of a record set.
pub(super) fn rrset(record: &Record, set: &ResourceRecordSet) -> Result<RrSet, ProviderError> {
    let unwritable = |error: String| ProviderError::Permanent {
        message: format!("{record} holds a value that Quorate cannot write: {error}"),
        hint: "replace it by hand".to_owned(),
    };
    if let Some(target) = set.alias_target() {
        let name = target.dns_name().parse().map_err(|_| unwritable(super::super::clip(target.dns_name())))?;
        let alias = RecordValue::Alias(Alias { zone: target.hosted_zone_id().to_owned(), name });
        return Ok(RrSet { ttl: 0, values: [alias].into() });
    }
    let values = set.resource_records().iter().map(|value| RecordValue::parse(record.rtype, value.value()));
    let values: Result<std::collections::BTreeSet<_>, _> = values.collect();
    let values = values.map_err(|error| unwritable(error.to_string()))?;
    if values.is_empty() {
        return Err(unwritable("it has neither values nor an alias".to_owned()));
    }
    Ok(RrSet { ttl: set.ttl().and_then(|ttl| u32::try_from(ttl).ok()).unwrap_or_default(), values })
}

/// The texts of a TXT record set.
pub(super) fn texts(set: &ResourceRecordSet) -> Vec<String> {
    set.resource_records().iter().map(|record| text::unquote(record.value())).collect()
}

/// The record set that shall stand; everything that the old one has besides values and TTL is kept.
pub(super) fn set(
    record: &Record,
    rrset: &RrSet,
    old: Option<&ResourceRecordSet>,
    identifier: Option<&str>,
) -> Result<ResourceRecordSet, ProviderError> {
    let mut made = ResourceRecordSet::builder().name(record.name.as_str()).r#type(rr_type(record)?);
    made = match old {
        Some(old) => made
            .set_set_identifier(old.set_identifier().map(str::to_owned))
            .set_weight(old.weight())
            .set_region(old.region().cloned())
            .set_geo_location(old.geo_location().cloned())
            .set_failover(old.failover().cloned())
            .set_multi_value_answer(old.multi_value_answer())
            .set_health_check_id(old.health_check_id().map(str::to_owned))
            .set_cidr_routing_config(old.cidr_routing_config().cloned())
            .set_geo_proximity_location(old.geo_proximity_location().cloned()),
        None => made.set_set_identifier(identifier.map(str::to_owned)),
    };
    if let Some(RecordValue::Alias(alias)) = rrset.values.first() {
        let evaluates = old.and_then(|old| old.alias_target()).is_some_and(AliasTarget::evaluate_target_health);
        let target = AliasTarget::builder().hosted_zone_id(&alias.zone).dns_name(format!("{}.", alias.name));
        let target = target.evaluate_target_health(evaluates).build().map_err(|error| unbuildable(&error))?;
        made = made.alias_target(target);
    } else {
        made = made.ttl(i64::from(rrset.ttl));
        for value in &rrset.values {
            let text = match value {
                RecordValue::Cname(name) => format!("{name}."),
                other => other.to_string(),
            };
            made = made.resource_records(one(&text)?);
        }
    }
    made.build().map_err(|error| unbuildable(&error))
}

/// The fence's record set.
pub(super) fn fence(record: &Record, fence: &Fence, ttl: u32) -> Result<ResourceRecordSet, ProviderError> {
    let text = one(&text::quote(&fence.to_string()))?;
    let made = ResourceRecordSet::builder().name(record.fence_name().as_str()).r#type(RrType::Txt);
    made.ttl(i64::from(ttl)).resource_records(text).build().map_err(|error| unbuildable(&error))
}

pub(super) fn one(text: &str) -> Result<ResourceRecord, ProviderError> {
    ResourceRecord::builder().value(text).build().map_err(|error| unbuildable(&error))
}

/// A request that lacks what it needs is a fault of ours.
pub(super) fn unbuildable(error: &BuildError) -> ProviderError {
    ProviderError::Permanent {
        message: format!("a request could not be built: {error}"),
        hint: "report this as a bug".to_owned(),
    }
}
