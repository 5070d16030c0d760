//! The cluster's own certificates: one CA, and what it issues to nodes and people.
//!
//! Private keys are written for their owner alone (0600), whole or not at all, and nothing is ever overwritten.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use time::{Duration, OffsetDateTime};

use crate::{
    core::names::ClusterId,
    tls::{self, Identity},
};

const CA: &str = "ca";
/// Clocks differ: a certificate is valid from a little before it was issued.
const SKEW: Duration = Duration::hours(1);
/// The longest validity, in days.
const MAX_DAYS: u32 = 36_500;

/// Where a certificate and its key were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM, readable by its owner only.
    pub key: PathBuf,
}

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The file is there already.
    #[error("{0} exists; nothing is ever overwritten")]
    Exists(PathBuf),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The CA's files are not what `init` wrote.
    #[error("{path}: {why}")]
    Ca {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The CA is another cluster's.
    #[error("the CA in {dir} is of cluster {have}, not of {want}")]
    OtherCluster {
        /// Where it is.
        dir: PathBuf,
        /// Whose it is.
        have: String,
        /// Whose was wanted.
        want: ClusterId,
    },
    /// What is to be certified is not valid.
    #[error("{0}")]
    Request(String),
}

/// Makes the CA of a cluster in `dir`: `ca.crt`, `ca.key`.
pub fn init(dir: &Path, cluster: &ClusterId, days: u32) -> Result<Paths, PkiError> {
    fs::create_dir_all(dir).map_err(|source| PkiError::Io { path: dir.to_owned(), source })?;
    let mut params = params(days)?;
    params.distinguished_name.push(DnType::CommonName, ca_name(cluster));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().map_err(request)?;
    let certificate = params.self_signed(&key).map_err(request)?;
    write_pair(dir, CA, &certificate.pem(), &key.serialize_pem())
}

/// Issues a certificate from the CA in `dir`: `node-<id>.crt` or `<role>-<name>.crt`, and the key beside it.
///
/// `extra_sans` are DNS names or IP addresses by which a node is reached besides its own names.
pub fn issue(dir: &Path, identity: &Identity, extra_sans: &[String], days: u32) -> Result<Paths, PkiError> {
    let text = identity.to_string();
    if text.parse::<Identity>().as_ref() != Ok(identity) {
        return Err(PkiError::Request(format!("`{text}` is not a valid identity")));
    }
    let issuer = load_ca(dir, identity.cluster())?;
    let mut params = params(days)?;
    params.distinguished_name.push(DnType::CommonName, text.clone());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params.subject_alt_names.push(SanType::URI(text.as_str().try_into().map_err(request)?));
    let stem = match identity {
        Identity::Node { id, .. } => {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
            // The names under `quorate.internal` say who someone is: a node has its own, and no other node's.
            if let Some(name) = extra_sans.iter().find(|n| n.to_ascii_lowercase().ends_with("quorate.internal")) {
                return Err(PkiError::Request(format!("`{name}` is not for anyone to ask for")));
            }
            for name in [tls::node_name(*id), tls::ANY_NODE.to_owned()].iter().chain(extra_sans) {
                params.subject_alt_names.push(alternative(name)?);
            }
            format!("node-{id}")
        }
        Identity::Person { .. } if !extra_sans.is_empty() => {
            return Err(PkiError::Request("only a node is reached by further names".to_owned()));
        }
        Identity::Person { role, name, .. } => format!("{role}-{name}"),
    };
    let key = KeyPair::generate().map_err(request)?;
    let certificate = params.signed_by(&key, &issuer).map_err(request)?;
    write_pair(dir, &stem, &certificate.pem(), &key.serialize_pem())
}

fn ca_name(cluster: &ClusterId) -> String {
    format!("quorate {cluster} CA")
}

fn request(error: impl std::fmt::Display) -> PkiError {
    PkiError::Request(error.to_string())
}

fn params(days: u32) -> Result<CertificateParams, PkiError> {
    if days == 0 || days > MAX_DAYS {
        return Err(PkiError::Request(format!("{days} days of validity: 1 to {MAX_DAYS} are possible")));
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = OffsetDateTime::now_utc() - SKEW;
    params.not_after = OffsetDateTime::now_utc() + Duration::days(i64::from(days));
    Ok(params)
}

fn alternative(name: &str) -> Result<SanType, PkiError> {
    if let Ok(address) = name.parse() {
        return Ok(SanType::IpAddress(address));
    }
    let label = |l: &str| !l.is_empty() && l.len() <= 63 && l.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(PkiError::Request(format!("`{name}` is neither a DNS name nor an IP address")));
    }
    Ok(SanType::DnsName(name.try_into().map_err(request)?))
}

