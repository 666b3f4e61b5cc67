//! CloudEvents in and out: what goes in comes out as it was, or is refused with the reason.

use serde_json::Value;

use super::*;
use crate::codec::{EncodedDraft, encode_record};
use crate::ids::{CortexId, Epoch};

fn record(draft: &Draft) -> EventBytes {
    let assigned = EncodedDraft {
        id: EventId::from_parts(1, 2),
        dot: Dot::new(Origin::new(CortexId::from_bytes([1; 16]), Epoch::new(5)), 3).unwrap(),
        deps: &VClock::new(),
        time: Timestamp::from_micros(7),
    };
    encode_record(draft, &assigned)
}

/// The text of an event, made whole, in small pieces, and from a borrowed record: all the same.
fn text(draft: &Draft) -> String {
    let bytes = record(draft);
    let view = EventRef::decode(&bytes).unwrap();
    let (seq, joined) = (Seq::new(9), Timestamp::from_micros(0));
    let mut pieces = CloudEventText::owned(Some((seq, joined)), &view, &bytes);
    let (length, mut out) = (pieces.length(), Vec::new());
    loop {
        let until = out.len() + 1;
        if !pieces.fill(&mut out, until) {
            break;
        }
    }
    assert_eq!(out.len(), length, "the length is known before");
    let whole = CloudEventText::new(seq, joined, &view).into_string();
    assert_eq!(whole.as_bytes(), out);
    assert!(!whole.contains(['\n', '\r']), "an event is one line");
    whole
}

fn out(draft: &Draft) -> Value {
    serde_json::from_str(&text(draft)).unwrap()
}

fn of(content_type: &str, data: impl Into<Bytes>) -> Draft {
    let mut draft = Draft::new("t", data);
    draft.datacontenttype = Some(content_type.to_owned());
    draft
}

