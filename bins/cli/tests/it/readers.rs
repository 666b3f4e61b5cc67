//! Readers from outside: what a cursor is worth after a restart, a restore, a lost tail and a fork that was resolved.

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::federation::mesh;
use crate::forks::{copy, forked};
use crate::monitor::http::http;
use crate::support::{KEY, Place, antiphon, event, free_port, until};

fn alone() -> (Place, u16) {
    let port = free_port();
    let yaml = format!(
        "node: {{ name: alpha, data_dir: data }}\nlisten: {{ https: \"127.0.0.1:{port}\" }}\nfederation: {{ allow_plaintext_loopback: true }}\n"
    );
    (Place::new(&yaml), port)
}

fn import(place: &Place, events: std::ops::Range<usize>) {
    let (code, _, err) = place.pipe(&["import"], &events.map(event).collect::<String>());
    assert_eq!(code, 0, "{err}");
}

/// One page: status, body, and the header with the cursor to go on after.
fn page(port: u16, query: &str) -> (u16, Value, Option<String>) {
    let headers = format!("Authorization: Bearer {KEY}\r\n");
    let (status, head, body) = until("it answers", || http(port, "GET", &format!("/v1/events?{query}"), &headers, ""));
    let next = head.lines().find_map(|line| line.to_lowercase().strip_prefix("antiphon-next:").map(|_| line));
    let next = next.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned());
    (status, serde_json::from_str(&body).unwrap(), next)
}

fn subjects(events: &Value) -> Vec<String> {
    events.as_array().unwrap().iter().map(|event| event["subject"].as_str().unwrap_or_default().to_owned()).collect()
}

fn named(events: std::ops::Range<usize>) -> Vec<String> {
    events.map(|n| format!("s/{n}")).collect()
}

/// A command's log lines; it is killed when dropped.
struct Follow {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Follow {
    fn new(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }

