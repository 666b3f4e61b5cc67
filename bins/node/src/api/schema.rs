//! `docs/reference/json.md`: the fields of each reply, from the types themselves.

use std::fmt::Write as _;
use std::path::Path;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value};

use crate::reply::{
    AppendedEvent, BroughtBack, Certificates, Chains, Checked, Comparison, ConflictReport, CortexAllowed, Diagnosis,
    ForkReport, ForkResolution, Imported, Initialised, KeyRotated, Manifest, ModeSet, NewEpoch, NodeIdentity,
    PeerModeSet, PeerReset, Peers, PendingCortexes, Reloaded, Repaired, Replay, ReplayRetried, ReplaySkipped,
    Replicated, Resolved, Restored, RootKeyMoved, Status, Unseen, Verified,
};

/// Commands, what they print with `--json`, and its type.
fn sections() -> Vec<(&'static str, &'static str, Schema)> {
    vec![
        ("append", "One object, once the event is durable.", of::<AppendedEvent>()),
        (
            "append --wait-for",
            "The object of `append`, and then a second one, once the copies are confirmed.",
            of::<Replicated>(),
        ),
        ("backup", "One object. `BACKUP.json` in the backup has the same fields.", of::<Manifest>()),
        ("config check", "One object.", of::<Checked>()),
        ("conflicts", "One object a line: a subject in conflict.", of::<ConflictReport<'static>>()),
        ("dev-certs", "One object.", of::<Certificates>()),
        ("digest", "One object.", of::<Chains>()),
        ("doctor", "One object. If a check fails, the exit code is 1.", of::<Diagnosis>()),
        ("fork bring-back", "One object.", of::<BroughtBack>()),
        ("fork list", "One object a line: a fork.", of::<ForkReport>()),
        ("fork resolve", "One object, of one of three forms.", of::<ForkResolution>()),
        ("identity export-root", "One object; `identity import-root` prints the same.", of::<RootKeyMoved>()),
        ("identity import-root", "One object.", of::<RootKeyMoved>()),
        ("identity rotate", "One object.", of::<KeyRotated>()),
        ("identity show", "One object.", of::<NodeIdentity>()),
        ("import", "One object.", of::<Imported>()),
        ("init", "One object.", of::<Initialised>()),
        ("new-epoch", "One object.", of::<NewEpoch>()),
        ("pause-peer", "One object; `resume-peer` prints the same.", of::<PeerModeSet>()),
        ("peers", "An array. `peers` in `status` is the same.", of::<Peers>()),
        ("peers allow", "One object.", of::<CortexAllowed>()),
        ("peers pending", "An array. `pending` in `status` is the same.", of::<PendingCortexes>()),
        ("reload", "One object.", of::<Reloaded>()),
        ("replay list", "One object.", of::<Replay>()),
        ("replay retry", "One object.", of::<ReplayRetried>()),
        ("replay skip", "One object.", of::<ReplaySkipped>()),
        ("reset-peer", "One object.", of::<PeerReset>()),
        ("resolve", "One object.", of::<Resolved>()),
        ("restore", "One object.", of::<Restored>()),
        ("resume-peer", "One object.", of::<PeerModeSet>()),
        ("set-mode", "One object.", of::<ModeSet>()),
        (
            "status",
            "One object. The status page receives the same at `/status` and `/status/events`, or an object with `error`, and `code` if the error has one.",
            of::<Status>(),
        ),
        (
            "status --watch",
            "The object of `status`, every two seconds. If there is no status, this object, once for each reason.",
            of::<Unseen>(),
        ),
        ("verify", "One object. If there is a fault, the exit code is 1.", of::<Verified>()),
        (
            "verify --peer",
            "An array: the history of each origin. If one differs, the exit code is 1.",
            of::<Comparison>(),
        ),
        ("verify --repair", "One object.", of::<Repaired>()),
    ]
}

const HEAD: &str = "# JSON of the commands\n\n\
    What each command prints with `--json`. Errors are text on standard error; then the exit code is 1. A later version may add fields: ignore\n\
    those that you do not know. Numbers are integers unless the type says otherwise. Times are RFC 3339 in UTC. Digests, ids, origins, epochs\n\
    and cursors are opaque strings. A test generates this page from the types.\n\n\
    `log` and `latest` print one CloudEvent a line with `--json`, and `fork evidence` always: see [events.md](../events.md).\n\
    `serve`, `key`, `systemd-unit`, `man`, `completions` and `demo` print no JSON.\n";

fn of<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::default().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>()
}

