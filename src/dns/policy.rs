//! The least-privilege policy of each type of provider, for whoever has no cluster yet.

use super::{Grant, cloudflare, ovh, powerdns, rfc2136, route53};
use crate::core::record::{DomainName, Record};

/// The types that a policy is known for: a new provider adds its `type` here and a line below.
pub const KINDS: [&str; 6] = ["rfc2136", "ovh", "cloudflare", "cloudflare-pools", "powerdns", "route53"];

/// What the policies are about besides the records.
#[derive(Debug, Clone)]
pub struct Options {
    /// `rfc2136`: the TSIG key's name.
    pub key: DomainName,
    /// `ovh`: the endpoint's name or base URL.
    pub endpoint: String,
}

/// What to paste so that a provider of this type may change these records and their fences, and nothing else.
///
/// # Errors
/// What is wrong with the options.
pub fn least_privilege(kind: &str, options: &Options, records: &[Record]) -> Result<Vec<Grant>, String> {
    Ok(match kind {
        "rfc2136" => rfc2136::policy(&options.key, records),
        "ovh" => {
            let endpoint = options.endpoint.parse().map_err(|error: ovh::EndpointError| error.to_string())?;
            ovh::check_records(records)?;
            ovh::policy(&endpoint, records)
        }
        "route53" => route53::policy(&|_| None, records),
        "cloudflare" => cloudflare::policy(records),
        "cloudflare-pools" => cloudflare::pools::policy(records),
        "powerdns" => powerdns::policy(records),
        other => return Err(format!("no policy is known for providers of type `{other}`")),
    })
}
