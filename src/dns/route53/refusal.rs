//! What Route 53's errors mean to the one who wanted a record read or written.

use std::{error::Error, time::Duration};

use aws_sdk_route53::types::error::InvalidChangeBatch;
use aws_smithy_runtime_api::{client::result::SdkError, http::Response};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::super::{ProviderError, clip, http::Effect};
use crate::aws::Fault;

/// The longest that a `Retry-After` is believed.
const RETRY_AFTER_LIMIT: Duration = Duration::from_hours(1);
/// The codes by which AWS asks to be asked later; nothing was done.
const LATER: [&str; 6] = [
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// Tells a failure apart. `call` is its name in AWS's API and in policies.
pub(super) fn meaning<E>(error: &SdkError<E, Response>, call: &str, effect: Effect) -> ProviderError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let raw = error.raw_response();
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    if raw.is_some_and(|raw| raw.status().as_u16() == 429) || LATER.contains(&code) {
        let seconds = raw.and_then(|raw| raw.headers().get("retry-after")).and_then(|text| text.trim().parse().ok());
        let retry_after = seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_LIMIT));
        let code = if code.is_empty() { "status 429" } else { code };
        return ProviderError::Transient { message: format!("Route 53 answered {code} to {call}"), retry_after };
    }
    let id = raw.and_then(|raw| raw.headers().get("x-amzn-requestid")).map(|id| format!(" (request {})", clip(id)));
    let shown = |what: &str| format!("Route 53: {call}: {}{}", clip(what), id.clone().unwrap_or_default());
    match Fault::of(error) {
        Fault::Ours(why) => ProviderError::Permanent {
            message: shown(&why),
            hint: "give this node credentials: access keys of the provider, a `profile`, or AWS's own chain (environment, \
                   ~/.aws, instance role)"
                .to_owned(),
        },
        Fault::Down(why) if effect == Effect::Change => ProviderError::Indeterminate(shown(&why)),
        Fault::Down(why) => ProviderError::Transient { message: shown(&why), retry_after: None },
        Fault::Refused { code, message } => {
            let said = format!("{code} {} {message}", messages(error));
            if code == "InvalidChangeBatch" && !is_impossible(&said) {
                return ProviderError::Stale(shown(&said));
            }
            ProviderError::Permanent { message: shown(&said), hint: hint(&code, call).to_owned() }
        }
    }
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

fn hint(code: &str, call: &str) -> &'static str {
    match code {
        "AccessDenied" | "AccessDeniedException" => match call {
            "ListHostedZonesByName" => {
                "allow route53:ListHostedZonesByName, or name the zone's id: `hosted_zones` of the provider"
            }
            _ => "allow it as `quoratectl provider policy route53` prints",
        },
        "NoSuchHostedZone" => "check the hosted zone's id and that it is in this account",
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => {
            "the credentials have expired, or this machine's clock is off: renew them, and set the clock by NTP"
        }
        "InvalidClientTokenId" | "UnrecognizedClientException" | "InvalidAccessKeyId" => {
            "AWS does not know the access key: check it, and that it is active"
        }
        "SignatureDoesNotMatch" | "InvalidSignatureException" | "IncompleteSignature" => {
            "check the secret access key, and this machine's clock"
        }
        "InvalidChangeBatch" => "remove what stands in the way at Route 53",
        "InvalidInput" | "ValidationError" => "check the record's values against what Route 53 takes",
        _ => "report this as a bug",
    }
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
