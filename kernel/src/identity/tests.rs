use super::*;
use crate::error_code::ErrorCode;
use crate::ids::{CortexId, Epoch};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn end(epoch: u64) -> EndOfEpoch {
    EndOfEpoch { epoch: Epoch::new(epoch), counter: 70_000, digest: [9; 32] }
}

#[test]
fn an_id_is_made_of_the_root_key_alone() {
    let root = SecretKey::from_bytes(&[7; 32]).public();
    // RFC 8032's key for this seed, as other implementations compute it.
    assert_eq!(root.to_string(), "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c");
    assert_eq!(Keys::from_seed([7; 32]).cortex(), CortexId::of_root(&root));
    assert_ne!(Keys::from_seed([8; 32]).cortex(), CortexId::of_root(&root));
}

#[test]
fn the_bytes_of_a_statement_are_these() {
    let keys = Keys::from_seed([7; 32]);
    let statement = keys.statement();
    let bytes = statement.to_bytes();
    assert_eq!(bytes.len(), 131);
    let fields = ["01", &statement.root().to_string(), "01", &statement.working().to_string(), "00"].concat();
    assert_eq!(hex(&bytes), fields + &hex(&statement.signature.to_bytes()));
    assert_eq!(KeyStatement::from_bytes(&bytes).as_ref(), Ok(statement));
}

#[test]
fn a_statement_with_ends_reads_back() {
    let (root, working) = (SecretKey::generate(), SecretKey::generate().public());
    let ends: Vec<_> = (0..MAX_ENDS as u64).map(end).collect();
    let statement = KeyStatement::issue(&root, u64::MAX, working, ends.clone()).unwrap();
    let read = KeyStatement::from_bytes(&statement.to_bytes()).unwrap();
    assert_eq!((read.ends(), read.number()), (&ends[..], u64::MAX));
}

#[test]
fn every_bit_of_a_statement_is_signed() {
    let root = SecretKey::from_bytes(&[1; 32]);
    let working = SecretKey::from_bytes(&[2; 32]).public();
    let bytes = KeyStatement::issue(&root, 300, working, vec![end(5)]).unwrap().to_bytes();
    for at in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[at / 8] ^= 1 << (at % 8);
        assert!(KeyStatement::from_bytes(&changed).is_err(), "bit {at}");
    }
    for length in 0..bytes.len() {
        assert!(KeyStatement::from_bytes(&bytes[..length]).is_err(), "{length} bytes");
    }
    assert!(KeyStatement::from_bytes(&[&bytes[..], &[0]].concat()).is_err(), "a byte follows");
}

#[test]
fn a_statement_has_one_form() {
    let bytes = Keys::from_seed([7; 32]).statement().to_bytes();
    // The number 1 in three bytes.
    let longer = [&bytes[..33], &[251, 1, 0], &bytes[34..]].concat();
    assert!(matches!(KeyStatement::from_bytes(&longer), Err(InvalidStatement::Malformed(_))));
}

#[test]
fn what_is_wrong_with_a_statement_has_a_code() {
    let (root, working) = (SecretKey::generate(), SecretKey::generate().public());
    let issue = |number, working, ends| KeyStatement::issue(&root, number, working, ends).unwrap_err();
    let weak = PublicKey::from_bytes([0; 32]);
    for wrong in [
        issue(0, working, Vec::new()),
        issue(1, weak, Vec::new()),
        issue(1, working, vec![end(2), end(1)]),
        issue(1, working, vec![end(2), end(2)]),
        issue(1, working, (0..=MAX_ENDS as u64).map(end).collect()),
    ] {
        assert!(matches!(wrong, InvalidStatement::Rule(_)), "{wrong}");
        assert_eq!(wrong.code(), ErrorCode::IdentityStatementMalformed);
    }
    let mut newer = KeyStatement::issue(&root, 1, working, Vec::new()).unwrap().to_bytes();
    newer[0] = 2;
    let newer = KeyStatement::from_bytes(&newer).unwrap_err();
    assert_eq!((&newer, newer.code()), (&InvalidStatement::Version(2), ErrorCode::IdentityStatementVersion));
    // A list that claims more than its bound takes no memory for it.
    let claims = [&[1][..], &[1; 32], &[1], &[1; 32], &[252, 0, 0, 0, 1]].concat();
    assert!(matches!(KeyStatement::from_bytes(&claims), Err(InvalidStatement::Malformed(_))));
}