fn load_ca(dir: &Path, cluster: &ClusterId) -> Result<Issuer<'static, KeyPair>, PkiError> {
    let path = |suffix: &str| dir.join(format!("{CA}.{suffix}"));
    let read = |path: PathBuf| match fs::read_to_string(&path) {
        Ok(text) => Ok(text),
        Err(source) => Err(PkiError::Io { path, source }),
    };
    let (certificate, key) = (read(path("crt"))?, read(path("key"))?);
    let bad = |suffix: &str, e: &dyn std::fmt::Display| PkiError::Ca { path: path(suffix), why: e.to_string() };
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).map_err(|e| bad("crt", &e))?;
    let parsed = pem.parse_x509().map_err(|e| bad("crt", &e))?;
    let have = parsed.subject().iter_common_name().next().and_then(|n| n.as_str().ok()).unwrap_or_default();
    if have != ca_name(cluster) {
        let have = have.strip_prefix("quorate ").and_then(|n| n.strip_suffix(" CA")).unwrap_or(have);
        return Err(PkiError::OtherCluster { dir: dir.to_owned(), have: have.to_owned(), want: cluster.clone() });
    }
    // The message of a key that does not parse is not passed on: it may quote the key.
    let key = KeyPair::from_pem(&key).map_err(|_| bad("key", &"it is not a private key in PEM"))?;
    Issuer::from_ca_cert_pem(&certificate, key).map_err(|e| bad("crt", &e))
}

fn write_pair(dir: &Path, stem: &str, certificate: &str, key: &str) -> Result<Paths, PkiError> {
    let paths = Paths { certificate: dir.join(format!("{stem}.crt")), key: dir.join(format!("{stem}.key")) };
    if paths.certificate.exists() {
        return Err(PkiError::Exists(paths.certificate));
    }
    write_new(&paths.key, key, 0o600)?;
    if let Err(e) = write_new(&paths.certificate, certificate, 0o644) {
        let _ = fs::remove_file(&paths.key);
        return Err(e);
    }
    Ok(paths)
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), PkiError> {
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => PkiError::Exists(path.to_owned()),
        _ => PkiError::Io { path: path.to_owned(), source },
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(io)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|e| {
        let _ = fs::remove_file(path);
        io(e)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::tls::Role;

    fn node(cluster: &str, id: u64) -> Identity {
        Identity::Node { cluster: cluster.parse().unwrap(), id }
    }

    #[test]
    fn issues_to_nodes_and_people_and_overwrites_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cluster: ClusterId = "c1".parse().unwrap();
        let ca = init(dir.path(), &cluster, 10).unwrap();
        assert!(matches!(init(dir.path(), &cluster, 10), Err(PkiError::Exists(_))));
        let person = Identity::Person { cluster, role: Role::Admin, name: "ada".to_owned() };
        for identity in [node("c1", 1), node("c1", 2), person] {
            let paths = issue(dir.path(), &identity, &[], 5).unwrap();
            let pem = fs::read_to_string(&paths.certificate).unwrap();
            assert_eq!(Identity::from_pem(&pem).as_ref(), Ok(&identity));
            assert!(matches!(issue(dir.path(), &identity, &[], 5), Err(PkiError::Exists(_))));
            for key in [&paths.key, &ca.key] {
                assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
            }
        }
        let names = ["db.example.com".to_owned(), "::1".to_owned()];
        issue(dir.path(), &node("c1", 3), &names, 5).unwrap();
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(issue(dir.path(), &node("c1", 1), &[], 5), Err(PkiError::Io { .. })), "no CA");
        init(dir.path(), &"c1".parse().unwrap(), 10).unwrap();
        assert!(matches!(issue(dir.path(), &node("c2", 1), &[], 5), Err(PkiError::OtherCluster { .. })));
        assert!(matches!(issue(dir.path(), &node("c1", 1), &[], 0), Err(PkiError::Request(_))));
        for name in ["a b", "", "node-2.quorate.internal", "NODE-2.Quorate.internal"] {
            let refused = issue(dir.path(), &node("c1", 1), &[name.to_owned()], 5);
            assert!(matches!(refused, Err(PkiError::Request(_))), "{name}");
        }
        let person = Identity::Person { cluster: "c1".parse().unwrap(), role: Role::Viewer, name: "../x".into() };
        assert!(matches!(issue(dir.path(), &person, &[], 5), Err(PkiError::Request(_))));
        fs::write(dir.path().join("ca.key"), "SECRET").unwrap();
        let error = issue(dir.path(), &node("c1", 1), &[], 5).unwrap_err();
        assert!(matches!(error, PkiError::Ca { .. }) && !error.to_string().contains("SECRET"));
        assert!(!dir.path().join("node-1.crt").exists());
    }
}
