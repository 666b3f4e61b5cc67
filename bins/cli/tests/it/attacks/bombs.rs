//! Payloads that a parser turns into a hundred times their size: `[{"":0},{"":0},…]`. A node stores them, pulls them,
//! replays them and answers with them, and stays small.
//!
//! `ANTIPHON_BOMBS=1000` is the round at full length; the tests take fewer.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{KEY, Place, Serving, antiphon, free_port, outcome, until};

const LIMIT_MIB: u64 = 256;
/// How many pages are asked for at once.
const PAGES: usize = 64;

fn bombs() -> usize {
    std::env::var("ANTIPHON_BOMBS").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

/// One event of 1 MiB, on one of a few subjects.
fn bomb(n: usize) -> String {
    let objects = format!("{}{{}}", r#"{"":0},"#.repeat((1024 * 1024 - 512) / 7));
    format!("{{\"specversion\":\"1.0\",\"type\":\"bomb\",\"subject\":\"s/{}\",\"data\":[{objects}]}}\n", n % 50)
}

/// The most memory that a process ever had.
fn peak_mib(serving: &Serving) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", serving.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1024
}

fn node(name: &str, port: u16, peer: Option<u16>) -> Place {
    let peers = peer.map_or_else(String::new, |port| {
        format!("  peers:\n    - {{ name: peer, endpoint: \"http://127.0.0.1:{port}\" }}\n")
    });
    Place::new(&format!(
        "node: {{ name: {name}, data_dir: data }}\nlisten: {{ https: \"127.0.0.1:{port}\" }}\nfederation:\n  interval: 1s\n  \
         allow_plaintext_loopback: true\n{peers}"
    ))
}

/// Asks for a page of everything. `None` where the node has no room for the connection.
fn ask(port: u16) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    let head = format!(
        "GET /v1/events?limit=1000 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nAuthorization: Bearer {KEY}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).ok()?;
    Some(stream)
}

/// Reads an answer to its end, and says how long its body was; `None` where it broke off, or the node has no room.
fn length_of(mut stream: TcpStream) -> Option<usize> {
    let (mut head, mut part) = (Vec::new(), vec![0; 64 * 1024]);
    let begin = loop {
        let read = stream.read(&mut part).ok().filter(|read| *read > 0)?;
        head.extend_from_slice(&part[..read]);
        if let Some(at) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let text = String::from_utf8_lossy(&head[..begin]).to_lowercase();
    if text.starts_with("http/1.1 503") {
        return None;
    }
    assert!(text.starts_with("http/1.1 200"), "{text}");
    let wanted: usize = text.split("content-length: ").nth(1)?.lines().next()?.trim().parse().ok()?;
    let mut got = head.len() - begin;
    while got < wanted {
        got += stream.read(&mut part).ok().filter(|read| *read > 0)?;
    }
    Some(wanted)
}

#[test]
fn a_node_that_stores_pulls_and_serves_bombs_stays_small() {
    let count = bombs();
    let one = free_port();
    let alpha = node("alpha", one, None);
    let source = alpha.serve();
    let mut import = antiphon(&alpha.config)
        .arg("import")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = import.stdin.take().unwrap();
    for n in 0..count {
        stdin.write_all(bomb(n).as_bytes()).unwrap();
    }
    drop(stdin);
    let (code, _, err) = outcome(&import.wait_with_output().unwrap());
    assert_eq!(code, 0, "{err}");
    let stored = peak_mib(&source);

    // Only now: another process may take a port that is free for long.
    let two = free_port();
    let bravo = node("bravo", two, Some(one));
    let puller = bravo.serve();
    let status = || bravo.json(&["status"]);
    until("all are pulled and replayed", || {
        let status = status();
        (status["events"] == count && status["replayers"][0]["position"] == count).then_some(())
    });
    let pulled = peak_mib(&puller);

    // A burst of new connections loses those that have not presented a key yet: they ask again.
    let deadline = Instant::now() + Duration::from_secs(180);
    let reader = move || loop {
        if let Some(length) = ask(two).and_then(length_of) {
            break length;
        }
        assert!(Instant::now() < deadline, "a page never came whole");
        std::thread::park_timeout(Duration::from_millis(20));
    };
    let readers: Vec<_> = (0..PAGES).map(|_| std::thread::spawn(reader)).collect();
    for reader in readers {
        assert!(reader.join().unwrap() > count.min(7) * 1024 * 1024);
    }
    let served = peak_mib(&puller);
    eprintln!("{count} bombs: peak {stored} MiB while storing, {pulled} MiB while pulling, {served} MiB while serving");
    for (what, peak) in [("storing", stored), ("pulling", pulled), ("serving", served)] {
        assert!(peak < LIMIT_MIB, "{peak} MiB while {what} {count} bombs");
    }
    let (_, view, _) = bravo.run(&["--json", "latest", "s/1"]);
    assert!(view.contains(r#","data":[{"":0},{"":0},"#), "it is shown as it is");
}
