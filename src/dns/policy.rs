//! The least-privilege policy of each type of provider, for whoever has no cluster yet.

use super::{Grant, accelerator, cloudflare, ovh, powerdns, rfc2136, route53};
use crate::core::record::{DomainName, Record};

/// The types that a policy is known for: a new provider adds its `type` here and a line below.
pub const KINDS: [&str; 7] =
    ["rfc2136", "ovh", "cloudflare", "cloudflare-pools", "powerdns", "route53", "global-accelerator"];

/// What the policies are about besides the records.
#[derive(Debug, Clone)]
pub struct Options {
    /// `rfc2136`: the TSIG key's name.
    pub key: DomainName,
    /// `ovh`: the endpoint's name or base URL.
    pub endpoint: String,
    /// `global-accelerator`: the number of the account, where it is known.
    pub account: Option<String>,
}

/// A policy for what the provider does not have would be pasted all the same.
fn fits(kind: &str, records: &[Record]) -> Result<(), String> {
    let pools = match kind {
        "cloudflare-pools" | "global-accelerator" => true,
        "cloudflare" | "powerdns" | "rfc2136" | "route53" => false,
        _ => return Ok(()),
    };
    match records.iter().find(|record| record.rtype.is_in_dns() == pools) {
        None => Ok(()),
        Some(of) if pools => Err(format!("{}: providers of type `{kind}` have records of type POOL only", of.name)),
        Some(of) => {
            Err(format!("{}: providers of type `{kind}` have DNS records, and none of type {}", of.name, of.rtype))
        }
    }
}

/// What to paste so that a provider of this type may change these records and their fences, and nothing else.
///
/// # Errors
/// What is wrong with the options.
pub fn least_privilege(kind: &str, options: &Options, records: &[Record]) -> Result<Vec<Grant>, String> {
    fits(kind, records)?;
    Ok(match kind {
        "rfc2136" => rfc2136::policy(&options.key, records),
        "ovh" => {
            let endpoint = options.endpoint.parse().map_err(|error: ovh::EndpointError| error.to_string())?;
            ovh::check_records(records)?;
            ovh::policy(&endpoint, records)
        }
        "route53" => route53::policy(&|_| None, records),
        "global-accelerator" => accelerator::policy_of_account(options.account.as_deref(), records)?,
        "cloudflare" => cloudflare::policy(records),
        "cloudflare-pools" => cloudflare::pools::policy(records),
        "powerdns" => powerdns::policy(records),
        other => return Err(format!("no policy is known for providers of type `{other}`")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every type prints something for the records that it has, and nothing for those that it cannot have.
    #[test]
    fn a_policy_is_for_records_that_the_provider_can_have() {
        let options =
            Options { key: "key".parse().unwrap(), endpoint: "ovh-eu".into(), account: Some("123456789012".into()) };
        let record = |zone: &str, name: &str, rtype: &str| Record {
            provider: "main".parse().unwrap(),
            zone: zone.parse().unwrap(),
            name: format!("{name}.{zone}").parse().unwrap(),
            rtype: rtype.parse().unwrap(),
            ttl: 60,
        };
        let (dns, pool) = (record("example.com", "app", "A"), record("example.com", "shop", "POOL"));
        let listener = record("1234abcd-abcd-1234-abcd-1234abcdefab", "0123abcd", "POOL");
        let farm = record("ip-203.0.113.1", "http-12345", "POOL");
        for kind in KINDS {
            let (has, lacks): (Vec<_>, Vec<_>) = match kind {
                "cloudflare-pools" => (vec![&pool], vec![&dns]),
                "global-accelerator" => (vec![&listener], vec![&dns]),
                "ovh" => (vec![&dns, &farm], vec![&pool]),
                _ => (vec![&dns], vec![&pool]),
            };
            for record in has {
                let grants = least_privilege(kind, &options, std::slice::from_ref(record)).unwrap();
                assert!(!grants.is_empty() && grants.iter().all(|of| !of.text.is_empty()), "{kind}");
            }
            for record in lacks {
                let refused = least_privilege(kind, &options, std::slice::from_ref(record));
                assert!(refused.is_err(), "{kind} has no {record}: {refused:?}");
            }
        }
    }
}
