//! Errors as canonical gRPC codes, with `ErrorInfo` (a reason for programs) and `BadRequest` (every violation) as details.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt};

use super::cluster::{ClusterError, Violation};
use crate::core::state::Refusal;

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "quorate";
/// The metadata key that names the leader's id.
pub const LEADER: &str = "leader";
/// The metadata key that names the leader's address.
pub const LEADER_ADDRESS: &str = "leader_address";
/// The metadata key that names the rule that holds a switch.
pub const RULE: &str = "rule";
/// The metadata key that names a service's epoch.
pub const EPOCH: &str = "epoch";

/// A status with its reason.
#[must_use]
pub fn status<const N: usize>(
    code: Code,
    reason: &str,
    message: impl Into<String>,
    metadata: [(&str, String); N],
) -> Status {
    let metadata: HashMap<String, String> = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, DOMAIN, metadata))
}

/// Everything that is wrong with a request.
#[must_use]
pub fn invalid(message: impl Into<String>, violations: Vec<Violation>) -> Status {
    let violation = |v: Violation| FieldViolation::new(v.field, v.description);
    let mut details = ErrorDetails::with_error_info("INVALID", DOMAIN, HashMap::new());
    details.set_bad_request(violations.into_iter().map(violation).collect::<Vec<_>>());
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// One field that is wrong.
#[must_use]
pub fn invalid_field(field: &str, description: impl Into<String>) -> Status {
    let description = description.into();
    let message = format!("{field}: {description}");
    invalid(message, vec![Violation { field: field.to_owned(), description }])
}

impl From<ClusterError> for Status {
    fn from(error: ClusterError) -> Self {
        let message = error.to_string();
        match error {
            ClusterError::NotInitialised => status(Code::FailedPrecondition, "NOT_INITIALISED", message, []),
            ClusterError::AlreadyInitialised => status(Code::FailedPrecondition, "ALREADY_INITIALISED", message, []),
            ClusterError::Unavailable { leader: Some((id, address)), .. } => status(
                Code::Unavailable,
                "NO_LEADER_HERE",
                message,
                [(LEADER, id.to_string()), (LEADER_ADDRESS, address)],
            ),
            ClusterError::Unavailable { leader: None, .. } => status(Code::Unavailable, "NO_LEADER", message, []),
            ClusterError::OutcomeUnknown { .. } => status(Code::DeadlineExceeded, "OUTCOME_UNKNOWN", message, []),
            ClusterError::Forbidden { reason, .. } => status(Code::FailedPrecondition, reason, message, []),
            ClusterError::NoMember(_) => status(Code::NotFound, "NO_MEMBER", message, []),
            ClusterError::Invalid(violations) => invalid(message, violations),
            ClusterError::Internal(_) => status(Code::Internal, "INTERNAL", message, []),
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        let forbidden = |reason| status(Code::FailedPrecondition, reason, message.clone(), []);
        match refusal {
            Refusal::NoService(_) => status(Code::NotFound, "NO_SERVICE", message, []),
            Refusal::NoRegion { .. } => status(Code::NotFound, "NO_REGION", message, []),
            Refusal::Epoch { current, .. } => {
                status(Code::Aborted, "EPOCH_CHANGED", message, [(EPOCH, current.to_string())])
            }
            Refusal::AlreadyActive(_) => forbidden("ALREADY_ACTIVE"),
            Refusal::UnderWay { .. } => forbidden("UNDER_WAY"),
            Refusal::Rule { rule, .. } => {
                status(Code::FailedPrecondition, "RULE", message, [(RULE, rule.as_str().to_owned())])
            }
            Refusal::NotOpen(_) => forbidden("NOT_OPEN"),
            Refusal::SwitchOpen(_) => forbidden("SWITCH_OPEN"),
            Refusal::ActiveRegionRemoved(_) => forbidden("ACTIVE_REGION_REMOVED"),
            Refusal::Adopted => forbidden("ADOPTED"),
            Refusal::TooManyEndpoints(_) => forbidden("TOO_MANY_ENDPOINTS"),
            Refusal::NothingToAbort(_) => forbidden("NOTHING_TO_ABORT"),
            Refusal::NothingToGoBackTo(_) => forbidden("NOTHING_TO_GO_BACK_TO"),
            Refusal::RecordTaken { .. } => forbidden("RECORD_TAKEN"),
        }
    }
}

/// What outside the request stands in the way, one violation each.
#[must_use]
pub fn forbidden(reason: &str, message: impl Into<String>, violations: Vec<Violation>) -> Status {
    let violation = |v: Violation| PreconditionViolation::new(reason, v.field, v.description);
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    details.set_precondition_failure(violations.into_iter().map(violation).collect::<Vec<_>>());
    Status::with_error_details(Code::FailedPrecondition, message, details)
}

/// The violations that a status carries.
#[must_use]
pub fn violations(status: &Status) -> Vec<Violation> {
    let fields = status.get_details_bad_request().map(|of| of.field_violations).unwrap_or_default();
    let fields = fields.into_iter().map(|v| Violation { field: v.field, description: v.description });
    let others = status.get_details_precondition_failure().map(|of| of.violations).unwrap_or_default();
    let others = others.into_iter().map(|v| Violation { field: v.subject, description: v.description });
    fields.chain(others).collect()
}