#[test]
fn no_data_comes_out_as_none() {
    let draft = from_cloud_event(r#"{"specversion":"1.0","type":"t","datacontenttype":"text/x+json"}"#).unwrap();
    assert!(draft.data.is_empty());
    let out = out(&draft);
    assert!(out.get("data").is_none() && out.get("data_base64").is_none(), "{out}");
}

/// Numbers are not rounded, members neither dropped nor reordered, escapes and nesting stay, however the type is spelt.
#[test]
fn json_data_are_the_same_bytes_in_and_out() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for data in [
        "18446744073709551616",
        r#"{"z":1,"a":1.0,"z":2,"n":1e999,"m":0.1000000000000000055}"#,
        r#"["\ud800","\u0041",-0.0]"#,
        "null",
        &deep,
    ] {
        for content_type in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"] {
            let line =
                format!(r#"{{"specversion":"1.0","type":"t","datacontenttype":"{content_type}","data": {data} }}"#);
            let draft = from_cloud_event(&line).unwrap();
            assert_eq!(draft.data, data.as_bytes());
            let text = text(&draft);
            assert!(text.ends_with(&format!(r#","data":{data}}}"#)), "{}", &text[..200]);
            assert_eq!(from_cloud_event(&text).unwrap().data, draft.data);
        }
    }
}

#[test]
fn line_breaks_between_json_tokens_become_spaces() {
    let text = text(&of("application/json", "{\r\n  \"a\": [1,\n2],\"b\":\"\\n\"\n}\n"));
    assert!(text.ends_with(r#","data":{    "a": [1, 2],"b":"\n" } }"#), "{text}");
}

#[test]
fn what_is_not_what_its_type_says_comes_out_as_its_bytes() {
    for (content_type, data) in [
        ("application/json", &b"{"[..]),
        ("application/json", b"\xff"),
        ("text/plain", b"\xff"),
        ("application/octet-stream", b"1"),
        ("xyz", b"1"),
    ] {
        let event = out(&of(content_type, data));
        assert!(event.get("data").is_none() && event["data_base64"].is_string(), "{event}");
        let base64 = format!(r#"{{"specversion":"1.0","type":"t","data_base64":{}}}"#, event["data_base64"]);
        assert_eq!(from_cloud_event(&base64).unwrap().data, data);
    }
}

#[test]
fn text_of_any_length_and_any_character_comes_back() {
    let all: String = ('\0'..='\u{ff}').chain("€\u{202e}\u{10ffff}\"\\/".chars()).collect();
    let long: String = all.repeat(700);
    for data in [&all, &long] {
        for content_type in ["text/plain", "Text/HTML; charset=utf-8"] {
            let draft = of(content_type, data.clone());
            assert_eq!(out(&draft)["data"].as_str().unwrap(), data);
            assert_eq!(from_cloud_event(&text(&draft)).unwrap().data, draft.data);
        }
    }
    for length in [1, 2, 3, 49_151, 49_152, 49_153, 200_000] {
        let draft = Draft::new("t", vec![7; length]);
        assert_eq!(from_cloud_event(&text(&draft)).unwrap().data, draft.data, "{length}");
    }
}

#[test]
fn json_goes_in_and_comes_out_the_same() {
    let text = r#"{"specversion":"1.0","type":"t","source":"/s","id":"7","subject":"a","dataschema":"urn:x:1",
        "time":"2026-01-02T03:04:05Z","traceparent":"00-x","sampled":true,"rate":18446744073709551616,"data":{"z":1,"a":[1,2]}}"#;
    let draft = from_cloud_event(text).unwrap();
    assert_eq!(draft.data, r#"{"z":1,"a":[1,2]}"#);
    let out = out(&draft);
    assert_eq!((&out["data"]["a"][1], &out["originid"], &out["antiphonseq"]), (&2.into(), &"7".into(), &"9".into()));
    assert_eq!((&out["traceparent"], &out["sampled"]), (&"00-x".into(), &true.into()));
    assert_eq!(out["rate"], "18446744073709551616", "no number is rounded");
    assert!(out["source"].as_str().unwrap().starts_with("urn:antiphon:"));
    let again = from_cloud_event(&out.to_string()).unwrap();
    assert_eq!((again.event_type, again.time, again.subject), (draft.event_type, draft.time, draft.subject));
}

/// Values have CloudEvents' own types, and come out as they went in.
#[test]
fn extensions_and_tags_come_back_as_what_they_are() {
    let text = r#"{"specversion":"1.0","type":"t","low":-2147483648,"high":2147483647,"yes":true,"no":false,"digits":"7",
        "over":2147483648,"real":1.50,"antiphontags":"a,b"}"#;
    let draft = from_cloud_event(text).unwrap();
    let text = ExtensionValue::from;
    for (name, value) in [
        ("low", i32::MIN.into()),
        ("high", i32::MAX.into()),
        ("yes", true.into()),
        ("no", false.into()),
        ("digits", text("7")),
        ("over", text("2147483648")),
        ("real", text("1.50")),
    ] {
        assert_eq!(draft.extensions[name], value, "{name}");
    }
    assert_eq!(draft.tags, ["a", "b"].map(str::to_owned).into());
    let out = out(&draft);
    assert_eq!((&out["low"], &out["yes"], &out["no"]), (&(-2_147_483_648_i64).into(), &true.into(), &false.into()));
    assert_eq!((&out["digits"], &out["real"], &out["antiphontags"]), (&"7".into(), &"1.50".into(), &"a,b".into()));
    let again = from_cloud_event(&out.to_string()).unwrap();
    assert_eq!(again.tags, draft.tags);
    assert!(draft.extensions.iter().all(|(name, value)| again.extensions[name] == *value));
}

#[test]
fn a_time_is_kept_as_it_was_written_where_it_is_not_kept_exactly() {
    let read =
        |time: &str| from_cloud_event(&format!(r#"{{"specversion":"1.0","type":"t","time":"{time}"}}"#)).unwrap();
    for (time, printed, kept) in [
        ("2026-01-02T03:04:05.123456Z", "2026-01-02T03:04:05.123456Z", None),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z", None),
        ("2026-01-02T03:04:05.1234567Z", "2026-01-02T03:04:05.123456Z", Some("2026-01-02T03:04:05.1234567Z")),
        ("2026-01-02T03:04:05.123456789Z", "2026-01-02T03:04:05.123456Z", Some("2026-01-02T03:04:05.123456789Z")),
        ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05Z", Some("2026-01-02T03:04:05+02:00")),
    ] {
        let out = out(&read(time));
        assert_eq!(out["time"], printed);
        assert_eq!(out.get("origintime").and_then(Value::as_str), kept);
        let again = from_cloud_event(&out.to_string()).unwrap();
        assert_eq!(again.extensions.get("origintime").and_then(ExtensionValue::as_text), kept, "an export keeps it");
    }
}

#[test]
fn a_time_that_no_cloud_event_can_have_is_not_printed_as_one() {
    for micros in [i64::MAX, i64::MIN, 253_402_300_800_000_000] {
        let out = out(&Draft::new("t", "").time(Timestamp::from_micros(micros)));
        assert!(out.get("time").is_none(), "{out}");
        assert_eq!(out["antiphontimemicros"], micros.to_string());
    }
}

#[test]
fn names_of_extensions_are_turned_into_lower_case_on_request() {
    let line = r#"{"specversion":"1.0","type":"t","methodName":"storage.objects.create","data":1}"#;
    let error = from_cloud_event(line).unwrap_err().to_string();
    for part in ["`methodName`", "`storage.objects.create`", "lower-case letters"] {
        assert!(error.contains(part), "{error}");
    }
    let options = CloudEventOptions { lowercase_extensions: true };
    let draft = read_cloud_event(line, options).unwrap();
    assert_eq!(draft.extensions["methodname"], "storage.objects.create".into());
    let both = r#"{"specversion":"1.0","type":"t","methodName":"a","methodname":"b"}"#;
    assert!(read_cloud_event(both, options).unwrap_err().to_string().contains("`methodname` occurs twice"));
}

#[test]
fn each_fault_is_named() {
    let error = |json: &str| crate::causes::WithCauses(&from_cloud_event(json).unwrap_err()).to_string();
    let event = |rest: &str| error(&format!(r#"{{"specversion":"1.0","type":"t",{rest}}}"#));
    for text in ["[1]", "{", "1", "{} {}"] {
        assert!(error(text).contains("not a JSON object"), "{text}");
    }
    assert!(error(r#"{"type":"t"}"#).contains("`specversion` is missing"));
    assert!(error(r#"{"specversion":"0.3","type":"t"}"#).contains("1.0"));
    assert!(error(r#"{"specversion":"1.0"}"#).contains("`type` is missing"));
    assert!(error(r#"{"specversion":"1.0","type":5}"#).contains("must be a string"));
    assert!(event(r#""time":"now""#).contains("`now` is not an RFC 3339"));
    assert!(event(r#""time":"2026-06-30T23:59:60Z""#).contains("seconds end at 59"));
    assert!(event(r#""data_base64":"*""#).contains("base 64"));
    assert!(event(r#""data_base64":1"#).contains("string"));
    assert!(event(r#""data":1,"data_base64":"""#).contains("exclude"));
    assert!(event(r#""datacontenttype":"text/plain","data":1"#).contains("JSON"));
    assert!(event(r#""datacontenttype":"xyz""#).contains("media type"));
    assert!(event(r#""datacontenttype":"""#).contains("media type"));
    for schema in ["", "order.json", "a b:c", ":x", "http:"] {
        assert!(event(&format!(r#""dataschema":"{schema}""#)).contains("absolute URI"), "{schema}");
    }
    let nested = event(r#""nested":{"a":1}"#);
    assert!(nested.contains("`nested`") && nested.contains(r#"`{\"a\":1}`"#), "{nested}");
    assert!(event(r#""half":"\ud800""#).contains("`half`"));
    for twice in [r#""data":1,"data":2"#, r#""x":"1","\u0078":"2""#, r#""type":"u""#, r#""id":null,"id":null"#] {
        assert!(event(twice).contains("occurs twice"), "{twice}");
    }
    let many: Vec<_> = (0..110).map(|n| format!(r#""x{n}":"{n}""#)).collect();
    assert!(event(&many.join(",")).contains("more than 96"));
    let mut draft = Draft::new("t", "");
    draft.extensions.insert("Upper".into(), "v\u{202e}".into());
    let error = draft.check().unwrap_err().to_string();
    assert!(error.contains("extension `Upper` (value `v\\u{202e}`)") && error.contains("lower-case"), "{error}");
}
