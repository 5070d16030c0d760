//! What an error of AWS means to the one who wanted a record read or written: the same for every service of it.

use std::{error::Error, time::Duration};

use aws_smithy_runtime_api::{client::result::SdkError, http::Response};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::{
    Finding, ProviderError, clip,
    http::Effect,
    inspect::subject::{CLOCK, CREDENTIALS, ZONE},
};
use crate::aws::{Clock, Fault, SET_THE_CLOCK};

/// The longest that a `Retry-After` is believed.
const RETRY_AFTER_LIMIT: Duration = Duration::from_hours(1);
/// What to do about credentials that are missing, …
const NONE: &str = "give this node credentials: access keys of the provider, a `profile`, or AWS's own chain (environment, ~/.aws, \
                    instance role)";
/// … out of date, …
const EXPIRED: &str =
    "the credentials have expired, or this machine's clock is off: renew them, and set the clock by NTP";
/// … not known to AWS, …
const UNKNOWN_KEY: &str = "AWS does not know the access key: check it, and that it is active";
/// … or whose secret is another.
const WRONG_KEY: &str = "check the secret access key, and this machine's clock";
/// The codes by which AWS asks to be asked later; nothing was done.
const LATER: [&str; 7] = [
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionInProgressException",
];
/// The codes by which a service says that it is not well itself; some have the status 400.
const UNWELL: [&str; 3] = ["InternalFailure", "InternalServiceErrorException", "ServiceUnavailable"];

/// A call, as errors and policies name it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    /// `Route 53`
    pub(super) service: &'static str,
    /// Its name in the service's API.
    pub(super) name: &'static str,
    /// What it may have done when it fails.
    pub(super) effect: Effect,
}

/// Tells a failure apart. `hint` says what to do about a code that only this service has.
pub(super) fn meaning<E>(
    error: &SdkError<E, Response>,
    call: Call,
    hint: fn(&str) -> Option<&'static str>,
) -> ProviderError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let raw = error.raw_response();
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    if raw.is_some_and(|raw| raw.status().as_u16() == 429) || LATER.contains(&code) {
        let seconds = raw.and_then(|raw| raw.headers().get("retry-after")).and_then(|text| text.trim().parse().ok());
        let retry_after = seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_LIMIT));
        let code = if code.is_empty() { "status 429" } else { code };
        let message = format!("{} answered {code} to {}", call.service, call.name);
        return ProviderError::Transient { message, retry_after };
    }
    match Fault::of(error) {
        Fault::Ours(why) => ProviderError::Permanent { message: shown(error, call, &why), hint: NONE.to_owned() },
        Fault::Down(why) => down(shown(error, call, &why), call.effect),
        Fault::Refused { code, message } if UNWELL.contains(&code.as_str()) => {
            down(shown(error, call, &format!("{code} {message}")), call.effect)
        }
        Fault::Refused { code, message } => ProviderError::Permanent {
            message: shown(error, call, &format!("{code} {message}")),
            hint: hint(&code).or_else(|| known(&code)).unwrap_or("report this as a bug").to_owned(),
        },
    }
}

fn down(message: String, effect: Effect) -> ProviderError {
    match effect {
        Effect::Change => ProviderError::Indeterminate(message),
        Effect::None => ProviderError::Transient { message, retry_after: None },
    }
}

/// What was said, with the request's id.
pub(super) fn shown<E>(error: &SdkError<E, Response>, call: Call, what: &str) -> String {
    let id = error.raw_response().and_then(|raw| raw.headers().get("x-amzn-requestid"));
    let id = id.map(|id| format!(" (request {})", clip(id))).unwrap_or_default();
    format!("{}: {}: {}{id}", call.service, call.name, clip(what))
}

/// What to do about the codes that every service has.
fn known(code: &str) -> Option<&'static str> {
    Some(match code {
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => EXPIRED,
        "InvalidClientTokenId" | "UnrecognizedClientException" | "InvalidAccessKeyId" => UNKNOWN_KEY,
        "SignatureDoesNotMatch" | "InvalidSignatureException" | "IncompleteSignature" => WRONG_KEY,
        _ => return None,
    })
}

/// How far the clocks are apart, of which signatures depend.
pub(super) fn clock(clock: &Clock) -> Finding {
    match clock.reading() {
        Some(Ok(figure)) => Finding::pass(CLOCK, figure),
        Some(Err(figure)) => Finding::fail(CLOCK, figure, SET_THE_CLOCK),
        None => Finding::unknown(CLOCK, "no answer of AWS told the time", "compare this machine's clock with another"),
    }
}

/// What stands beside a first call that failed, and beside one that did not.
pub(super) fn first_call(of: &Clock, failed: Option<&ProviderError>) -> Vec<Finding> {
    let known = match failed {
        None => Finding::pass(CREDENTIALS, "AWS knows the access key"),
        Some(error) => Finding::of_error(if blames_credentials(error) { CREDENTIALS } else { ZONE }, error),
    };
    vec![known, clock(of)]
}

/// Whether it is the credentials that must be mended, and nothing about the zone is known.
fn blames_credentials(error: &ProviderError) -> bool {
    matches!(error, ProviderError::Permanent { hint, .. } if [NONE, EXPIRED, UNKNOWN_KEY, WRONG_KEY].contains(&hint.as_str()))
}
