//! What a page in a browser on the node's machine can reach.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::support::{Place, antiphon, free_port, until};

/// The status of an answer, and all of it.
fn ask(port: u16, request: &str, headers: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let length = body.len();
    let text = format!("{request} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}");
    stream.write_all(text.as_bytes()).ok()?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    Some((answer.split(' ').nth(1)?.parse().ok()?, answer))
}

/// Serves without any key in the environment.
fn serve(config: &Path, log: &Path) -> Process {
    let log = std::fs::File::create(log).unwrap();
    let mut command = antiphon(config);
    command.env_remove("ANTIPHON_SHARED_KEY").arg("serve").stdout(Stdio::null()).stderr(log);
    Process(command.spawn().unwrap())
}

struct Process(std::process::Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const FETCH: &str = "POST /v1/fetch";

#[test]
fn a_page_of_another_site_learns_nothing_from_an_open_node() {
    let [port, metrics] = [(); 2].map(|()| free_port());
    let place = Place::new(&format!(
        "node: {{ name: alpha, data_dir: data }}\nlisten: {{ https: \"127.0.0.1:{port}\", metrics: \"127.0.0.1:{metrics}\" }}\n"
    ));
    place.json(&["append", "-t", "secret.plan", "-d", "1"]);
    let _node = serve(&place.config, &place.dir.path().join("serve.log"));
    let own = format!("Host: 127.0.0.1:{port}\r\n");
    let events = until("it serves", || ask(port, "GET /v1/events", &own, ""));
    assert!(events.0 == 200 && events.1.contains("secret.plan"), "{}", events.1);
    let own_metrics = format!("Host: 127.0.0.1:{metrics}\r\n");
    assert_eq!(until("metrics are served", || ask(metrics, "GET /status", &own_metrics, "")).0, 200);
    // By the name of another site, which resolves to this machine; and by the machine's own, from a page of another.
    let foreign = |own: &str| {
        [
            "Host: evil.example\r\n".to_owned(),
            format!("{own}Origin: http://evil.example\r\n"),
            format!("{own}Origin: null\r\n"),
            format!("{own}Sec-Fetch-Site: cross-site\r\n"),
        ]
    };
    for headers in foreign(&own) {
        for request in ["GET /v1/events", "GET /v1/identity", "GET /healthz", FETCH, "POST /v1/refresh"] {
            let framed = format!("{headers}Content-Type: application/vnd.antiphon.frame\r\n");
            let (status, answer) = ask(port, request, &framed, "").unwrap();
            assert!(status == 403 && !answer.contains("secret.plan"), "{request} {headers}: {answer}");
        }
    }
    for headers in foreign(&own_metrics) {
        for request in ["GET /", "GET /status", "GET /status/events", "GET /metrics", "GET /healthz"] {
            let (status, answer) = ask(metrics, request, &headers, "").unwrap();
            assert!(status == 403 && !answer.contains("alpha"), "{request} {headers}: {answer}");
        }
    }
    // What a form can send, and an old browser does not mark.
    let (status, answer) = ask(port, FETCH, &format!("{own}Content-Type: text/plain\r\n"), "x").unwrap();
    assert_eq!(status, 415, "{answer}");
}

#[test]
fn the_node_that_init_makes_has_a_key_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let made = |name: &str| {
        let config = dir.path().join(name).join("antiphon.yaml");
        std::fs::create_dir_all(dir.path().join(name)).unwrap();
        let output = antiphon(&config)
            .env_remove("ANTIPHON_SHARED_KEY")
            .args(["init", "--name", name, "--log", crate::support::INIT[2]])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let file = dir.path().join(name).join("shared.key");
        let key = std::fs::read_to_string(&file).unwrap();
        assert!(said.contains("shared.key") && said.contains("copy") && !said.contains(key.trim()), "{said}");
        (config, key)
    };
    let ((config, alpha), (_, bravo)) = (made("alpha"), made("bravo"));
    assert!(alpha.trim().len() == 64 && alpha != bravo);
    let file = dir.path().join("alpha/shared.key");
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    // A key that was carried there before stays.
    std::fs::create_dir(dir.path().join("charlie")).unwrap();
    std::fs::write(dir.path().join("charlie/shared.key"), &alpha).unwrap();
    assert_eq!(made("charlie").1, alpha);
    let port = free_port();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("127.0.0.1:7443\n  # quic", &format!("127.0.0.1:{port}\n  # quic"))).unwrap();
    let _node = serve(&config, &dir.path().join("serve.log"));
    let own = format!("Host: 127.0.0.1:{port}\r\n");
    let (status, answer) = until("it serves", || ask(port, "GET /v1/events", &own, ""));
    assert_eq!(status, 401, "{answer}");
    let keyed = format!("{own}Authorization: Bearer {}\r\n", alpha.trim());
    assert_eq!(ask(port, "GET /v1/events", &keyed, "").unwrap().0, 200);
}
