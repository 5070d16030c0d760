//! Builds the providers that a node is configured for.
//!
//! The node's configuration is parsed elsewhere; here are the plain values that it is parsed into. Credentials arrive as
//! [`Secret`](crate::secret::Secret)s: where they come from (environment, file, systemd credential) is not known here.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Provider, Providers,
    authoritative::Authoritative,
    cloudflare::{
        Cloudflare, CloudflareConfig,
        pools::{CloudflarePools, CloudflarePoolsConfig},
    },
    exec::{Exec, ExecConfig},
    ovh::{Ovh, OvhConfig, OvhOAuth2Config},
    powerdns::{PowerDns, PowerDnsConfig},
    rfc2136::{Rfc2136, Rfc2136Config},
    route53::{Route53, Route53Config},
    webhook::{Webhook, WebhookConfig},
    wire::ServerAddress,
};
use crate::core::names::ProviderName;

/// One `[provider.<name>]`.
#[derive(Debug, Clone)]
pub struct ProviderConfig {
    /// How it is reached.
    pub access: Access,
    /// Who answers for its zones; looked up when empty.
    pub nameservers: Vec<ServerAddress>,
}

/// How a provider is reached: one variant a `type`.
#[derive(Debug, Clone)]
pub enum Access {
    /// `type = "rfc2136"`
    Rfc2136(Rfc2136Config),
    /// `type = "ovh"`
    Ovh(OvhConfig),
    /// `type = "route53"`
    Route53(Route53Config),
    /// `type = "ovh"` with a service account
    OvhOAuth2(OvhOAuth2Config),
    /// `type = "cloudflare"`
    Cloudflare(CloudflareConfig),
    /// `type = "cloudflare-pools"`
    CloudflarePools(CloudflarePoolsConfig),
    /// `type = "powerdns"`
    PowerDns(PowerDnsConfig),
    /// `type = "webhook"`
    Webhook(WebhookConfig),
    /// `type = "exec"`
    Exec(ExecConfig),
}

/// Why a provider cannot be built. Shows no credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("provider `{provider}`: {problem}")]
pub struct BuildError {
    /// Which one.
    pub provider: ProviderName,
    /// What is wrong and what to do about it.
    pub problem: String,
}

/// What a node needs to read, write and watch its records.
#[derive(Debug, Clone)]
pub struct Dns {
    /// Where records are read and written.
    pub providers: Providers,
    /// Who is asked whether the world has been told.
    pub authoritative: Authoritative,
}

/// Builds all providers. Connects to none of them.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn build(
    configs: &BTreeMap<ProviderName, ProviderConfig>,
    resolvers: Vec<ServerAddress>,
) -> Result<Dns, Vec<BuildError>> {
    let mut providers: BTreeMap<ProviderName, Arc<dyn Provider>> = BTreeMap::new();
    let mut errors = Vec::new();
    for (name, config) in configs {
        let built: Result<Arc<dyn Provider>, String> = match &config.access {
            Access::Rfc2136(config) => {
                Rfc2136::new(config).map(|provider| Arc::new(provider) as _).map_err(|error| error.to_string())
            }
            Access::Ovh(config) => {
                Ovh::new(config).map(|provider| Arc::new(provider) as _).map_err(|error| error.to_string())
            }
            Access::Route53(config) => Ok(Arc::new(Route53::new(config)) as _),
            Access::Webhook(config) => Webhook::new(config).map(|provider| Arc::new(provider) as _),
            Access::Exec(config) => Exec::new(config).map(|provider| Arc::new(provider) as _),
            Access::PowerDns(config) => PowerDns::new(config).map(|provider| Arc::new(provider) as _),
            Access::OvhOAuth2(config) => {
                Ovh::with_oauth2(config).map(|provider| Arc::new(provider) as _).map_err(|error| error.to_string())
            }
            Access::Cloudflare(config) => Cloudflare::new(config).map(|provider| Arc::new(provider) as _),
            Access::CloudflarePools(config) => CloudflarePools::new(config).map(|provider| Arc::new(provider) as _),
        };
        match built {
            Ok(provider) => drop(providers.insert(name.clone(), provider)),
            Err(problem) => errors.push(BuildError { provider: name.clone(), problem }),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let nameservers = configs.iter().map(|(name, config)| (name.clone(), config.nameservers.clone())).collect();
    Ok(Dns { providers: Arc::new(providers), authoritative: Authoritative::new(nameservers, resolvers) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dns::tsig::Algorithm, secret::Secret};

    #[test]
    fn every_bad_provider_is_named_and_no_secret_is_shown() {
        let rfc2136 = |secret: &str| ProviderConfig {
            access: Access::Rfc2136(Rfc2136Config {
                server: "192.0.2.53:53".parse().unwrap(),
                key_name: "quorate-key".parse().unwrap(),
                algorithm: Algorithm::HmacSha256,
                secret: Secret::new(secret),
                timeout: Rfc2136Config::TIMEOUT,
            }),
            nameservers: vec![],
        };
        let ovh = |endpoint: &str, secret: &str| ProviderConfig {
            access: Access::Ovh(OvhConfig {
                endpoint: endpoint.parse().unwrap(),
                application_key: Secret::new("AK"),
                application_secret: Secret::new(secret),
                consumer_key: Secret::new("CK"),
                timeout: OvhConfig::TIMEOUT,
            }),
            nameservers: vec![],
        };
        let configs = |entries: Vec<(&str, ProviderConfig)>| -> BTreeMap<ProviderName, ProviderConfig> {
            entries.into_iter().map(|(name, config)| (name.parse().unwrap(), config)).collect()
        };
        let bad =
            configs(vec![("one", rfc2136("n0t-base64")), ("two", ovh("ovh-eu", " ")), ("good", ovh("ovh-ca", "s"))]);
        let errors = build(&bad, vec![]).unwrap_err();
        let named: Vec<_> = errors.iter().map(|error| error.provider.as_str()).collect();
        assert_eq!(named, ["one", "two"]);
        assert!(!format!("{errors:?}{bad:?}").contains("n0t-base64"));

        let good = configs(vec![("one", rfc2136("MDEyMzQ1Njc4OWFiY2RlZg==")), ("two", ovh("ovh-eu", "s"))]);
        assert_eq!(build(&good, vec![]).unwrap().providers.len(), 2);
    }
}
