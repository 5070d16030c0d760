//! What Global Accelerator's errors mean to the one who wanted its dials read or turned.

use std::error::Error;

use aws_smithy_runtime_api::{client::result::SdkError, http::Response};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::super::{
    ProviderError,
    amazon::{self, Call},
    http::Effect,
};
use crate::core::record::{Fence, Record};

/// Tells a failure apart. `name` is the call's in AWS's API and in policies.
pub(super) fn meaning<E>(error: &SdkError<E, Response>, name: &'static str, effect: Effect) -> ProviderError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let call = Call { service: "Global Accelerator", name, effect };
    amazon::meaning(error, call, if name == "ListAccelerators" { listing_hint } else { hint })
}

fn listing_hint(code: &str) -> Option<&'static str> {
    match code {
        "AccessDeniedException" => {
            Some("allow globalaccelerator:ListAccelerators, or name the account: `account_id` of the provider")
        }
        other => hint(other),
    }
}

fn hint(code: &str) -> Option<&'static str> {
    Some(match code {
        "AccessDeniedException" => {
            "allow it as `quoratectl provider policy global-accelerator` prints, and check `account_id` of the provider"
        }
        "AcceleratorNotFoundException" => {
            "the record's zone is no accelerator of this account: check its id, and `account_id` of the provider"
        }
        "ListenerNotFoundException" => "the record's name is no listener of this accelerator: check its id",
        "EndpointGroupNotFoundException" => "an endpoint group went away: add it again, or name another region",
        "LimitExceededException" => "raise the limit at AWS, or remove tags of the accelerator that nobody needs",
        "InvalidArgumentException" | "ValidationException" => {
            "the accelerator must be a standard one, and zone and name the ids of the accelerator and its listener"
        }
        _ => return None,
    })
}

/// A failure after the fence was written must not read as if nothing had changed.
pub(super) fn after_claim(record: &Record, fence: &Fence, error: ProviderError) -> ProviderError {
    let said = format!("the fence of {record} says epoch {} already, its dials may not", fence.epoch);
    match error {
        ProviderError::Permanent { message, hint } => {
            ProviderError::Permanent { message: format!("{message} ({said})"), hint }
        }
        ProviderError::Indeterminate(why) | ProviderError::Stale(why) => {
            ProviderError::Indeterminate(format!("{said}: {why}"))
        }
        ProviderError::Transient { message, retry_after } | ProviderError::Unfinished { message, retry_after } => {
            ProviderError::Unfinished { message: format!("{said}: {message}"), retry_after }
        }
    }
}
