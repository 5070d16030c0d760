//! A cluster's certificates in a temporary directory.

use std::fs;

use quorate::{
    core::names::{ClusterId, NodeId},
    pki,
    tls::{Identity, PeerTls, Role},
};

/// A CA and what it issued.
pub struct Pki {
    dir: tempfile::TempDir,
    pub cluster: ClusterId,
}

impl Pki {
    pub fn new(cluster: &str) -> Self {
        // Whoever comes first installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (dir, cluster) = (tempfile::tempdir().unwrap(), cluster.parse().unwrap());
        pki::init(dir.path(), &cluster, 2).unwrap();
        Self { dir, cluster }
    }

    pub fn ca(&self) -> String {
        fs::read_to_string(self.dir.path().join("ca.crt")).unwrap()
    }

    pub fn node(&self, id: NodeId) -> PeerTls {
        self.issue(&Identity::Node { cluster: self.cluster.clone(), id }, self.ca())
    }

    pub fn person(&self, role: Role, name: &str) -> PeerTls {
        self.issue(&Identity::Person { cluster: self.cluster.clone(), role, name: name.to_owned() }, self.ca())
    }

    /// A certificate of this CA for someone who trusts `ca`.
    pub fn issue(&self, identity: &Identity, ca: String) -> PeerTls {
        let dir = tempfile::tempdir().unwrap();
        for file in ["ca.crt", "ca.key"] {
            fs::copy(self.dir.path().join(file), dir.path().join(file)).unwrap();
        }
        let paths = pki::issue(dir.path(), identity, &[], 1).unwrap();
        let read = |path| fs::read_to_string(path).unwrap();
        PeerTls::new(ca, read(paths.certificate), read(paths.key))
    }
}
