//! Seeds of `cloud_events`: lines as producers write them, and lines that must be refused.

pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    let lines = [
        ("plain", r#"{"specversion":"1.0","id":"7","source":"/shop","type":"order.placed","data":{"n":1}}"#),
        (
            "full",
            r#"{"specversion":"1.0","id":"7","source":"/shop","type":"order.placed","subject":"orders/7","time":"2026-11-23T09:30:00.25+01:00","datacontenttype":"application/vnd.shop+json; charset=utf-8","traceparent":"00-x","sampled":true,"rate":0.5,"gone":null,"data":[1,"\u00e9",null]}"#,
        ),
        ("bytes", r#"{"specversion":"1.0","type":"t","data_base64":"AP8="}"#),
        (
            "json-as-bytes",
            r#"{"specversion":"1.0","type":"t","datacontenttype":"application/json","data_base64":"eyJhIjoxfQ=="}"#,
        ),
        ("text", r#"{"specversion":"1.0","type":"t","datacontenttype":"text/plain","data":"hi"}"#),
        ("other-text", r#"{"specversion":"1.0","type":"t","datacontenttype":"application/xml","data":"<a/>"}"#),
        ("no-data", r#"{"specversion":"1.0","type":"t","subject":"","datacontenttype":""}"#),
        ("empty-data", r#"{"specversion":"1.0","type":"t","data":"","datacontenttype":"application/json"}"#),
        ("null-data", r#"{"specversion":"1.0","type":"t","data":null}"#),
        (
            "exported",
            r#"{"specversion":"1.0","type":"t","originid":"1","originsource":"s","id":"2","source":"t","antiphonseq":"9","antiphoncounter":"3","antiphonjoined":"2026-11-23T09:30:00Z","data":{}}"#,
        ),
        (
            "large-numbers",
            r#"{"specversion":"1.0","type":"t","data":[18446744073709551615,-9223372036854775808,0.1,1e21,-0.0]}"#,
        ),
        ("number-out-of-range", r#"{"specversion":"1.0","type":"t","data":1e999}"#),
        ("half-a-surrogate", r#"{"specversion":"1.0","type":"t","data":"\ud800"}"#),
        ("keys-twice", r#"{"specversion":"1.0","type":"a","type":"b","data":{"k":1,"k":2}}"#),
        ("time-without-offset", r#"{"specversion":"1.0","type":"t","time":"2022-05-19T05:05:36"}"#),
        ("time-far", r#"{"specversion":"1.0","type":"t","time":"-009999-01-02T01:59:59Z"}"#),
        ("time-nanoseconds", r#"{"specversion":"1.0","type":"t","time":"1969-12-31T23:59:59.999999999Z"}"#),
        ("refused-name", r#"{"specversion":"1.0","type":"t","Upper":"x"}"#),
        ("refused-type", r#"{"specversion":"1.0","type":""}"#),
        ("refused-nested", r#"{"specversion":"1.0","type":"t","nested":{}}"#),
        ("refused-version", r#"{"specversion":"0.3","type":"t"}"#),
        ("refused-both", r#"{"specversion":"1.0","type":"t","data":1,"data_base64":""}"#),
        (
            "media-type-in-capitals",
            r#"{"specversion":"1.0","type":"t","datacontenttype":"Application/Vnd.X+JSON","data":[1.0]}"#,
        ),
        ("members-twice-in-data", r#"{"specversion":"1.0","type":"t","data":{"a":1,"a":18446744073709551616}}"#),
        ("extension-number", r#"{"specversion":"1.0","type":"t","n":18446744073709551616,"data":1}"#),
        (
            "line-breaks",
            "{\"specversion\":\"1.0\",\"type\":\"t\",\"datacontenttype\":\"application/json\",\"data_base64\":\"WzEsCjJdCg==\"}",
        ),
        ("time-seven-digits", r#"{"specversion":"1.0","type":"t","time":"2026-11-23T09:30:00.1234567+01:00"}"#),
        ("time-last", r#"{"specversion":"1.0","type":"t","time":"9999-12-31T23:59:59Z"}"#),
        ("refused-twice", r#"{"specversion":"1.0","type":"t","x":"1","\u0078":"2"}"#),
        ("refused-schema", r#"{"specversion":"1.0","type":"t","dataschema":""}"#),
        ("no-object", "[1]"),
        ("cut", r#"{"specversion":"1.0","type":"t","da"#),
    ];
    let mut seeds: Vec<_> = lines.iter().map(|(name, line)| ((*name).to_owned(), line.as_bytes().to_vec())).collect();
    let event = |rest: &str| format!(r#"{{"specversion":"1.0","type":"t",{rest}}}"#);
    let many: Vec<_> = (0..32).map(|n| format!(r#""x{n}":"{n}""#)).collect();
    seeds.push(("as-many-extensions-as-may-be".to_owned(), event(&many.join(",")).into_bytes()));
    // Deeper than a JSON value may be read, though not than it may be kept.
    let deep = format!(r#""data":{}{}"#, "[".repeat(200), "]".repeat(200));
    seeds.push(("deep".to_owned(), event(&deep).into_bytes()));
    let all: Vec<_> = lines.iter().map(|(_, line)| *line).collect();
    seeds.push(("a-file".to_owned(), (all.join("\r\n") + "\n\n").into_bytes()));
    seeds
}
