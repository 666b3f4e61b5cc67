//! The commands of the operations guide, as they stand there.

use std::path::Path;
use std::process::Command;

use crate::support::{Place, free_port, has, until};

/// The shell commands between two marks of a document.
fn commands(mark: &str) -> String {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md")).unwrap();
    let (begin, end) = (format!("<!-- {mark} -->"), format!("<!-- /{mark} -->"));
    let part = text.split(&begin).nth(1).and_then(|rest| rest.split(&end).next()).expect("the marks are there");
    let blocks = part.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.flat_map(str::lines).map(|line| format!("{}\n", line.trim_start())).collect()
}

#[test]
fn an_authority_made_as_the_guide_says_is_trusted_over_both_transports() {
    if !has("openssl") {
        return;
    }
    let script = commands("authority");
    assert_eq!(script.matches("openssl").count(), 3, "{script}");
    let [a, b] = [(); 2].map(|()| free_port());
    let yaml = |name: &str, port: u16, peers: &str| {
        format!(
            "node: {{ name: {name}, data_dir: data }}\nlisten:\n  https: 127.0.0.1:{port}\n  quic: 127.0.0.1:{port}\n  \
             tls: {{ cert: alpha.pem, key: certs/alpha.key }}\nfederation:\n  interval: 1s\n  peers: [{peers}]\n"
        )
    };
    let bravo = Place::new(&yaml("bravo", b, ""));
    let there = bravo.dir.path();
    std::fs::create_dir(there.join("certs")).unwrap();
    let names = script.replace("alpha.example", "localhost");
    let made = Command::new("sh").args(["-e", "-c", &names]).current_dir(there).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let ca = there.join("ca.pem").display().to_string();
    let peer =
        |name: &str, scheme: &str| format!("{{ name: {name}, endpoint: \"{scheme}://localhost:{b}\", ca: \"{ca}\" }}");
    let alpha = Place::new(&yaml("alpha", a, &peer("bravo", "quic")));
    std::fs::create_dir(alpha.dir.path().join("certs")).unwrap();
    for file in ["alpha.pem", "certs/alpha.key"] {
        std::fs::copy(there.join(file), alpha.dir.path().join(file)).unwrap();
    }
    let (_bravo, _alpha) = (bravo.serve(), alpha.serve());
    for (scheme, place) in [("quic", "1"), ("https", "2")] {
        std::fs::write(&alpha.config, yaml("alpha", a, &peer("bravo", scheme))).unwrap();
        assert_eq!(alpha.run(&["reload"]).0, 0);
        assert_eq!(bravo.run(&["append", "-t", "t", "-s", place, "-d", "1"]).0, 0);
        until(scheme, || (alpha.run(&["--json", "latest", place]).0 == 0).then_some(()));
    }
    let (code, out, err) = alpha.run(&["config", "check"]);
    assert!(code == 0 && err.is_empty(), "a year is long enough: {out}{err}");
}
