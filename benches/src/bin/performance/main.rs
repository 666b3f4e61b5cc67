//! Runs the set of `antiphon-bench` and writes what it measured into `docs/performance.md`, between its marks, and the plots
//! beside it. `make bench` calls it.

mod page;
mod plot;
mod rows;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use page::Page;
use plot::{Line, plot};
use rows::{Row, bench, number, text};

/// What went wrong, for people.
type Fault = Box<dyn std::error::Error>;

const USAGE: &str = "usage: performance BENCH DOCS [short]\n  BENCH     the program antiphon-bench, at full optimisation\n  \
                     DOCS      the folder with performance.md\n  short     little of everything, to see that it works";

const REPLICATE: &[&str] = &[
    "transport",
    "round",
    "events",
    "events/s",
    "MB/s",
    "of RocksDB",
    "RocksDB events/s",
    "wire B/event",
    "serving CPU s",
    "pulling CPU s",
    "serving MiB",
    "pulling MiB",
];
const GROUPS: &[&str] = &["transport", "writers", "events/append", "events", "events/s", "of RocksDB", "wire B/event"];
const DISK: &[&str] = &["writers", "events/append", "events", "disk B/event"];
const IDLE: &[&str] =
    &["transport", "peers", "pulling: % of a core", "KiB/peer", "answering: % of a core", "KiB/peer there"];
const MESH: &[&str] = &["transport", "cortexes", "events", "transfers/event", "events/s everywhere", "wire B/transfer"];

/// How much each bench does.
struct Set {
    events: &'static str,
    rounds: &'static str,
    long: &'static str,
    depths: &'static str,
    peers: &'static str,
    seconds: &'static str,
    mesh: &'static str,
    /// Bytes in an event, and how many of them.
    sizes: &'static [(&'static str, &'static str)],
    clocks: &'static [&'static str],
    /// How many writers, how many events in an append of theirs, and how many events.
    groups: &'static [(&'static str, &'static str, &'static str)],
    /// The same, for bytes on the disk.
    disk: &'static [(&'static str, &'static str, &'static str)],
}

const WHOLE: Set = Set {
    events: "1000000",
    rounds: "3",
    long: "10000000",
    depths: "10000,100000,1000000,10000000",
    peers: "10,100,1000",
    seconds: "30",
    mesh: "500",
    sizes: &[
        ("64", "1000000"),
        ("256", "1000000"),
        ("1024", "400000"),
        ("16384", "25000"),
        ("131072", "3000"),
        ("1000000", "400"),
    ],
    clocks: &["3", "16", "64", "250"],
    groups: &[
        ("1", "1", "200000"),
        ("1", "16", "1000000"),
        ("1", "256", "1000000"),
        ("16", "1", "200000"),
        ("16", "16", "1000000"),
        ("250", "1", "200000"),
        ("250", "16", "1000000"),
    ],
    disk: &[
        ("1", "1", "200000"),
        ("16", "1", "100000"),
        ("250", "1", "100000"),
        ("1", "256", "300000"),
        ("16", "16", "300000"),
        ("250", "16", "300000"),
    ],
};

const SHORT: Set = Set {
    events: "5000",
    rounds: "1",
    long: "20000",
    depths: "2000,5000",
    peers: "3",
    seconds: "1",
    mesh: "5",
    sizes: &[("64", "2000"), ("1024", "2000")],
    clocks: &["3"],
    groups: &[("1", "1", "2000"), ("16", "3", "2000")],
    disk: &[("1", "1", "2000")],
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (program, docs, set) = match &arguments[..] {
        [program, docs] => (program, docs, WHOLE),
        [program, docs, short] if short == "short" => (program, docs, SHORT),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match measure(Path::new(program), &PathBuf::from(docs), &set) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("performance: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(program: &Path, docs: &Path, set: &Set) -> Result<(), Fault> {
    let mut page = Page::read(&docs.join("performance.md"))?;
    let plots = docs.join("performance");
    std::fs::create_dir_all(&plots)?;
    page.put("machine", &rows::machine())?;
    let run = |args: &[&str]| bench(program, args);

    let headline = run(&["replicate", "--events", set.events, "--rounds", set.rounds])?;
    page.table("replicate", REPLICATE, &headline)?;
    let relaxed = run(&["replicate", "--events", set.events, "--relaxed"])?;
    page.table("relaxed", REPLICATE, &relaxed)?;

    let mut sizes = Vec::new();
    for (size, events) in set.sizes {
        sizes.extend(run(&["replicate", "--events", events, "--size", size])?);
    }
    page.table("sizes", &["transport", "bytes", "events", "events/s", "MB/s", "of RocksDB", "pulling MiB"], &sizes)?;
    plot(&plots.join("sizes.svg"), "Event size", "bytes in an event", "MB/s", &lines(&sizes, "bytes", "MB/s"))?;

    let mut clocks = Vec::new();
    for cortexes in set.clocks {
        clocks.extend(run(&["replicate", "--events", set.events, "--cortexes", cortexes])?);
    }
    page.table("clocks", &["transport", "cortexes", "events/s", "of RocksDB", "wire B/event"], &clocks)?;

    let mut groups = Vec::new();
    for (writers, group, events) in set.groups {
        groups.extend(run(&["replicate", "--events", events, "--writers", writers, "--group", group])?);
    }
    page.table("groups", GROUPS, &groups)?;

    let mut disk = Vec::new();
    for (writers, group, events) in set.disk {
        let args = ["--events", events, "--writers", writers, "--group", group, "--transport", "quic"];
        disk.extend(run(&[&["replicate"][..], &args].concat())?);
    }
    page.table("disk", DISK, &disk)?;

    let depth = run(&["depth", "--events", set.depths])?;
    page.table("depth", &["events in the log", "fetch of the last 1,000, ms", "beside the shortest"], &depth)?;
    let line = |name: &str, x: &str, y: &str, of: &[Row]| Line {
        name: name.to_owned(),
        points: of.iter().map(|row| (number(row, x), number(row, y))).collect(),
    };
    let points = line("a fetch of 1,000 events", "events in the log", "fetch of the last 1,000, ms", &depth);
    plot(&plots.join("depth.svg"), "Length of the log", "events in the log", "ms a fetch", &[points])?;

    let catchup = run(&["catchup", "--events", set.long])?;
    page.table("catchup", &["transport", "events read", "most MiB so far"], &catchup)?;
    let read: Vec<Row> = catchup.iter().filter(|row| !text(row, "transport").contains("peak")).cloned().collect();
    let points = line("the node that reads", "events read", "most MiB so far", &read);
    plot(&plots.join("memory.svg"), "A long log read from its beginning", "events read", "MiB", &[points])?;

    let idle = run(&["idle", "--peers", set.peers, "--seconds", set.seconds])?;
    page.table("idle", IDLE, &idle)?;
    page.table("mesh", MESH, &run(&["mesh", "--events", set.mesh])?)?;
    page.table("latency", &["transport", "durability", "p50 ms", "p95 ms", "p99 ms", "events"], &run(&["latency"])?)?;
    page.table("replay", &["work", "events", "seconds", "events/s"], &run(&["replay", "--events", set.events])?)?;
    page.write()
}

/// One line a transport.
fn lines(rows: &[Row], x: &str, y: &str) -> Vec<Line> {
    let of = |transport: &str| Line {
        name: transport.to_owned(),
        points: rows
            .iter()
            .filter(|r| text(r, "transport") == transport)
            .map(|r| (number(r, x), number(r, y)))
            .collect(),
    };
    vec![of("quic"), of("https")]
}
