//! CloudEvents 1.0 JSON, in and out.
//!
//! Out: `id`, `source`, `type`, `subject`, `time`, `datacontenttype`, `data` or `data_base64`, the event's extension
//! attributes, and Antiphon's own: `antiphonseq`, `antiphoncounter` and `antiphonjoined` (strings, because a CloudEvents
//! integer has 32 bits). In: the same; an incoming `id` and `source` are kept as the extensions `originid` and
//! `originsource`, since the event that is appended is a new fact of this cortex.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Draft, source_of};
use crate::codec::EventView;
use crate::cursor::Seq;
use crate::time::Timestamp;

/// Why a JSON text is not a CloudEvent that can be appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudEventError {
    /// Not a JSON object.
    #[error("not a JSON object: {0}")]
    Json(String),
    /// A required attribute is missing.
    #[error("attribute `{0}` is missing")]
    Missing(&'static str),
    /// An attribute has the wrong type or form.
    #[error("attribute `{name}` {rule}")]
    Attribute {
        /// Which.
        name: String,
        /// What it should be.
        rule: &'static str,
    },
}

/// One event, standing at `seq` in a log since `joined`, as a CloudEvents JSON object.
#[must_use]
pub fn to_cloud_event(seq: Seq, joined: Timestamp, event: &EventView<'_>) -> Value {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| {
        out.insert(name.to_owned(), value);
    };
    put("specversion", "1.0".into());
    put("id", event.id.to_string().into());
    put("source", source_of(event.dot.origin()).into());
    put("type", event.event_type.into());
    if !event.subject.is_empty() {
        put("subject", event.subject.into());
    }
    put("time", event.time.to_string().into());
    if !event.datacontenttype.is_empty() {
        put("datacontenttype", event.datacontenttype.into());
    }
    for &(name, value) in &event.extensions {
        put(name, value.into());
    }
    put("antiphonseq", seq.to_string().into());
    put("antiphoncounter", event.dot.counter().to_string().into());
    put("antiphonjoined", joined.to_string().into());
    // No data is no member: an empty text would come back as a JSON string, where that is the content type.
    if !event.data.is_empty() {
        let (name, data) = json_data(event.datacontenttype, event.data);
        put(name, data);
    }
    Value::Object(out)
}

fn json_data(content_type: &str, data: &[u8]) -> (&'static str, Value) {
    let value = if is_json(Some(content_type)) {
        // A text that is no JSON value would come back as a JSON string, `text/` or not.
        serde_json::from_slice(data).ok()
    } else {
        std::str::from_utf8(data).ok().filter(|_| content_type.starts_with("text/")).map(Value::from)
    };
    value.map_or_else(|| ("data_base64", STANDARD.encode(data).into()), |value| ("data", value))
}

fn is_json(content_type: Option<&str>) -> bool {
    content_type.is_some_and(|t| {
        let essence = t.split(';').next().unwrap_or_default().trim();
        essence.ends_with("/json") || essence.ends_with("+json")
    })
}