/// A JSON type in words, and whether it may be null.
fn kind(schema: &Map<String, Value>) -> (String, bool) {
    let name = |one: &str| match one {
        "integer" => "number".to_owned(),
        "number" => "decimal number".to_owned(),
        "array" => {
            // A tuple has no `items`.
            match schema.get("items").and_then(Value::as_object) {
                Some(items) => format!("array of {}", plural(&kind(items).0)),
                None => "array".to_owned(),
            }
        }
        other => other.to_owned(),
    };
    match schema.get("type") {
        Some(Value::String(one)) => (name(one), false),
        Some(Value::Array(several)) => {
            let of = |one: &&Value| one.as_str().filter(|one| *one != "null").map(name);
            let names: Vec<_> = several.iter().filter_map(|one| of(&one)).collect();
            (names.join(" or "), several.iter().any(|one| one == "null"))
        }
        _ => match schema.get("anyOf").and_then(Value::as_array) {
            Some(several) => {
                let of = several.iter().filter_map(Value::as_object).map(|one| kind(one).0);
                let names: Vec<_> = of.filter(|one| one != "null").collect();
                (names.join(" or "), names.len() < several.len())
            }
            None => ("value".to_owned(), false),
        },
    }
}

fn plural(kind: &str) -> String {
    match kind.split_once(' ') {
        Some((first @ "array", rest)) => format!("{first}s {rest}"),
        _ => format!("{kind}s"),
    }
}

/// The object in a schema, whatever it is wrapped in, and what its fields are called after.
fn object(schema: &Map<String, Value>) -> Option<(&Map<String, Value>, &'static str)> {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        return Some((properties, "."));
    }
    if let Some(items) = schema.get("items").and_then(Value::as_object) {
        return object(items).map(|(found, _)| (found, "[]."));
    }
    let several = schema.get("anyOf").and_then(Value::as_array)?;
    several.iter().filter_map(Value::as_object).find_map(object)
}

fn rows(schema: &Map<String, Value>, prefix: &str, text: &mut String) {
    let Some((properties, _)) = object(schema) else { return };
    for (name, field) in properties {
        let Some(field) = field.as_object() else { continue };
        let (kind, nullable) = kind(field);
        let null = if nullable { " or null" } else { "" };
        let meaning = field.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
        let _ = writeln!(text, "| `{prefix}{name}` | {kind}{null} | {meaning} |");
        if let Some((_, joint)) = object(field) {
            rows(field, &format!("{prefix}{name}{joint}"), text);
        }
    }
}

fn table(schema: &Map<String, Value>, text: &mut String) {
    text.push_str("\n| field | type | meaning |\n|---|---|---|\n");
    rows(schema, "", text);
}

fn page() -> String {
    let mut text = HEAD.to_owned();
    for (command, prints, schema) in sections() {
        let _ = write!(text, "\n## antiphon {command}\n\n{prints}\n");
        let schema = schema.as_object().expect("a reply is described by an object");
        match schema.get("anyOf").and_then(Value::as_array) {
            Some(forms) => {
                for form in forms.iter().filter_map(Value::as_object) {
                    let when = form.get("description").and_then(Value::as_str).unwrap_or_default();
                    let _ = write!(text, "\n{when}\n");
                    table(form, &mut text);
                }
            }
            None => table(schema, &mut text),
        }
    }
    text
}

#[test]
fn the_reference_lists_every_field_of_every_reply() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/json.md");
    let expected = page();
    if std::env::var_os("ANTIPHON_WRITE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().expect("the page is in a folder")).expect("the folder can be made");
        std::fs::write(&path, &expected).expect("the page can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/reference/json.md is not what the code says: run this test with ANTIPHON_WRITE_DOCS=1"
    );
    for line in expected.lines().filter(|line| line.starts_with("| `")) {
        assert!(!line.ends_with("|  |"), "a field without a meaning: {line}");
        assert!(!line.contains("| value |"), "a field without a type: {line}");
    }
}