#[test]
fn a_root_key_cannot_sign_for_another() {
    let mut statement = Keys::from_seed([7; 32]).statement().clone();
    statement.root = SecretKey::from_bytes(&[8; 32]).public();
    assert_eq!(statement.verify(), Err(InvalidStatement::Signature));
    assert_eq!(KeyStatement::from_bytes(&statement.to_bytes()), Err(InvalidStatement::Signature));
}

#[test]
fn a_weak_key_verifies_nothing() {
    // The neutral element, with the signature that a lax check accepts for each message.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&neutral);
    let weak = PublicKey::from_bytes(neutral);
    assert!(!weak.is_sound() && !weak.verifies(b"anything", &Signature::from_bytes(signature)));
}

#[test]
fn secrets_are_not_shown() {
    let keys = Keys::from_seed([7; 32]);
    let shown = format!("{keys:?}");
    assert!(shown.contains("SecretKey(redacted)") && !shown.contains("7, 7") && !shown.contains("0707"), "{shown}");
}

#[test]
fn key_files_read_back() {
    let keys = Keys::from_seed([7; 32]);
    let (working, root) = (keys.to_text(), keys.root().unwrap().to_root_text());
    assert!(working.starts_with("antiphon working key 1\n") && root.starts_with("antiphon root key 1\n"));
    assert!(working.contains(&format!("\ncortex {}\n", keys.cortex())));
    let read = Keys::from_text(&working).unwrap();
    assert!(read.root().is_none(), "the working key's file has no root key");
    let read = read.with_root(SecretKey::from_root_text(&root).unwrap()).unwrap();
    assert_eq!((read.statement(), read.cortex()), (keys.statement(), keys.cortex()));
    assert_eq!(read.sign(b"m"), keys.sign(b"m"));
    assert!(Keys::from_text(&working.replace('\n', "\r\n")).is_ok(), "an editor may change line ends");
}

#[test]
fn a_wrong_key_file_says_what_it_is() {
    let (keys, other) = (Keys::from_seed([7; 32]), Keys::from_seed([8; 32]));
    let (working, root) = (keys.to_text(), keys.root().unwrap().to_root_text());
    let of_working = |text: &str| Keys::from_text(text).unwrap_err().to_string();
    for (text, says) in [
        (root.as_str(), "it is the file of a root key"),
        ("-----BEGIN PRIVATE KEY-----", "PEM"),
        ("", "it is empty"),
        ("0123456789abcdef0123456789abcdef", "its first line is another"),
        ("antiphon working key 2\nsecret x", "version"),
        ("antiphon working key 1\nsecret x", "`cortex` is missing"),
        (&working.replace("secret ", "secret A"), "`secret` is not base64"),
        (&working.replace("statement ", "statement !"), "`statement` is not base64"),
        (&format!("{}secret x\n", *working), "`secret` occurs twice"),
        (&format!("{}more x\n", *working), "is not known here"),
        (&working.replace(&keys.cortex().to_string(), &other.cortex().to_string()), "`cortex` is not the cortex"),
    ] {
        let error = of_working(text);
        assert!(error.contains(says) && !error.contains("0123"), "{error}");
    }
    let error = SecretKey::from_root_text(&working).unwrap_err();
    assert!(error.to_string().contains("it is the file of a working key"), "{error}");
    // The statement of one key with the secret of another.
    let line = |text: &str, name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    let mixed = working.replace(&line(&working, "secret"), &line(&other.to_text(), "secret"));
    assert_eq!(
        Keys::from_text(&mixed).unwrap_err(),
        InvalidKeyText::Statement(InvalidStatement::Rule("it certifies another working key"))
    );
}