/// The draft that a CloudEvents JSON object asks for. JSON `data` is kept byte for byte as it stands in the text.
///
/// # Errors
/// [`CloudEventError`] names the attribute that is missing or malformed.
pub fn from_cloud_event(json: &str) -> Result<Draft, CloudEventError> {
    let fields: std::collections::BTreeMap<String, &RawValue> =
        serde_json::from_str(json).map_err(|e| CloudEventError::Json(e.to_string()))?;
    let text = |name: &'static str| match fields.get(name) {
        None => Ok(None),
        Some(raw) => match serde_json::from_str::<Option<String>>(raw.get()) {
            Ok(text) => Ok(text),
            Err(_) => Err(attribute(name, "must be a string")),
        },
    };
    match text("specversion")?.as_deref() {
        Some("1.0") => {}
        Some(_) => return Err(attribute("specversion", "must be \"1.0\"")),
        None => return Err(CloudEventError::Missing("specversion")),
    }
    let event_type = text("type")?.ok_or(CloudEventError::Missing("type"))?;
    let datacontenttype = text("datacontenttype")?;
    let (data, datacontenttype) = incoming_data(&fields, datacontenttype)?;
    let mut draft = Draft::new(event_type, data);
    draft.subject = text("subject")?.filter(|s| !s.is_empty());
    draft.datacontenttype = datacontenttype;
    if let Some(time) = text("time")? {
        let time: Timestamp =
            time.parse().map_err(|_| attribute("time", "must be an RFC 3339 time, such as 2026-11-23T09:30:00Z"))?;
        draft.time = Some(time);
    }
    for (kept, name) in [("originid", "id"), ("originsource", "source")] {
        if let Some(value) = text(name)? {
            draft.extensions.insert(kept.to_owned(), value);
        }
    }
    for (name, raw) in &fields {
        if let Some(value) = extension(name, raw)? {
            draft.extensions.insert(name.clone(), value);
        }
    }
    Ok(draft)
}

fn attribute(name: &str, rule: &'static str) -> CloudEventError {
    CloudEventError::Attribute { name: name.chars().take(64).collect(), rule }
}

fn incoming_data(
    fields: &std::collections::BTreeMap<String, &RawValue>,
    content_type: Option<String>,
) -> Result<(Bytes, Option<String>), CloudEventError> {
    match (fields.get("data"), fields.get("data_base64")) {
        (Some(_), Some(_)) => Err(attribute("data", "and `data_base64` exclude each other")),
        (None, None) => Ok((Bytes::new(), content_type)),
        (None, Some(raw)) => {
            let text: String =
                serde_json::from_str(raw.get()).map_err(|_| attribute("data_base64", "must be a string"))?;
            let data = STANDARD.decode(text).map_err(|_| attribute("data_base64", "must be padded base 64"))?;
            Ok((data.into(), content_type))
        }
        // No content type means JSON, by the CloudEvents JSON format.
        (Some(raw), None) if content_type.is_none() || is_json(content_type.as_deref()) => Ok((
            Bytes::copy_from_slice(raw.get().as_bytes()),
            Some(content_type.unwrap_or_else(|| "application/json".to_owned())),
        )),
        (Some(raw), None) => {
            let text: String = serde_json::from_str(raw.get())
                .map_err(|_| attribute("data", "must be a string unless datacontenttype is JSON"))?;
            Ok((text.into(), content_type))
        }
    }
}

