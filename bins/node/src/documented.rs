//! Documents that the code writes.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Held from reading a document to writing it: tests run in parallel, and several write parts of one document.
static DOCUMENTS: Mutex<()> = Mutex::new(());

/// Compares a part of a document, between `<!-- NAME -->` and `<!-- /NAME -->`, with what the code says it should be. With
/// ANTIPHON_WRITE_DOCS=1 it is written there instead.
pub(crate) fn check(file: &str, name: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file);
    let found = part(&path, name, std::env::var_os("ANTIPHON_WRITE_DOCS").map(|_| expected));
    assert_eq!(found, expected, "docs/{file} is not what the code says: run this test with ANTIPHON_WRITE_DOCS=1");
}

/// Returns a part of a document, after it was replaced if there is a replacement.
fn part(path: &Path, name: &str, replacement: Option<&str>) -> String {
    let _one = DOCUMENTS.lock().unwrap_or_else(PoisonError::into_inner);
    let text = std::fs::read_to_string(path).expect("the document can be read");
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = text.split_once(&begin).expect("the part begins");
    let (found, after) = rest.split_once(&end).expect("the part ends");
    let Some(replacement) = replacement else { return found.to_owned() };
    std::fs::write(path, format!("{before}{begin}{replacement}{end}{after}")).expect("the document can be written");
    replacement.to_owned()
}

#[test]
fn parts_of_one_document_that_are_written_at_once_are_all_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, names) = (dir.path().join("page.md"), ["a", "b", "c", "d"]);
    let empty = names.map(|name| format!("<!-- {name} -->\n<!-- /{name} -->\n")).concat();
    std::fs::write(&path, empty).expect("a document");
    for round in 0..50 {
        let text = format!("{round}\n");
        std::thread::scope(|scope| {
            for name in names {
                let (path, text) = (&path, &text);
                scope.spawn(move || part(path, name, Some(text)));
            }
        });
        for name in names {
            assert_eq!(part(&path, name, None), text, "{name}");
        }
    }
}
