//! A payload is bytes: what goes in by a command comes out by every command as it was.

use std::process::Stdio;

use serde_json::Value;

use crate::support::{Place, antiphon, has, outcome};

const ALONE: &str = "node: { name: alpha, data_dir: data }\n";

/// One event, appended and printed, while a node serves and while none does.
fn both(place: &Place, test: impl Fn()) {
    test();
    let serving = place.serve();
    test();
    assert_eq!(serving.terminate(), 0, "{}", place.log());
}

fn last(place: &Place) -> String {
    let (code, out, err) = place.run(&["--json", "log"]);
    assert_eq!(code, 0, "{err}");
    out.lines().last().unwrap().to_owned()
}

#[test]
fn json_is_neither_rounded_nor_reordered_nor_turned_into_something_else() {
    let place = Place::new(ALONE);
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    both(&place, || {
        for data in ["18446744073709551616", r#"{"z":1,"a":1.0,"z":1e999}"#, r#"["\ud800"]"#, &deep] {
            for content_type in ["application/json", "Application/JSON; charset=utf-8"] {
                let (code, _, err) =
                    place.pipe(&["append", "-t", "t", "-s", "s", "--content-type", content_type, "-d", "-"], data);
                assert_eq!(code, 0, "{err}");
                let member = format!(r#","data":{data}}}"#);
                assert!(last(&place).ends_with(&member), "{}", &last(&place)[..200]);
                let (_, view, _) = place.run(&["--json", "latest", "s"]);
                assert!(view.trim_end().ends_with(&member), "{}", &view[..200]);
                assert!(view.contains(&format!(r#""bytes":{},"#, data.len())), "{}", &view[..200]);
            }
        }
    });
    let (code, out, _) = place.run(&["verify"]);
    assert!(code == 0 && out.starts_with("clean: 16 events"), "{out}");
}

#[test]
fn text_and_bytes_come_out_as_what_they_are() {
    let place = Place::new(ALONE);
    both(&place, || {
        for content_type in ["text/plain", "TEXT/Plain; charset=utf-8"] {
            place.pipe(&["append", "-t", "t", "-s", "s", "--content-type", content_type, "-d", "-"], "5\n\u{1b}");
            let event: Value = serde_json::from_str(&last(&place)).unwrap();
            assert_eq!(event["data"], "5\n\u{1b}");
            let (_, view, _) = place.run(&["--json", "latest", "s"]);
            assert_eq!(serde_json::from_str::<Value>(&view).unwrap()["data"], "5\n\u{1b}");
        }
        place.pipe(&["append", "-t", "t", "-s", "s", "--content-type", "image/png", "-d", "-"], "5");
        let event: Value = serde_json::from_str(&last(&place)).unwrap();
        assert_eq!(event["data_base64"], "NQ==");
        let (_, view, _) = place.run(&["--json", "latest", "s"]);
        assert_eq!(serde_json::from_str::<Value>(&view).unwrap()["data_base64"], "NQ==");
    });
    for (content_type, data, wanted) in
        [("xyz", "1", "not a media type"), ("application/json", "{", "not JSON"), ("text/x+json", "no", "not JSON")]
    {
        let (code, _, err) = place.run(&["append", "-t", "t", "--content-type", content_type, "-d", data]);
        assert!(code == 1 && err.contains(wanted), "{err}");
    }
}

/// Each byte takes six in JSON, and took seven within another JSON text.
#[test]
fn sixteen_mebibytes_of_control_characters_are_an_event_as_any() {
    let place = Place::new("node: { name: alpha, data_dir: data, max_append_bytes: 16777216 }\n");
    let _serving = place.serve();
    let data = "\u{1}".repeat(16_000_000);
    let (code, _, err) = place.pipe(&["append", "-t", "t", "--content-type", "text/plain", "-d", "-"], &data);
    assert_eq!(code, 0, "{err}");
    let (code, out, err) = place.run(&["--json", "log"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.len() > 6 * data.len());
    let line: String = out.lines().take(1).map(|line| line.replace("\\u0001", "")).collect();
    assert!(line.ends_with(r#""data":""}"#), "nothing else is in it");
    let file = place.dir.path().join("events.ndjson");
    std::fs::write(&file, &out).unwrap();
    let (code, out, err) = place.run(&["import", file.to_str().unwrap()]);
    assert!(code == 0 && out.starts_with("1 events imported"), "{out}{err}");
}

#[test]
fn what_acts_on_a_terminal_is_escaped_there_and_nowhere_else() {
    if !has("script") {
        return;
    }
    let place = Place::new(ALONE);
    let subject = "a\u{202e}b\u{9b}2Jc";
    place.pipe(&["append", "-t", "t", "-s", subject, "--content-type", "text/plain", "-d", "-"], "x\u{2066}\u{1b}[2Jy");
    let bad = |text: &str| text.contains(['\u{202e}', '\u{2066}', '\u{9b}']) || text.contains("\u{1b}[2J");
    for args in [&["--json", "log"][..], &["log"], &["--json", "latest"], &["latest", "\u{202e}none"]] {
        let (_, out, err) = place.run(args);
        // Lines for people are escaped everywhere.
        let as_it_is = args[0] == "--json" || args.contains(&"\u{202e}none");
        assert_eq!(bad(&out) || bad(&err), as_it_is, "for a program it is as it is: {out}{err}");
        // `script` runs it with a terminal for input, output and errors.
        let words: Vec<_> = args.iter().map(|word| format!("'{word}'")).collect();
        let line = format!("'{}' {}", env!("CARGO_BIN_EXE_antiphon"), words.join(" "));
        let output = std::process::Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env("ANTIPHON_CONFIG", &place.config)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let (_, shown, _) = outcome(&output);
        assert!(shown.contains("u202e") || shown.contains("u{202e}"), "{shown:?}");
        assert!(!bad(&shown), "{shown:?}");
    }
    assert!(antiphon(&place.config).args(["--json", "log"]).output().unwrap().status.success());
}
