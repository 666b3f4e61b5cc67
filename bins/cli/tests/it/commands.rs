//! Each command that a document or a message names is one that the program has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What begins like a command and is none: words that are signed or hashed, and an example of a wrong answer.
const NOT_COMMANDS: [&str; 5] = ["cortex v1", "root key 1", "working key 1", "key 1", "inception 2"];

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|end| end == "md" || end == "rs") {
            found.push(path);
        }
    }
}

/// The words behind `antiphon` in each pair of backticks.
fn named(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter_map(|span| span.strip_prefix("antiphon "))
        .filter(|words| !NOT_COMMANDS.contains(words))
        .map(|words| words.split_whitespace().collect())
}

fn help(path: &[&str]) -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_antiphon")).args(path).arg("--help").output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// What is wrong with a command, as far as its help shows.
fn wrong<'a>(words: &[&'a str], known: &mut BTreeMap<Vec<&'a str>, Option<String>>) -> Option<String> {
    let mut path: Vec<&str> = Vec::new();
    let mut text = known.entry(Vec::new()).or_insert_with(|| help(&[])).clone()?;
    let mut rest = words.iter().copied().peekable();
    // Options of the program itself.
    while let Some(option) = rest.next_if(|word| word.starts_with('-')) {
        if !text.contains(option) {
            return Some(format!("`antiphon` has no option {option}"));
        }
        if option == "-c" {
            rest.next();
        }
    }
    // A command with commands of its own: the next word is one of them, if it is no option.
    while text.contains("\nCommands:\n")
        && let Some(word) =
            rest.next_if(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-'))
    {
        path.push(word);
        text = match known.entry(path.clone()).or_insert_with(|| help(&path)) {
            Some(text) => text.clone(),
            None => return Some(format!("there is no command `antiphon {}`", path.join(" "))),
        };
    }
    let unknown = rest.find(|word| word.starts_with("--") && word.len() > 2 && !text.contains(*word))?;
    Some(format!("`antiphon {}` has no option {unknown}", path.join(" ")))
}

#[test]
fn every_command_that_is_named_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    for dir in ["docs", "bins", "kernel/src", "storage", "transports"] {
        files(&root.join(dir), &mut found);
    }
    // This file names commands that are not there.
    found.retain(|file| !file.ends_with("tests/it/commands.rs"));
    let texts: Vec<_> = found.iter().map(|file| (file, fs::read_to_string(file).unwrap())).collect();
    let (mut known, mut count, mut faults) = (BTreeMap::new(), 0, BTreeSet::new());
    for (file, text) in &texts {
        for words in named(text) {
            count += 1;
            if let Some(fault) = wrong(&words, &mut known) {
                faults.insert(format!("{}: {fault}", file.strip_prefix(&root).unwrap().display()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(count > 150, "only {count} commands were found");
}

#[test]
fn a_command_or_option_that_is_not_there_is_found() {
    let text = "Run `antiphon verify`, then `antiphon repair`, `antiphon fork heal`, `antiphon log --forever` or \
                `antiphon -c a.yaml --loud verify`.";
    let mut known = BTreeMap::new();
    let faults: Vec<_> = named(text).filter_map(|words| wrong(&words, &mut known)).collect();
    assert_eq!(
        faults,
        [
            "there is no command `antiphon repair`",
            "there is no command `antiphon fork heal`",
            "`antiphon log` has no option --forever",
            "`antiphon` has no option --loud"
        ]
    );
}
