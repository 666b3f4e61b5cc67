//! Certificates for trying things out: an authority and a leaf for each node.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use antiphon_kernel::ids::PeerName;
use antiphon_transport_common::ascii_host;
use anyhow::{Context as _, Result, bail};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// Writes `ca.pem`, and `<name>.pem` and `<name>.key` for each node. The authority's key is not kept: nothing more can
/// be signed with it.
pub fn write(dir: &Path, names: &[PeerName], hosts: &[String]) -> Result<()> {
    let files = names.iter().flat_map(|name| [format!("{name}.pem"), format!("{name}.key")]);
    if let Some(file) = files.chain(["ca.pem".to_owned()]).map(|file| dir.join(file)).find(|file| file.exists()) {
        bail!(
            "{} exists, and nothing was written: the authority's key is not kept, so all certificates are made together. Give \
             another --dir, or move those away first",
            file.display()
        );
    }
    let leaves = names.iter().map(|name| Ok((name, leaf(name, hosts)?))).collect::<Result<Vec<_>>>()?;
    fs::create_dir_all(dir).with_context(|| format!("{} could not be made", dir.display()))?;
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.distinguished_name.push(DnType::CommonName, "Antiphon development authority");
    let certificate = authority.self_signed(&authority_key)?;
    put(&dir.join("ca.pem"), &certificate.pem(), 0o644)?;
    let issuer = Issuer::new(authority, authority_key);
    for (name, leaf) in leaves {
        let key = KeyPair::generate()?;
        put(&dir.join(format!("{name}.pem")), &leaf.signed_by(&key, &issuer)?.pem(), 0o644)?;
        put(&dir.join(format!("{name}.key")), &key.serialize_pem(), 0o600)?;
    }
    Ok(())
}

/// What the certificate of a node says. Names of hosts are in it as peers look for them: in ASCII.
fn leaf(name: &PeerName, hosts: &[String]) -> Result<CertificateParams> {
    let mut subjects = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned(), name.to_string()];
    for host in hosts {
        let ascii = ascii_host(host);
        subjects.push(ascii.with_context(|| format!("`{host}` is not a host name or an address; correct --host"))?);
    }
    let mut leaf = CertificateParams::new(subjects)?;
    leaf.distinguished_name.push(DnType::CommonName, name.as_str());
    // A node also shows it to peers that ask for one.
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(leaf)
}

/// Writes a file that only this user may read, if `mode` says so, from its first byte on.
pub fn put(file: &Path, text: &str, mode: u32) -> Result<()> {
    let mut handle = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(file)
        .with_context(|| format!("{} could not be written", file.display()))?;
    handle.write_all(text.as_bytes()).with_context(|| format!("{} could not be written", file.display()))
}

#[cfg(test)]
mod tests {
    use rcgen::SanType;

    use super::*;

    /// The name was refused, while peers dialled its ASCII form.
    #[test]
    fn an_international_host_name_is_in_the_certificate_as_peers_look_for_it() {
        let name = PeerName::new("alpha").unwrap();
        let hosts = ["bücher.example", "10.0.0.7", "::7"].map(str::to_owned);
        let said: Vec<_> = leaf(&name, &hosts).unwrap().subject_alt_names;
        let said = said.iter().map(|one| match one {
            SanType::DnsName(name) => name.as_str().to_owned(),
            SanType::IpAddress(address) => address.to_string(),
            other => panic!("{other:?}"),
        });
        let wanted = ["localhost", "127.0.0.1", "::1", "alpha", "xn--bcher-kva.example", "10.0.0.7", "::7"];
        assert_eq!(said.collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn what_is_no_host_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (names, hosts) = ([PeerName::new("alpha").unwrap()], ["https://alpha.example".to_owned()]);
        let error = write(&dir.path().join("certs"), &names, &hosts).unwrap_err();
        assert!(error.to_string().contains("--host"), "{error}");
        assert!(!dir.path().join("certs").exists());
    }
}
