//! Whether two forms of an event say the same.

use antiphon_kernel::event::{DataKind, Draft};
use antiphon_kernel::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// What an event carries: a JSON value, however it was written, or bytes.
#[derive(Debug)]
enum Payload {
    Json(Value),
    Bytes(Vec<u8>),
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Json(one), Self::Json(other)) => same_json(one, other),
            (Self::Bytes(one), Self::Bytes(other)) => one == other,
            _ => false,
        }
    }
}

/// Equal, but for the last digits of fractions: `serde_json` reads those to within a few units in the last place.
fn same_json(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() && other.is_f64() => {
            let (one, other) = (one.as_f64().unwrap_or_default(), other.as_f64().unwrap_or_default());
            (one - other).abs() <= one.abs() * 4.0 * f64::EPSILON
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same_json(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| other.get(name).is_some_and(|there| same_json(value, there)))
        }
        _ => one == other,
    }
}

impl Payload {
    fn of_bytes(content_type: Option<&str>, bytes: &[u8]) -> Self {
        if !is_json(content_type) {
            return Self::Bytes(bytes.to_vec());
        }
        match serde_json::from_slice(bytes) {
            Ok(value) => Self::Json(value),
            // Nested too deeply for a value, or no JSON at all. Line breaks go out as spaces.
            Err(_) => {
                let spaces = bytes.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte });
                Self::Bytes(spaces.collect::<Vec<_>>().trim_ascii().to_vec())
            }
        }
    }

    fn of_cloud_event(event: &Map<String, Value>) -> Self {
        let content_type = event.get("datacontenttype").and_then(Value::as_str);
        if let Some(text) = event.get("data_base64") {
            let bytes = STANDARD.decode(text.as_str().expect("it is a string")).expect("it is base 64");
            return Self::of_bytes(content_type, &bytes);
        }
        match event.get("data") {
            None => Self::Bytes(Vec::new()),
            // No content type means JSON.
            Some(value) if content_type.is_none() || is_json(content_type) => Self::Json(value.clone()),
            Some(text) => Self::Bytes(text.as_str().expect("it is a string").as_bytes().to_vec()),
        }
    }
}

fn is_json(content_type: Option<&str>) -> bool {
    content_type.is_some_and(|text| DataKind::of(text) == DataKind::Json)
}

/// Every attribute of the line is there, and nothing else but what is the log's to say.
pub(super) fn as_the_line(line: &str, out: &str) {
    // The whole line is read more strictly than its parts: nesting and numbers have bounds here that `data` has not.
    let Ok(Value::Object(line)) = serde_json::from_str::<Value>(line) else { return };
    let Ok(Value::Object(out)) = serde_json::from_str::<Value>(out) else { panic!("{out} is no object") };
    for (name, value) in &line {
        if value.is_null()
            || *value == Value::String(String::new()) && matches!(name.as_str(), "subject" | "datacontenttype")
        {
            continue;
        }
        match name.as_str() {
            "data" | "data_base64" => {}
            "id" => assert!(line.get("originid").is_some_and(|id| !id.is_null()) || out["originid"] == *value),
            "source" => {
                assert!(line.get("originsource").is_some_and(|s| !s.is_null()) || out["originsource"] == *value)
            }
            "time" => assert_eq!(moment(&out["time"]), moment(value)),
            own if own.starts_with("antiphon") => {}
            _ if value.is_boolean() => assert_eq!(out.get(name), Some(value), "attribute `{name}`"),
            // An integer of 32 bits is one again. Any other number is text, as it is written; `line` has rounded it.
            _ if value.is_number() && out.get(name).is_some_and(Value::is_number) => {
                assert_eq!(out.get(name), Some(value), "attribute `{name}`");
            }
            _ if value.is_number() => {
                let number = out.get(name).and_then(Value::as_str).map(serde_json::from_str::<Value>);
                assert_eq!(number.and_then(Result::ok).as_ref(), Some(value), "attribute `{name}`");
            }
            _ => assert_eq!(out.get(name), Some(&Value::String(text(value))), "attribute `{name}`"),
        }
    }
    for name in out.keys() {
        let own = [
            "id",
            "source",
            "time",
            "data",
            "data_base64",
            "originid",
            "originsource",
            "origintime",
            "datacontenttype",
        ];
        let known = line.contains_key(name) || name.starts_with("antiphon") || own.contains(&name.as_str());
        assert!(known, "attribute `{name}` came from nowhere");
    }
    assert_eq!(Payload::of_cloud_event(&out), Payload::of_cloud_event(&line));
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn moment(value: &Value) -> Timestamp {
    value.as_str().expect("it is a string").parse().expect("it is a time")
}

/// What was exported and imported says what the first import said, and the export's id and source besides.
pub(super) fn as_the_draft(draft: &Draft, again: &Draft) {
    let absent = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    assert_eq!(draft.event_type, again.event_type);
    assert_eq!(absent(&draft.subject), absent(&again.subject));
    assert_eq!(absent(&draft.datacontenttype), absent(&again.datacontenttype));
    assert!(draft.time.is_none_or(|time| Some(time) == again.time));
    let mut extensions = again.extensions.clone();
    for name in ["originid", "originsource"] {
        assert!(extensions.contains_key(name));
        if !draft.extensions.contains_key(name) {
            extensions.remove(name);
        }
    }
    assert_eq!(draft.extensions, extensions);
    let payload = |draft: &Draft| Payload::of_bytes(draft.datacontenttype.as_deref(), &draft.data);
    assert_eq!(payload(draft), payload(again));
}
