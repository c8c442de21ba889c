//! An authority and the certificates that it issues, as PEM files in a folder. Shared by the crates' tests.
#![allow(clippy::unwrap_used, dead_code, reason = "tests, and every file uses its part")]

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

pub(crate) struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// The files of one server.
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::named("an authority for tests")
    }

    pub(crate) fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { folder: tempfile::tempdir().unwrap(), issuer };
        fs::write(authority.file(), authority.issuer.pem()).unwrap();
        authority
    }

    /// Its own certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for these hosts.
    pub(crate) fn issue(&self, name: &str, hosts: &[&str]) -> Certificate {
        self.issue_with(name, hosts, |_| {})
    }

    /// One whose time is over.
    pub(crate) fn issue_expired(&self, name: &str, hosts: &[&str]) -> Certificate {
        self.issue_with(name, hosts, |params| {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 2, 3);
        })
    }

    /// One that says of itself that it is an authority's, as those do that people make in a hurry.
    pub(crate) fn issue_authority(&self, name: &str, hosts: &[&str]) -> Certificate {
        self.issue_with(name, hosts, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))
    }

    fn issue_with(
        &self,
        name: &str,
        hosts: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Certificate {
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let issued = params.signed_by(&key, &self.issuer).unwrap();
        let file = |suffix: &str, text: String| {
            let path = self.folder.path().join(format!("{name}.{suffix}"));
            write_anew(&path, &text);
            path
        };
        Certificate { chain: file("crt", issued.pem()), key: file("key", key.serialize_pem()) }
    }
}

/// As a program that renews certificates does it: whoever reads meanwhile has the old file or the new one.
fn write_anew(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}
