//! Certificates for trying things out: an authority and a leaf for each node.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use antiphon_kernel::ids::PeerName;
use anyhow::{Context as _, Result, bail};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// Writes `ca.pem`, and `<name>.pem` and `<name>.key` for each node. The authority's key is not kept: nothing more can
/// be signed with it.
pub(crate) fn write(dir: &Path, names: &[PeerName], hosts: &[String]) -> Result<()> {
    let files = names.iter().flat_map(|name| [format!("{name}.pem"), format!("{name}.key")]);
    if let Some(file) = files.chain(["ca.pem".to_owned()]).map(|file| dir.join(file)).find(|file| file.exists()) {
        bail!(
            "{} exists, and nothing was written: the authority's key is not kept, so all certificates are made anew together. Give \
             another --dir, or move those away first",
            file.display()
        );
    }
    fs::create_dir_all(dir).with_context(|| format!("{} could not be made", dir.display()))?;
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.distinguished_name.push(DnType::CommonName, "Antiphon development authority");
    let certificate = authority.self_signed(&authority_key)?;
    put(&dir.join("ca.pem"), &certificate.pem(), 0o644)?;
    let issuer = Issuer::new(authority, authority_key);
    for name in names {
        let mut subjects = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned(), name.to_string()];
        subjects.extend_from_slice(hosts);
        let mut leaf = CertificateParams::new(subjects)?;
        leaf.distinguished_name.push(DnType::CommonName, name.as_str());
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        put(&dir.join(format!("{name}.pem")), &leaf.signed_by(&key, &issuer)?.pem(), 0o644)?;
        put(&dir.join(format!("{name}.key")), &key.serialize_pem(), 0o600)?;
    }
    Ok(())
}

/// Writes a file that only this user may read, if `mode` says so, from its first byte on.
pub(crate) fn put(file: &Path, text: &str, mode: u32) -> Result<()> {
    let mut handle = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(file)
        .with_context(|| format!("{} could not be written", file.display()))?;
    handle.write_all(text.as_bytes()).with_context(|| format!("{} could not be written", file.display()))
}
