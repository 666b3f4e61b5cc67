//! Documents that the code writes.

use std::path::Path;

/// Compares a part of a document, between `<!-- NAME -->` and `<!-- /NAME -->`, with what the code says it should be. With
/// ANTIPHON_WRITE_DOCS=1 it is written there instead.
pub(crate) fn check(file: &str, name: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file);
    let text = std::fs::read_to_string(&path).expect("the document can be read");
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = text.split_once(&begin).expect("the part begins");
    let (found, after) = rest.split_once(&end).expect("the part ends");
    if std::env::var_os("ANTIPHON_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{begin}{expected}{end}{after}")).expect("the document can be written");
    } else {
        assert_eq!(found, expected, "docs/{file} is not what the code says: run this test with ANTIPHON_WRITE_DOCS=1");
    }
}