mod on_disk {
    use std::fs;

    use super::*;

    fn files() -> (tempfile::TempDir, KeyFiles) {
        let dir = tempfile::tempdir().unwrap();
        let files = KeyFiles::of(dir.path());
        (dir, files)
    }

    #[test]
    fn created_keys_are_loaded_again() {
        let (dir, files) = files();
        assert!(files.load().unwrap().is_none());
        let keys = files.create().unwrap();
        assert_eq!(files.create().unwrap().statement(), keys.statement(), "never overwritten");
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["identity.key", "identity.root.key"]);
    }

    #[test]
    fn creation_that_was_cut_short_keeps_its_root_key() {
        let (_dir, files) = files();
        let root = files.create().unwrap().statement().root();
        fs::remove_file(files.working()).unwrap();
        fs::write(files.working().with_extension("key.new"), "torn").unwrap();
        assert_eq!(files.create().unwrap().statement().root(), root);
    }

    #[cfg(unix)]
    #[test]
    fn files_are_their_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;

        let (_dir, files) = files();
        files.create().unwrap();
        for file in [files.working(), files.root()] {
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
            let error = files.load().unwrap_err();
            assert_eq!(error.code(), ErrorCode::IdentityKeyMode);
            assert!(error.to_string().contains("chmod 600") && error.to_string().contains("640"), "{error}");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        assert!(files.load().unwrap().is_some());
    }

    #[test]
    fn a_root_key_leaves_and_comes_back() {
        let (dir, files) = files();
        let cortex = files.create().unwrap().cortex();
        let out = dir.path().join("out");
        fs::write(&out, "precious").unwrap();
        assert_eq!(files.export_root(&out).unwrap_err().code(), ErrorCode::IdentityKeyExists);
        assert!(files.root().exists() && fs::read_to_string(&out).unwrap() == "precious");
        fs::remove_file(&out).unwrap();
        assert_eq!(files.export_root(&out).unwrap(), cortex);
        assert!(!files.root().exists() && files.load().unwrap().unwrap().root().is_none());
        assert_eq!(files.export_root(&dir.path().join("x")).unwrap_err().code(), ErrorCode::IdentityRootAway);
        assert_eq!(files.import_root(&out).unwrap(), cortex);
        assert!(files.load().unwrap().unwrap().root().is_some() && out.exists());
        assert_eq!(files.import_root(&out).unwrap_err().code(), ErrorCode::IdentityKeyExists);
    }

    #[test]
    fn a_root_key_of_another_cortex_is_refused() {
        let ((_one, files), (_two, other)) = (files(), files());
        let (cortex, stranger) = (files.create().unwrap().cortex(), other.create().unwrap().cortex());
        fs::remove_file(files.root()).unwrap();
        let error = files.import_root(&other.root()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::IdentityOtherCortex);
        let text = error.to_string();
        assert!(text.contains(&cortex.to_string()) && text.contains(&stranger.to_string()), "{text}");
        assert!(!files.root().exists());
        fs::rename(other.root(), files.root()).unwrap();
        assert_eq!(files.load().unwrap_err().code(), ErrorCode::IdentityOtherCortex);
    }

    #[test]
    fn copies_have_both_keys_and_overwrite_none() {
        let ((_one, files), (two, copied)) = (files(), files());
        let keys = files.create().unwrap();
        assert_eq!(files.copy_to(two.path()).unwrap(), keys.cortex());
        assert!(copied.load().unwrap().unwrap().root().is_some());
        assert_eq!(files.copy_to(two.path()).unwrap_err().code(), ErrorCode::IdentityKeyExists);
    }
}
