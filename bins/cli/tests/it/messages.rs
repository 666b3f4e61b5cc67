//! Every error message in the sources is in `docs/errors.md`, with what to do about it, and nothing else is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use antiphon_kernel::error_code::ErrorCode;
use antiphon_kernel::store::{StoreError, StoreErrorKind};
use antiphon_node::remedy;

/// What a message follows, in code.
const MARKERS: [&str; 11] = [
    "bail!(",
    "anyhow!(",
    ".context(",
    ".with_context(",
    "#[error(",
    "StoreError::new(",
    "StoreError::corrupt(",
    "StoreError::unreadable(",
    "TransportError::new(",
    "failure(",
    "Failure::new(",
];

/// Where messages come from, and their heading. The first that fits.
const SECTIONS: [(&str, &str); 16] = [
    ("bins/node/src/config.rs", "Configuration, keys, certificates"),
    ("bins/node/src/keys.rs", "Configuration, keys, certificates"),
    ("bins/node/src/tls.rs", "Configuration, keys, certificates"),
    ("kernel/src/config", "Configuration, keys, certificates"),
    ("bins/node/src/expiry.rs", "Configuration, keys, certificates"),
    ("kernel/src/ids", "Configuration, keys, certificates"),
    ("kernel/src/identity", "Configuration, keys, certificates"),
    ("transports", "Listeners, and what happens between nodes"),
    ("kernel/src/sync", "Listeners, and what happens between nodes"),
    ("bins", "Commands"),
    ("kernel/src/event", "Events and clocks"),
    ("kernel/src/clock", "Events and clocks"),
    ("kernel/src/codec", "Records and frames"),
    ("kernel/src/protocol.rs", "Records and frames"),
    ("storage", "Log and store"),
    ("kernel/src", "Log and store"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") && path.file_name().is_some_and(|n| n != "tests.rs") {
            found.push(path);
        }
    }
}

/// The first string in the parentheses that were just opened, its placeholders as `…`.
fn message(code: &str) -> Option<String> {
    let (mut depth, mut chars) = (1, code.chars().peekable());
    for next in chars.by_ref() {
        match next {
            '(' => depth += 1,
            ')' if depth == 1 => return None,
            ')' => depth -= 1,
            '"' => break,
            _ => {}
        }
    }
    let mut text = String::new();
    loop {
        match chars.next()? {
            '"' => break,
            '\\' => match chars.next()? {
                'n' => text.push_str("; "),
                '\n' => while chars.next_if(|next| next.is_whitespace()).is_some() {},
                other => text.push(other),
            },
            '{' if chars.next_if_eq(&'{').is_some() => text.push('{'),
            '{' => {
                while chars.next()? != '}' {}
                text.push('…');
            }
            '}' => {
                let _ = chars.next_if_eq(&'}');
                text.push('}');
            }
            other => text.push(other),
        }
    }
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// What is said in a source file, leaving out its tests, names of files and fields, and what another error says.
fn messages(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    // Examples in doc comments are no messages.
    let code: String = code.split_inclusive('\n').filter(|line| !line.trim_start().starts_with("//")).collect();
    let found = MARKERS.iter().flat_map(|marker| code.match_indices(marker));
    let said = found.filter_map(|(at, marker)| message(&code[at + marker.len()..]));
    said.filter(|text| text.split_whitespace().filter(|word| word.chars().any(char::is_alphabetic)).count() > 1)
        .collect()
}

fn in_the_sources() -> BTreeMap<String, &'static str> {
    // What every failure of a store begins with.
    let kinds = StoreErrorKind::ALL.map(|kind| (StoreError::new(kind, "…").to_string(), "Log and store"));
    let mut all = BTreeMap::from(kinds);
    for dir in ["bins/cli/src", "bins/metrics/src", "bins/node/src", "kernel/src", "storage", "transports"] {
        let mut files = Vec::new();
        sources(&root().join(dir), &mut files);
        for file in files {
            let name = file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            let aside = ["/tests/", "/testing/", "/demo.rs", "/proxy/", "/examples/"];
            if aside.iter().any(|part| name.contains(part)) {
                continue;
            }
            let (_, section) = SECTIONS.iter().find(|(part, _)| name.starts_with(part)).unwrap();
            for text in messages(&fs::read_to_string(&file).unwrap()) {
                all.entry(text).or_insert(*section);
            }
        }
    }
    all
}

/// Message and remedy of each row.
fn rows(document: &str) -> BTreeMap<String, String> {
    let row = |line: &str| {
        let (message, remedy) = line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ")?;
        Some((message.replace("\\|", "|"), remedy.trim().to_owned()))
    };
    // The codes have a table of their own, at the end.
    let messages = document.split("\n## Codes\n").next().unwrap_or_default();
    messages.lines().filter_map(row).filter(|(message, _)| message != "message").collect()
}

const HEAD: &str = "# What an error says, and what to do\n\n\
    The errors that the program and its libraries report, as found in the code. They quote errors of the system and of other libraries.\n\
    Errors of the libraries have a [code](#codes); the program prints its remedy after the error, and the log after the line.\n\
    `…` marks what varies: search for the rest of the message. Failures of an exchange with a *peer* have their own table, in\n\
    [operations.md](operations.md#why-an-exchange-fails). Exit codes: 0 done, 1 failed, 2 wrong usage. A test compares this page with the sources.\n";

