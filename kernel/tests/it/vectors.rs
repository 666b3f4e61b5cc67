//! `docs/vectors/` holds what the code makes. A change of these bytes is a change of a format.

#[path = "../../examples/vectors.rs"]
#[allow(dead_code, unreachable_pub)]
mod generator;

#[test]
fn the_vectors_in_the_documents_are_what_the_code_makes() {
    for (name, expected) in generator::files() {
        let found = std::fs::read_to_string(generator::folder().join(name)).unwrap_or_default();
        assert!(
            found == expected,
            "docs/vectors/{name} is not what the code makes. If a format changed on purpose, with its version: \
             cargo run -p antiphon-kernel --example vectors"
        );
    }
    let files = std::fs::read_dir(generator::folder()).unwrap().map(|entry| entry.unwrap().path());
    let listed = files.filter(|path| path.extension().is_some_and(|extension| extension == "json")).count();
    assert_eq!(listed, generator::files().len(), "each file of bytes there has a maker");
}
