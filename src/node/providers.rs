//! The configured providers, as the `dns` module builds them.

use std::collections::BTreeMap;

use crate::{
    config::{OvhSection, ProviderSection, Rfc2136Section, TsigAlgorithm},
    core::{names::ProviderName, service::Target},
    dns::{
        config::{Access, BuildError, Dns, ProviderConfig, build},
        ovh::OvhConfig,
        rfc2136::Rfc2136Config,
        tsig::Algorithm,
        wire::ServerAddress,
    },
};

/// Builds every configured provider. Connects to none of them.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn of(sections: &BTreeMap<ProviderName, ProviderSection>) -> Result<Dns, Vec<BuildError>> {
    let mut configs = BTreeMap::new();
    let mut errors = vec![];
    for (name, section) in sections {
        let config = match section {
            ProviderSection::Rfc2136(section) => rfc2136(section),
            ProviderSection::Ovh(section) => ovh(section),
        };
        match config {
            Ok(config) => drop(configs.insert(name.clone(), config)),
            Err(problem) => errors.push(BuildError { provider: name.clone(), problem }),
        }
    }
    match build(&configs, vec![]) {
        Ok(dns) if errors.is_empty() => Ok(dns),
        Ok(_) => Err(errors),
        Err(more) => Err(errors.into_iter().chain(more).collect()),
    }
}

fn server(target: &Target) -> Result<ServerAddress, String> {
    let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
    format!("{host}:{}", target.port).parse().map_err(|error| format!("{error}"))
}

fn servers(targets: &[Target]) -> Result<Vec<ServerAddress>, String> {
    targets.iter().map(server).collect()
}

fn rfc2136(section: &Rfc2136Section) -> Result<ProviderConfig, String> {
    let algorithm = match section.key.algorithm {
        TsigAlgorithm::HmacSha256 => Algorithm::HmacSha256,
        TsigAlgorithm::HmacSha384 => Algorithm::HmacSha384,
        TsigAlgorithm::HmacSha512 => Algorithm::HmacSha512,
    };
    let access = Access::Rfc2136(Rfc2136Config {
        server: server(&section.server)?,
        key_name: section.key.name.clone(),
        algorithm,
        secret: section.key.secret.clone(),
        timeout: Rfc2136Config::TIMEOUT,
    });
    Ok(ProviderConfig { access, nameservers: servers(&section.nameservers)? })
}

fn ovh(section: &OvhSection) -> Result<ProviderConfig, String> {
    let access = Access::Ovh(OvhConfig {
        endpoint: section.base_url.parse().map_err(|error| format!("{error}"))?,
        application_key: section.application_key.clone(),
        application_secret: section.application_secret.clone(),
        consumer_key: section.consumer_key.clone(),
        timeout: OvhConfig::TIMEOUT,
    });
    Ok(ProviderConfig { access, nameservers: servers(&section.nameservers)? })
}
