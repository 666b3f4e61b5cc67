//! A process killed in the middle of its commits: what it had acknowledged is there, every batch is whole.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use antiphon_kernel::store::Durability;
use antiphon_storage::{Options, RocksStore};

use crate::files::{EXISTING, commit, count, open};

const CHILD: &str = "ANTIPHON_TEST_COMMITS_UNTIL_KILLED";

#[test]
fn a_killed_process_leaves_whole_batches() {
    if let Some(dir) = std::env::var_os(CHILD) {
        commit_until_killed(dir.as_ref());
    }
    let dir = tempfile::tempdir().unwrap();
    let mut least = 0;
    for round in 1..=6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::a_killed_process_leaves_whole_batches", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let acked = lines.filter_map(|line| line.strip_prefix("acked ")?.parse::<u32>().ok());
        let seen = acked.inspect(|number| least = *number).take(40 * round).count();
        assert_eq!(seen, 40 * round, "the child ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        let there = count(&RocksStore::open_with(dir.path(), EXISTING).unwrap()).unwrap();
        assert!(there >= least, "round {round}: {there} batches are there, {least} were acknowledged");
        least = there;
    }
}

fn commit_until_killed(dir: &std::path::Path) -> ! {
    drop(open(dir));
    // Flushes as often as can be: a kill may fall into one.
    let mut options = Options::default();
    options.write_buffer_bytes = 0;
    let store = RocksStore::open_with(dir, options).unwrap();
    let mut number = count(&store).unwrap();
    println!();
    loop {
        number += 1;
        commit(&store, number, if number.is_multiple_of(8) { Durability::Sync } else { Durability::Relaxed });
        println!("acked {number}");
        std::io::stdout().flush().unwrap();
    }
}
