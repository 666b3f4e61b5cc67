//! The README's program is the one that an outside project builds.

use std::fs;
use std::path::Path;

#[test]
fn the_program_of_the_readme_is_the_one_that_is_built_outside() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = fs::read_to_string(here.join("tests/outside/src/main.rs")).unwrap();
    let program = built.split_once("\n\n").unwrap().1;
    let readme = fs::read_to_string(here.join("../../README.md")).unwrap();
    assert!(readme.contains(&format!("```rust,no_run\n{program}```")), "README.md has another program:\n{program}");
    let docs: String = program.lines().map(|line| format!("//! {line}").trim_end().to_owned() + "\n").collect();
    let lib = fs::read_to_string(here.join("src/lib.rs")).unwrap();
    assert!(lib.contains(&docs), "src/lib.rs has another program");
}
