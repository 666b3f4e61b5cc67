//! The facade re-exports everything that the kernel has at its root.

use std::collections::BTreeSet;

/// The names that a `lib.rs` re-exports from modules of its crate or from the kernel's root.
fn reexported(source: &str) -> BTreeSet<&str> {
    let paths = source.split("\npub use ").skip(1).filter_map(|text| text.split_once(';')).map(|(path, _)| path);
    let names = paths.flat_map(|path| path.split(['{', '}', ',']).map(str::trim));
    names.filter_map(|name| name.rsplit("::").next()).filter(|name| !name.is_empty()).collect()
}

#[test]
fn what_is_at_the_root_of_the_kernel_is_at_the_root_of_the_facade() {
    let kernel = reexported(include_str!("../../../../kernel/src/lib.rs"));
    let facade = reexported(include_str!("../../src/lib.rs"));
    assert!(kernel.contains("Cortex"), "the kernel's lib.rs is not read as it is written: {kernel:?}");
    let missing: Vec<_> = kernel.difference(&facade).collect();
    assert!(missing.is_empty(), "not re-exported by bins/antiphon/src/lib.rs: {missing:?}");
}
