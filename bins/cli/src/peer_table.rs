//! The peers of a status as a table that fits the terminal.

use antiphon_kernel::condition::Condition;
use antiphon_kernel::time::Timestamp;
use antiphon_node::reply::{Peer, Status};
use antiphon_node::terminal::printable;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use console::style;

/// The text of a peer in one column, as of a time; `None` where it is unknown.
type Cell = fn(&Peer, Timestamp) -> Option<String>;

/// The columns. Those at the end are left out first if the terminal is narrow.
const COLUMNS: [(&str, Cell); 8] = [
    ("peer", |peer, _| Some(peer.name.to_string())),
    ("state", |peer, _| peer.state.map(|state| state.as_str().to_owned())),
    ("lag", |peer, _| peer.lag_events.map(|events| events.to_string())),
    ("behind", |peer, _| peer.lag_seconds.map(|seconds| format!("{seconds:.1} s"))),
    ("last seen", |peer, now| peer.last_seen.map(|at| ago(at, now))),
    ("holds own", |peer, _| peer.holds_own_events.map(|events| events.to_string())),
    // The cortex that the name is pinned to: a first contact decides. An operator who compares it with what that node reports
    // about itself knows that it was the right one.
    ("pinned cortex", |peer, _| peer.cortex_id.map(|id| id.to_string())),
    ("endpoint", |peer, _| Some(printable(&peer.endpoint))),
];
/// The columns that are always shown.
const LEAST: usize = 3;

/// How long ago `at` was, as of `now`, in its largest unit.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.saturating_since(at).as_secs();
    let (count, unit) = match seconds {
        ..60 => (seconds, "s"),
        60..3600 => (seconds / 60, "min"),
        3600..86_400 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "d"),
    };
    format!("{count} {unit} ago")
}

/// The lines of the table: the header, and one for each peer. Where there is a width, the last columns that do not fit it are
/// left out.
fn lines(peers: &[Peer], now: Timestamp, width: Option<usize>) -> Vec<String> {
    let draw = |columns: usize| {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header(COLUMNS[..columns].iter().map(|(name, _)| *name));
        for peer in peers {
            let cell = |fill: Cell| fill(peer, now).unwrap_or("-".to_owned());
            table.add_row(COLUMNS[..columns].iter().map(|(_, fill)| cell(*fill)));
        }
        table.to_string().lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>()
    };
    let fits = |lines: &[String]| {
        width.is_none_or(|width| lines.iter().all(|line| console::measure_text_width(line) <= width))
    };
    let mut columns = COLUMNS.len();
    loop {
        let lines = draw(columns);
        if columns <= LEAST || fits(&lines) {
            return lines;
        }
        columns -= 1;
    }
}

/// The same, each row in the colour of its peer's state. Codes within cells would count as width.
pub(crate) fn coloured(status: &Status, width: Option<usize>) -> impl Iterator<Item = String> {
    lines(&status.peers, status.now, width).into_iter().enumerate().map(|(at, row)| {
        let peer = at.checked_sub(1).and_then(|at| status.peers.get(at));
        let row = match peer.and_then(|peer| peer.state) {
            Some(Condition::Halted | Condition::Rejected) => style(row).red(),
            Some(Condition::BackingOff | Condition::NoSpace | Condition::Withheld) => style(row).yellow(),
            Some(Condition::Live | Condition::Idle) => style(row).green(),
            _ => style(row),
        };
        row.to_string()
    })
}

#[cfg(test)]
mod tests {
    use antiphon_kernel::config::PeerMode;
    use antiphon_kernel::ids::{CortexId, PeerName};

    use super::*;

    #[test]
    fn a_time_is_shown_in_its_largest_unit() {
        let age = |at: &str| ago(at.parse().unwrap(), "2026-03-02T00:00:00Z".parse().unwrap());
        let all = ["2026-03-01T23:59:59.5Z", "2026-03-01T23:58:31Z", "2026-03-01T01:00:00Z", "2026-02-26T00:00:00Z"];
        assert_eq!(all.map(age), ["0 s ago", "1 min ago", "23 h ago", "4 d ago"]);
        assert_eq!(age("2026-03-02T00:00:09Z"), "0 s ago", "clocks differ");
    }

    #[test]
    fn a_narrow_terminal_shows_fewer_columns_and_no_line_is_too_long() {
        let peer = Peer {
            state: Some(Condition::BackingOff),
            lag_events: Some(123_456),
            lag_seconds: Some(77.5),
            holds_own_events: Some(1_000_000),
            cortex_id: Some(CortexId::from_bytes([7; 16])),
            ..Peer::unknown(PeerName::new("bravo").unwrap(), "https://bravo.example:7443", PeerMode::Sync)
        };
        let header = |width| {
            let lines = lines(std::slice::from_ref(&peer), Timestamp::from_micros(0), width);
            assert_eq!(lines.len(), 2);
            let widest = lines.iter().map(|line| console::measure_text_width(line)).max().unwrap();
            assert!(width.is_none_or(|width| widest <= width), "{lines:?}");
            lines[0].clone()
        };
        assert!(header(None).ends_with("endpoint"));
        assert!(header(Some(80)).ends_with("holds own"), "{}", header(Some(80)));
        assert!(header(Some(40)).contains("lag"), "{}", header(Some(40)));
    }
}
