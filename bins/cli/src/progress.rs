//! Progress of long commands: a bar on standard error, with rate, total and time left. Only a terminal shows it.

use std::time::Duration;

use antiphon_node::steps::{Step, Steps, Work};
use indicatif::{ProgressBar, ProgressStyle};

/// How often a bar is drawn again: its elapsed time moves also while nothing is reported.
const DRAW_EVERY: Duration = Duration::from_millis(250);

/// What a bar counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Events,
    Entries,
    Bytes,
}

/// The text of a bar. A bar of bytes has room for a message.
const fn template(unit: Unit, is_total_known: bool) -> &'static str {
    match (unit, is_total_known) {
        (Unit::Events, true) => "{prefix:>8} {wide_bar} {pos}/{len} events, {per_sec}, {eta} left",
        (Unit::Events, false) => "{spinner} {pos} events, {per_sec}, {elapsed}",
        (Unit::Entries, true) => "{prefix:>8} {wide_bar} {pos}/{len} entries, {per_sec}, {eta} left",
        (Unit::Entries, false) => "{spinner} {pos} entries, {per_sec}, {elapsed}",
        (Unit::Bytes, true) => "{prefix:>8} {wide_bar} {bytes}/{total_bytes} {msg} {bytes_per_sec}, {eta} left",
        (Unit::Bytes, false) => "{spinner} {bytes} {msg} {bytes_per_sec}, {elapsed}",
    }
}

/// Returns a bar, or a spinner if the total is unknown. It is hidden unless it is wanted and standard error is a terminal.
pub(crate) fn bar(is_wanted: bool, name: &'static str, unit: Unit, total: Option<u64>) -> ProgressBar {
    if !is_wanted {
        return ProgressBar::hidden();
    }
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let style = ProgressStyle::with_template(template(unit, total.is_some()));
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(name);
    bar
}

/// The same, for a bar that is not one of several.
pub(crate) fn bar_alone(is_wanted: bool, name: &'static str, unit: Unit, total: Option<u64>) -> ProgressBar {
    let bar = bar(is_wanted, name, unit, total);
    if !bar.is_hidden() {
        bar.enable_steady_tick(DRAW_EVERY);
    }
    bar
}

/// How a kind of work is shown.
const fn shown(work: Work) -> (&'static str, Unit) {
    match work {
        Work::Copy => ("copy", Unit::Bytes),
        Work::Log => ("log", Unit::Events),
        Work::Store => ("store", Unit::Entries),
        Work::Other => ("work", Unit::Entries),
    }
}

/// The bar of the work that a command is doing. The bar of earlier work is cleared.
#[derive(Default)]
struct Current(Option<(Work, ProgressBar)>);

impl Current {
    fn show(&mut self, step: Step) {
        if self.0.as_ref().is_none_or(|(work, _)| *work != step.work) {
            self.clear();
            let (name, unit) = shown(step.work);
            self.0 = Some((step.work, bar_alone(true, name, unit, Some(step.total))));
        }
        if let Some((_, bar)) = &self.0 {
            bar.set_length(step.total);
            bar.set_position(step.done);
        }
    }

    fn clear(&mut self) {
        if let Some((_, bar)) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}

/// Does work, and shows its steps until it ends.
pub(crate) async fn show<T>(is_wanted: bool, steps: &Steps, work: impl Future<Output = T>) -> T {
    let (mut changes, mut current) = (steps.watch(), Current::default());
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => {
                current.clear();
                return done;
            }
            step = changes.next(), if is_wanted => current.show(step),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_of_a_bar_is_one() {
        for unit in [Unit::Events, Unit::Entries, Unit::Bytes] {
            for is_total_known in [false, true] {
                assert!(ProgressStyle::with_template(template(unit, is_total_known)).is_ok());
            }
            assert!(template(unit, true).contains("{eta} left"));
        }
    }

    #[tokio::test]
    async fn the_bar_follows_the_work() {
        let mut current = Current::default();
        current.show(Step { work: Work::Copy, done: 1, total: 10 });
        current.show(Step { work: Work::Copy, done: 4, total: 12 });
        let (_, bar) = current.0.as_ref().unwrap();
        assert_eq!((bar.position(), bar.length(), bar.prefix()), (4, Some(12), "copy".to_owned()));
        let copied = bar.clone();
        current.show(Step { work: Work::Log, done: 0, total: 7 });
        assert!(copied.is_finished());
        assert_eq!(current.0.as_ref().unwrap().1.length(), Some(7));
        let steps = Steps::default();
        assert_eq!(show(true, &steps, async { 5 }).await, 5);
    }
}
