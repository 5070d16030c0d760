//! What Route 53's errors mean to the one who wanted a record read or written.

use std::error::Error;

use aws_sdk_route53::types::error::InvalidChangeBatch;
use aws_smithy_runtime_api::{client::result::SdkError, http::Response};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::super::{
    ProviderError,
    amazon::{self, Call},
    http::Effect,
};
use crate::aws::Fault;

/// Tells a failure apart. `name` is the call's in AWS's API and in policies.
pub(super) fn meaning<E>(error: &SdkError<E, Response>, name: &'static str, effect: Effect) -> ProviderError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let call = Call { service: "Route 53", name, effect };
    if let Fault::Refused { code, message } = Fault::of(error)
        && code == "InvalidChangeBatch"
    {
        let said = format!("{code} {} {message}", messages(error));
        let shown = amazon::shown(error, call, &said);
        return if is_impossible(&said) {
            ProviderError::Permanent { message: shown, hint: "remove what stands in the way at Route 53".to_owned() }
        } else {
            ProviderError::Stale(shown)
        };
    }
    amazon::meaning(error, call, if name == "ListHostedZonesByName" { listing_hint } else { hint })
}

/// Every reason of a batch that was turned down.
fn messages(error: &(dyn Error + 'static)) -> String {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(invalid) = error.downcast_ref::<InvalidChangeBatch>() {
            return invalid.messages.iter().flatten().cloned().collect::<Vec<_>>().join("; ");
        }
        next = error.source();
    }
    String::new()
}

/// A batch that could not be made whatever stood there: everything else is what somebody else wrote in between.
fn is_impossible(said: &str) -> bool {
    ["not permitted", "conflict", "is not permitted", "routing polic", "hosted zone that is"]
        .iter()
        .any(|word| said.contains(word))
}

fn listing_hint(code: &str) -> Option<&'static str> {
    match code {
        "AccessDenied" | "AccessDeniedException" => {
            Some("allow route53:ListHostedZonesByName, or name the zone's id: `hosted_zones` of the provider")
        }
        other => hint(other),
    }
}

fn hint(code: &str) -> Option<&'static str> {
    Some(match code {
        "AccessDenied" | "AccessDeniedException" => "allow it as `quoratectl provider policy route53` prints",
        "NoSuchHostedZone" => "check the hosted zone's id and that it is in this account",
        "InvalidInput" | "ValidationError" => "check the record's values against what Route 53 takes",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_can_never_be_made_is_not_taken_for_a_stale_one() {
        for stale in [
            "[Tried to delete resource record set [name='a.', type='A'] but the values provided do not match the current values]",
            "[Tried to create resource record set [name='a.', type='A'] but it already exists]",
            "[Tried to delete resource record set [name='a.', type='A'] but it was not found]",
        ] {
            assert!(!is_impossible(stale), "{stale}");
        }
        for impossible in [
            "[RRSet of type CNAME with DNS name a. is not permitted as it conflicts with other records]",
            "[RRSet of type CNAME with DNS name example.com. is not permitted at apex in zone example.com.]",
        ] {
            assert!(is_impossible(impossible), "{impossible}");
        }
    }
}
