//! What the crate re-exports at its root has an example in its docs, which a doctest compiles and runs.

use std::fs;
use std::path::Path;

/// The names that `lib.rs` re-exports at the root.
fn reexported() -> Vec<String> {
    let source = include_str!("../../src/lib.rs");
    let paths = source.split("\npub use ").skip(1).filter_map(|text| text.split_once(';')).map(|(path, _)| path);
    let names = paths.flat_map(|path| path.split(['{', '}', ',']).map(str::trim).filter(|name| !name.is_empty()));
    let names = names.filter(|name| !name.ends_with("::")).filter_map(|name| name.rsplit("::").next());
    names.map(str::to_owned).collect()
}

/// Every source file of the kernel below a folder, as lines.
fn sources(folder: &Path, found: &mut Vec<Vec<String>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push(fs::read_to_string(path).unwrap().lines().map(|line| line.trim().to_owned()).collect());
        }
    }
}

/// The docs of what is defined on a line: the comment above it, between attributes.
fn docs(lines: &[String], defined: usize) -> Vec<&str> {
    let above = lines[..defined].iter().rev().take_while(|line| line.starts_with("///") || line.starts_with("#["));
    let mut docs: Vec<_> = above.filter_map(|line| line.strip_prefix("///")).map(str::trim).collect();
    docs.reverse();
    docs
}

/// Whether a doctest is made of a code block in these docs. Every other fence ends a block.
fn has_example(docs: &[&str]) -> bool {
    let fences = docs.iter().filter(|line| line.starts_with("```"));
    fences.step_by(2).any(|begin| matches!(*begin, "```" | "```no_run"))
}

/// Whether a line defines this item, as itself or as the argument of a macro that defines it.
fn defines(line: &str, name: &str) -> bool {
    let kinds = ["pub struct ", "pub enum ", "pub trait ", "pub type "];
    let rest = match kinds.iter().find_map(|kind| line.strip_prefix(kind)) {
        Some(defined) => defined.strip_prefix(name),
        None => line.strip_prefix(name).filter(|rest| matches!(*rest, "" | " {")),
    };
    rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_'))
}

#[test]
fn every_item_at_the_root_has_an_example_that_is_compiled() {
    let names = reexported();
    assert!(names.len() > 40, "lib.rs re-exports {names:?}: is it read as it is written?");
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let mut without = Vec::new();
    for name in names {
        let definitions = files.iter().flat_map(|lines| (0..lines.len()).map(move |at| (lines, at)));
        let documented = definitions
            .filter(|&(lines, at)| defines(&lines[at], &name))
            .map(|(lines, at)| docs(lines, at))
            .filter(|docs| !docs.is_empty())
            .collect::<Vec<_>>();
        assert!(!documented.is_empty(), "{name} is re-exported, and no documented definition of it was found");
        if !documented.iter().any(|docs| has_example(docs)) {
            without.push(name);
        }
    }
    assert!(without.is_empty(), "without an example in their docs: {without:?}");
}
