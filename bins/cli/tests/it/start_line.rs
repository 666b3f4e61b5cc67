//! What a start says: which program serves which data.

use crate::support::{Place, event};

#[test]
fn one_line_names_program_and_data() {
    let place = Place::new("node: { name: alpha, data_dir: data }\nlisten: { https: 127.0.0.1:0 }\n");
    assert_eq!(place.pipe(&["import"], &(0..3).map(event).collect::<String>()).0, 0);
    let status = place.json(&["status"]);
    let serving = place.serve();
    let log = place.log();
    assert_eq!(serving.terminate(), 0);
    let line = log.lines().find(|line| line.contains("the node serves")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("INFO"), "{line}");
    let data = place.dir.path().join("data").display().to_string();
    let (id, epoch) = (status["cortex_id"].as_str().unwrap(), status["epoch"].as_str().unwrap());
    let revision = antiphon_node::REVISION;
    for (field, value) in [
        ("version", env!("CARGO_PKG_VERSION")),
        ("revision", revision),
        ("name", "alpha"),
        ("id", id),
        ("epoch", epoch),
        ("events", "3"),
        ("data_dir", &data),
    ] {
        let found = [format!("{field}={value}"), format!("{field}=\"{value}\"")].iter().any(|text| line.contains(text));
        assert!(found, "{field} is not {value}: {line}");
    }
    let (_, version, _) = place.run(&["--version"]);
    assert_eq!(version, format!("antiphon {} ({revision})\n", env!("CARGO_PKG_VERSION")));
}
