//! Who is calling, by certificate, and the TLS settings of both ends.
//!
//! One CA a cluster. A certificate names exactly one identity, as a URI among its subject alternative names:
//! `quorate://<cluster>/node/<id>` or `quorate://<cluster>/<role>/<name>`. A node's also names `node-<id>.quorate.internal`
//! and `node.quorate.internal`, by which clients make sure whom they reached: a peer asks for the former, so that no node
//! can pose as another. There is no way to speak to a listener without a certificate.

use std::{fmt, fs, io, path::Path, str::FromStr};

use tonic::{
    Request, Status,
    transport::{Certificate, ClientTlsConfig, Identity as TlsIdentity, ServerTlsConfig},
};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use crate::core::names::{ClusterId, NameError, NodeId};

/// The DNS name that every node's certificate carries.
pub const ANY_NODE: &str = "node.quorate.internal";

/// The DNS name that only this node's certificate carries.
#[must_use]
pub fn node_name(id: NodeId) -> String {
    format!("node-{id}.quorate.internal")
}

/// What a person may do; each may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Switches, freezes and unfreezes.
    Operator,
    /// Changes services and members.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

impl FromStr for Role {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        match text {
            "viewer" => Ok(Self::Viewer),
            "operator" => Ok(Self::Operator),
            "admin" => Ok(Self::Admin),
            _ => Err(IdentityError::Uri(text.chars().take(80).collect())),
        }
    }
}

/// Who a certificate is of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A node.
    Node {
        /// Of this cluster.
        cluster: ClusterId,
        /// Its id.
        id: NodeId,
    },
    /// Someone who calls the API.
    Person {
        /// Of this cluster.
        cluster: ClusterId,
        /// What they may do.
        role: Role,
        /// Their name: letters, digits and `.`, `-`, `_`, `@`, at most 64 of them.
        name: String,
    },
}

/// Why a certificate names no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It does not parse.
    #[error("the certificate does not parse: {0}")]
    Certificate(String),
    /// None, or more than one.
    #[error("the certificate names {0} identities, one expected")]
    Count(usize),
    /// Not of the form that the module's text gives.
    #[error(
        "`{0}` is no identity: quorate://<cluster>/node/<id> or quorate://<cluster>/<viewer|operator|admin>/<name>"
    )]
    Uri(String),
    /// The cluster's part is not valid.
    #[error(transparent)]
    Cluster(#[from] NameError),
}

impl Identity {
    /// Its cluster.
    pub fn cluster(&self) -> &ClusterId {
        match self {
            Self::Node { cluster, .. } | Self::Person { cluster, .. } => cluster,
        }
    }

    /// Reads the identity out of a certificate in DER.
    pub fn from_certificate(der: &[u8]) -> Result<Self, IdentityError> {
        let bad = |e: &dyn fmt::Display| IdentityError::Certificate(e.to_string());
        let (_, certificate) = X509Certificate::from_der(der).map_err(|e| bad(&e))?;
        let names = certificate.subject_alternative_name().map_err(|e| bad(&e))?;
        let uris: Vec<&str> = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|name| match name {
                GeneralName::URI(uri) if uri.starts_with("quorate:") => Some(*uri),
                _ => None,
            })
            .collect();
        match uris[..] {
            [uri] => uri.parse(),
            _ => Err(IdentityError::Count(uris.len())),
        }
    }

    /// Reads the identity out of the first certificate of a PEM file's text.
    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        let (_, pem) =
            x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|e| IdentityError::Certificate(e.to_string()))?;
        Self::from_certificate(&pem.contents)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { cluster, id } => write!(f, "quorate://{cluster}/node/{id}"),
            Self::Person { cluster, role, name } => write!(f, "quorate://{cluster}/{role}/{name}"),
        }
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(uri: &str) -> Result<Self, IdentityError> {
        let bad = || IdentityError::Uri(uri.chars().take(200).collect());
        let mut parts = uri.strip_prefix("quorate://").ok_or_else(bad)?.split('/');
        let (Some(cluster), Some(kind), Some(name), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(bad());
        };
        let cluster = cluster.parse()?;
        if kind == "node" {
            let id: NodeId = name.parse().map_err(|_| bad())?;
            // One spelling an identity: `+1` and `01` are no node's.
            return if id.to_string() == name { Ok(Self::Node { cluster, id }) } else { Err(bad()) };
        }
        let role = kind.parse().map_err(|_| bad())?;
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b".-_@".contains(&c);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) {
            return Err(bad());
        }
        Ok(Self::Person { cluster, role, name: name.to_owned() })
    }
}

/// Who sent a request. Refused with `UNAUTHENTICATED` if it came without a certificate or with one of nobody.
pub fn identity_of<T>(request: &Request<T>) -> Result<Identity, Status> {
    let certificates = request.peer_certs().ok_or_else(|| Status::unauthenticated("a client certificate is needed"))?;
    let leaf = certificates.first().ok_or_else(|| Status::unauthenticated("a client certificate is needed"))?;
    Identity::from_certificate(leaf).map_err(|e| Status::unauthenticated(e.to_string()))
}

/// A certificate with its key and the CA to trust, as PEM.
#[derive(Clone)]
pub struct PeerTls {
    ca: String,
    certificate: String,
    key: String,
}

impl fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerTls").field("key", &"<redacted>").finish_non_exhaustive()
    }
}

impl PeerTls {
    /// From PEM texts.
    #[must_use]
    pub fn new(ca: String, certificate: String, key: String) -> Self {
        Self { ca, certificate, key }
    }

    /// From PEM files; the error names the file.
    pub fn load(ca: &Path, certificate: &Path, key: &Path) -> io::Result<Self> {
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
        };
        Ok(Self { ca: read(ca)?, certificate: read(certificate)?, key: read(key)? })
    }

    /// Whose certificate it is.
    pub fn identity(&self) -> Result<Identity, IdentityError> {
        Identity::from_pem(&self.certificate)
    }

    /// For a listener: callers must show a certificate of the same CA.
    #[must_use]
    pub fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(TlsIdentity::from_pem(&self.certificate, &self.key))
            .client_ca_root(Certificate::from_pem(&self.ca))
            .client_auth_optional(false)
    }

    /// For a call to a node that must have a certificate for `name`: [`node_name`] or [`ANY_NODE`].
    #[must_use]
    pub fn client(&self, name: &str) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.ca))
            .identity(TlsIdentity::from_pem(&self.certificate, &self.key))
            .domain_name(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_have_one_spelling() {
        for good in
            ["quorate://c/node/1", "quorate://c/admin/a.b@c", "quorate://c-1/viewer/x", "quorate://c/operator/_"]
        {
            assert_eq!(good.parse::<Identity>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "quorate://",
            "quorate://c/node",
            "quorate://c/node/",
            "quorate://c/node/01",
            "quorate://c/node/+1",
            "quorate://c/node/1/",
            "quorate://c/root/x",
            "quorate://C/node/1",
            "http://c/node/1",
            "quorate://c/admin/",
            "quorate://c/admin/a b",
            "quorate:///node/1",
            "quorate://c/Admin/x",
        ] {
            assert!(bad.parse::<Identity>().is_err(), "{bad}");
        }
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
    }

    #[test]
    fn a_key_is_never_printed() {
        let tls = PeerTls::new("ca".into(), "certificate".into(), "SECRET".into());
        assert!(!format!("{tls:?}").contains("SECRET"));
    }
}