fn extension(name: &str, raw: &RawValue) -> Result<Option<String>, CloudEventError> {
    const CORE: [&str; 9] =
        ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data", "data_base64"];
    // What an Antiphon node wrote out about its own log does not describe the event, so an export can be imported.
    if CORE.contains(&name) || name.starts_with("antiphon") {
        return Ok(None);
    }
    match serde_json::from_str(raw.get()) {
        Ok(Value::Null) => Ok(None),
        Ok(Value::String(text)) => Ok(Some(text)),
        Ok(Value::Bool(flag)) => Ok(Some(flag.to_string())),
        Ok(Value::Number(number)) => Ok(Some(number.to_string())),
        _ => Err(attribute(name, "must be a string, number or boolean: extension attributes are scalars")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VClock;
    use crate::codec::{EncodedDraft, encode_record};
    use crate::ids::{CortexId, Dot, Epoch, EventId, Origin};

    fn out(draft: &Draft) -> Value {
        let assigned = EncodedDraft {
            id: EventId::from_parts(1, 2),
            dot: Dot::new(Origin::new(CortexId::from_bytes([1; 16]), Epoch::new(5)), 3).unwrap(),
            deps: &VClock::new(),
            time: Timestamp::from_micros(7),
        };
        let bytes = encode_record(draft, &assigned);
        to_cloud_event(Seq::new(9), Timestamp::from_micros(0), &EventView::decode(&bytes).unwrap())
    }

    #[test]
    fn no_data_comes_out_as_none() {
        let draft = from_cloud_event(r#"{"specversion":"1.0","type":"t","datacontenttype":"text/+json"}"#).unwrap();
        assert!(draft.data.is_empty());
        let out = out(&draft);
        assert!(out.get("data").is_none() && out.get("data_base64").is_none(), "{out}");
    }

    /// A lone half of a surrogate pair may be escaped in JSON, and is no text.
    #[test]
    fn what_is_said_to_be_json_and_cannot_be_read_comes_out_as_its_bytes() {
        for content_type in ["text/+json", "application/json"] {
            let line =
                format!(r#"{{"specversion":"1.0","type":"t","datacontenttype":"{content_type}","data":"\ud800"}}"#);
            let draft = from_cloud_event(&line).unwrap();
            let again = from_cloud_event(&out(&draft).to_string()).unwrap();
            assert_eq!((&again.data, &again.datacontenttype), (&draft.data, &draft.datacontenttype));
        }
    }

    #[test]
    fn json_goes_in_and_comes_out_the_same() {
        let text = r#"{"specversion":"1.0","type":"t","source":"/s","id":"7","subject":"a",
            "time":"2026-01-02T03:04:05Z","traceparent":"00-x","sampled":true,"rate":3,"data":{"z":1,"a":[1,2]}}"#;
        let draft = from_cloud_event(text).unwrap();
        assert_eq!(draft.data, r#"{"z":1,"a":[1,2]}"#);
        let out = out(&draft);
        assert_eq!(out["data"]["a"][1], 2);
        assert_eq!(out["originid"], "7");
        assert_eq!(out["traceparent"], "00-x");
        assert_eq!(out["antiphonseq"], "9");
        assert!(out["source"].as_str().unwrap().starts_with("urn:antiphon:"));
        // What comes out can be imported again.
        let again = from_cloud_event(&out.to_string()).unwrap();
        assert_eq!((again.event_type, again.time, again.subject), (draft.event_type, draft.time, draft.subject));
    }

    #[test]
    fn bytes_and_text_keep_their_form() {
        let draft = from_cloud_event(r#"{"specversion":"1.0","type":"t","data_base64":"AP8="}"#).unwrap();
        assert_eq!(&draft.data[..], [0, 255]);
        assert_eq!(out(&draft)["data_base64"], "AP8=");
        let draft =
            from_cloud_event(r#"{"specversion":"1.0","type":"t","datacontenttype":"text/plain","data":"hi"}"#).unwrap();
        assert_eq!(draft.data, "hi");
        assert_eq!(out(&draft)["data"], "hi");
    }

    #[test]
    fn each_fault_is_named() {
        let error = |json: &str| from_cloud_event(json).unwrap_err().to_string();
        assert!(error("[1]").contains("not a JSON object"));
        assert!(error("{").contains("not a JSON object"));
        assert!(error(r#"{"type":"t"}"#).contains("`specversion` is missing"));
        assert!(error(r#"{"specversion":"0.3","type":"t"}"#).contains("1.0"));
        assert!(error(r#"{"specversion":"1.0"}"#).contains("`type` is missing"));
        assert!(error(r#"{"specversion":"1.0","type":5}"#).contains("must be a string"));
        assert!(error(r#"{"specversion":"1.0","type":"t","time":"now"}"#).contains("RFC 3339"));
        assert!(error(r#"{"specversion":"1.0","type":"t","data_base64":"*"}"#).contains("base 64"));
        assert!(error(r#"{"specversion":"1.0","type":"t","data_base64":1}"#).contains("string"));
        assert!(error(r#"{"specversion":"1.0","type":"t","data":1,"data_base64":""}"#).contains("exclude"));
        assert!(error(r#"{"specversion":"1.0","type":"t","datacontenttype":"text/plain","data":1}"#).contains("JSON"));
        assert!(error(r#"{"specversion":"1.0","type":"t","nested":{}}"#).contains("scalars"));
    }
}