const CODES: &str = "\n## Codes\n\n\
    `(AP-STORE-003)` after an error names one kind of failure in every version. No code is renumbered, and none is used again for another\n\
    failure. An error that passes on another one has the code of that one.\n\n\
    | code | error | what to do |\n|---|---|---|\n";

/// The section of the codes.
fn codes() -> String {
    let row = |code: &ErrorCode| format!("| `{code}` | {} | {} |\n", code.summary(), remedy(*code));
    CODES.to_owned() + &ErrorCode::ALL.iter().map(row).collect::<String>()
}

#[test]
fn every_error_message_has_a_remedy_in_the_documents() {
    let (file, sources) = (root().join("docs/errors.md"), in_the_sources());
    let documented = rows(&fs::read_to_string(&file).unwrap_or_default());
    if std::env::var_os("ANTIPHON_WRITE_DOCS").is_some() {
        let mut text = HEAD.to_owned();
        let mut sections: Vec<_> = SECTIONS.iter().map(|(_, section)| *section).collect();
        sections.sort_by_key(|section| SECTIONS.iter().position(|(_, one)| one == section));
        sections.dedup();
        for section in sections {
            text.push_str(&format!("\n## {section}\n\n| message | what to do |\n|---|---|\n"));
            for (message, _) in sources.iter().filter(|(_, one)| **one == section) {
                let remedy = documented.get(message).map(String::as_str).unwrap_or_default();
                text.push_str(&format!("| {} | {remedy} |\n", message.replace('|', "\\|")));
            }
        }
        fs::write(&file, text + &codes()).unwrap();
    }
    let document = fs::read_to_string(&file).unwrap();
    assert!(document.ends_with(&codes()), "the codes of docs/errors.md differ (ANTIPHON_WRITE_DOCS=1 writes them)");
    let documented = rows(&document);
    let missing: Vec<_> = sources.keys().filter(|text| documented.get(*text).is_none_or(String::is_empty)).collect();
    assert!(missing.is_empty(), "docs/errors.md lacks (ANTIPHON_WRITE_DOCS=1 adds the rows): {missing:#?}");
    let stale: Vec<_> = documented.keys().filter(|text| !sources.contains_key(*text)).collect();
    assert!(stale.is_empty(), "docs/errors.md has what nothing says any more: {stale:#?}");
}

/// The names of the public types in a source file that are errors.
fn error_types(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut derives = false;
    for line in source.lines() {
        if line.starts_with("#[derive(") {
            derives = line.contains("Error)]");
        }
        let name = line.strip_prefix("pub enum ").or_else(|| line.strip_prefix("pub struct ")).filter(|_| derives);
        let by_hand = line.strip_prefix("impl std::error::Error for ");
        if let Some(name) = name.or(by_hand) {
            found.push(name.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned());
        }
        derives &= line.starts_with('#') || line.starts_with("    ") || line == ")]";
    }
    found
}

#[test]
fn every_public_error_of_the_libraries_has_a_code() {
    let of = |file: &str| fs::read_to_string(root().join(file)).unwrap();
    // Where an error whose type was erased gets its code.
    let erased = of("kernel/src/error_code.rs") + &of("bins/node/src/error_text.rs");
    let (mut count, mut lacking) = (0, Vec::new());
    for dir in ["kernel/src", "storage", "transports"] {
        let mut files = Vec::new();
        sources(&root().join(dir), &mut files);
        for file in files {
            let path = file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            if ["/tests/", "/testing/", "/proxy/", "/examples/"].iter().any(|part| path.contains(part)) {
                continue;
            }
            let source = fs::read_to_string(&file).unwrap();
            let types = error_types(source.split("#[cfg(test)]\nmod tests {").next().unwrap());
            count += types.len();
            lacking.extend(types.into_iter().filter(|name| {
                !source.contains("fn code(&self) -> ErrorCode")
                    || !erased.contains(&format!("::{name}")) && !erased.contains(&format!("<{name}>"))
            }));
        }
    }
    assert!(lacking.is_empty(), "no code: {lacking:?}");
    assert!(count > 40, "only {count} error types were found");
}

#[test]
fn error_types_are_found_however_they_are_written() {
    let code = "#[derive(Debug, thiserror::Error)]\n#[error(\n    \"a {0}\",\n    x\n)]\npub struct A(u8);\n\
        #[derive(Debug)]\npub enum Value {\n}\n#[derive(Debug, thiserror::Error)]\n#[non_exhaustive]\npub enum B {\n}\n\
        impl std::error::Error for C {}\n";
    assert_eq!(error_types(code), ["A", "B", "C"]);
}

#[test]
fn messages_are_found_however_they_are_written() {
    let code = r#"
        bail!("no {thing} \
               here");
        x.with_context(|| format!("{} is {{odd}}\nhint: y", a.b()))?;
        #[error("a {0} of {}", self.text(x))]
        #[error(transparent)]
        .context("ANTIPHON_SHARED_KEY")
        anyhow!("{error}")
        #[cfg(test)]
mod tests { bail!("not this one") }"#;
    let code = code.replace("        #[cfg(test)]", "#[cfg(test)]");
    assert_eq!(messages(&code), ["no … here", "… is {odd}; hint: y", "a … of …"]);
}