    /// Exit code and standard error of one that ends without a signal.
    fn ended(mut self) -> (i32, String) {
        let code = until("it ends", || self.child.try_wait().unwrap()).code().unwrap();
        let err = std::io::read_to_string(self.child.stderr.take().unwrap()).unwrap();
        (code, err)
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command that an error says to continue with, run as it is.
fn continued(place: &Place, err: &str) -> String {
    let (_, rest) = err.split_once("Continue with `antiphon ").expect(err);
    let (command, _) = rest.split_once('`').unwrap();
    let words: Vec<_> = command.split(' ').collect();
    assert_eq!(words[..3], ["-c", place.config.to_str().unwrap(), "log"], "{command}");
    let (code, out, err) = place.run(&words[2..]);
    assert_eq!(code, 0, "{err}");
    out
}

#[test]
fn log_follow_goes_on_exactly_over_restarts_of_the_node() {
    let (place, _) = alone();
    import(&place, 0..3);
    let mut command = antiphon(&place.config);
    command.args(["--json", "log", "--follow"]);
    // Before any node serves; it must not keep one from starting.
    let mut follow = Follow::new(command);
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(follow.next());
    }
    for round in 1..=2 {
        let serving = place.serve();
        import(&place, 3 * round..3 * round + 2);
        for _ in 0..2 {
            seen.push(follow.next());
        }
        // Ends well, and badly.
        if round == 1 {
            assert_eq!(serving.terminate(), 0);
        } else {
            serving.kill();
        }
        // While no node serves.
        import(&place, 3 * round + 2..3 * round + 3);
    }
    let _serving = place.serve();
    import(&place, 9..10);
    while seen.len() < 10 {
        seen.push(follow.next());
    }
    let order: Vec<_> = seen.iter().map(|event| event["subject"].as_str().unwrap().to_owned()).collect();
    assert_eq!(order, named(0..10), "each once, and in order");
    let after = seen[7]["antiphoncursor"].as_str().unwrap();
    let (code, out, err) = place.run(&["--json", "log", "--after", after]);
    assert!(code == 0 && out.lines().count() == 2, "{out}{err}");
}

#[test]
fn a_reader_of_what_a_restore_took_back_gets_to_know_and_misses_nothing() {
    let (place, port) = alone();
    import(&place, 0..3);
    let backup = place.dir.path().join("backup");
    place.json(&["backup", backup.to_str().unwrap()]);
    import(&place, 3..6);
    let serving = place.serve();
    let (_, early, kept) = page(port, "limit=2");
    let (_, all, gone) = page(port, "");
    assert_eq!((subjects(&early), subjects(&all)), (named(0..2), named(0..6)));
    let mut command = antiphon(&place.config);
    command.args(["--json", "log", "--follow"]);
    let mut follow = Follow::new(command);
    (0..6).for_each(|_| drop(follow.next()));
    assert_eq!(serving.terminate(), 0);
    let restored = place.json(&["restore", backup.to_str().unwrap()]);
    import(&place, 10..16);
    let _serving = place.serve();

    let after = named(2..3).into_iter().chain(named(10..16)).collect::<Vec<_>>();
    let (status, rest, _) = page(port, &format!("after={}", kept.unwrap()));
    assert_eq!((status, subjects(&rest)), (200, after), "what the backup held continues");
    let (status, fault, _) = page(port, &format!("after={}&wait=30", gone.unwrap()));
    assert_eq!(
        (status, &fault["code"]),
        (410, &"cursor_unknown".into()),
        "three new events must not be skipped: {fault}"
    );
    let (status, rest, _) = page(port, &format!("after={}", fault["resume"].as_str().unwrap()));
    assert_eq!((status, subjects(&rest)), (200, named(10..16)));

    let (code, err) = follow.ended();
    assert!(code == 1 && err.contains("another history") && err.contains("--follow`"), "{err}");
    let again = continued(&place, &err.replace(" --follow`", "`"));
    assert_eq!(again.lines().count(), 6, "{again}");

    // What was moved aside is read from where the backup ended.
    let old = place.dir.path().join("old.yaml");
    let dir = restored["before"].as_str().unwrap();
    std::fs::write(&old, format!("node: {{ name: alpha, data_dir: \"{dir}\" }}\n")).unwrap();
    let output =
        antiphon(&old).args(["--json", "log", "--after", restored["cursor"].as_str().unwrap()]).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    assert!(lines.lines().count() == 3 && lines.contains("s/3") && lines.contains("s/5"), "{lines}");
}

#[test]
fn a_reader_of_a_lost_tail_gets_to_know() {
    let (place, port) = alone();
    import(&place, 0..3);
    let (data, saved) = (place.dir.path().join("data"), place.dir.path().join("saved"));
    copy(&data.join("db"), &saved);
    import(&place, 3..6);
    let (code, out, _) = place.run(&["--json", "log"]);
    assert_eq!(code, 0);
    let cursors: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let at = |place: usize| cursors[place - 1]["antiphoncursor"].as_str().unwrap();
    // The disk gives up what it had said to have; how far it was durable is still noted.
    std::fs::remove_dir_all(data.join("db")).unwrap();
    copy(&saved, &data.join("db"));
    import(&place, 10..14);
    assert_eq!(place.json(&["status"])["epoch_change"]["why"], "lost_tail");
    let _serving = place.serve();
    let (status, fault, _) = page(port, &format!("after={}", at(6)));
    assert_eq!(status, 410, "{fault}");
    let (status, rest, _) = page(port, &format!("after={}", at(3)));
    assert_eq!((status, subjects(&rest)), (200, named(10..14)));
    let (code, _, err) = place.run(&["--json", "log", "--after", at(5)]);
    assert_eq!(code, 1, "{err}");
    assert_eq!(continued(&place, &err).lines().count(), 4);
}

#[test]
fn a_reader_of_a_losing_version_gets_to_know_and_others_go_on() {
    let mut places = mesh(|_| "https");
    places.truncate(2);
    let [alpha, bravo] = &places[..] else { panic!("two nodes") };
    let (_serving, [here, _]) = forked(alpha, bravo);
    // Bravo holds ten, and five of alpha's that alpha does not hold any more.
    let log = |args: &[&str]| {
        let (code, out, err) = bravo.run(&[&["--json", "log"], args].concat());
        assert_eq!(code, 0, "{err}");
        out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let read = log(&[]);
    assert_eq!(read.len(), 15);
    let at = |place: usize| read[place - 1]["antiphoncursor"].as_str().unwrap().to_owned();
    let mut follows = Vec::new();
    for place in [8, 15] {
        let mut command = antiphon(&bravo.config);
        command.args(["--json", "log", "--follow", "--after", &at(place)]);
        follows.push(Follow::new(command));
    }
    let [mut before, behind] = <[Follow; 2]>::try_from(follows).ok().unwrap();
    assert_eq!([before.next()["subject"].clone(), before.next()["subject"].clone()], ["s/8", "s/9"]);
    bravo.json(&["fork", "resolve", "--keep", here["ours"].as_str().unwrap()]);
    let (code, err) = behind.ended();
    assert!(code == 1 && err.contains("another history"), "{err}");
    until("alpha's version is here", || (bravo.json(&["status"])["events"] == 18).then_some(()));
    let rest = log(&["--after", &at(10)]);
    assert_eq!(rest.len(), 8, "the ten before it are what they were");
    assert_eq!(rest[0]["subject"], "s/100");
    let (code, _, err) = bravo.run(&["--json", "log", "--after", &at(12)]);
    assert!(code == 1 && continued(bravo, &err).lines().count() == 8, "{err}");
}
