//! Log lines of the node: a line with a code says what to do about it.

use std::fmt;

use antiphon_node::remedy::of_text;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// A format of log lines, with the remedy of each line's code at its end.
pub(crate) struct WithRemedy<F> {
    format: F,
    json: bool,
}

impl<F> WithRemedy<F> {
    /// Of lines for people.
    pub(crate) const fn human(format: F) -> Self {
        Self { format, json: false }
    }

    /// Of lines with one JSON object each.
    pub(crate) const fn json(format: F) -> Self {
        Self { format, json: true }
    }
}

/// The code of a line, once it was visited.
#[derive(Default)]
struct Code(Option<String>);

impl Visit for Code {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "code" {
            self.0 = Some(format!("{value:?}"));
        }
    }
}

/// The line with a remedy at its end.
fn joined(line: &str, remedy: &str, json: bool) -> String {
    let line = line.trim_end();
    match (line.strip_suffix('}').filter(|_| json), serde_json::to_string(remedy)) {
        (Some(members), Ok(remedy)) => format!("{members},\"remedy\":{remedy}}}\n"),
        _ => format!("{line}; {remedy}\n"),
    }
}

impl<S, N, F> FormatEvent<S, N> for WithRemedy<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut code = Code::default();
        event.record(&mut code);
        let Some(remedy) = code.0.as_deref().and_then(of_text) else {
            return self.format.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.format.format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(&joined(&line, remedy, self.json))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use antiphon_kernel::error_code::ErrorCode;
    use antiphon_node::remedy;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged() {
        tracing::error!(code = %ErrorCode::ForkFound, "two \"histories\"");
        tracing::error!("no code");
        tracing::error!(code = "AP-NEW-001", "of another version");
    }

    #[test]
    fn a_line_with_a_code_ends_with_its_remedy() {
        let lines = Lines::default();
        let to = lines.clone();
        let logs = tracing_subscriber::fmt().with_ansi(false).with_writer(move || to.clone());
        tracing::subscriber::with_default(logs.map_event_format(WithRemedy::human).finish(), logged);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let [with, without, other] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        assert!(with.ends_with(&format!("code=AP-FORK-006; {}", remedy(ErrorCode::ForkFound))), "{with}");
        assert!(without.ends_with("no code") && other.contains("of another version"), "{text}");
    }

    #[test]
    fn a_line_of_json_has_the_remedy_as_a_member() {
        let lines = Lines::default();
        let to = lines.clone();
        let logs = tracing_subscriber::fmt().json().with_writer(move || to.clone());
        tracing::subscriber::with_default(logs.map_event_format(WithRemedy::json).finish(), logged);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let values: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(values[0]["remedy"], remedy(ErrorCode::ForkFound));
        assert_eq!(values[0]["fields"]["message"], "two \"histories\"");
        assert!(values[1].get("remedy").is_none() && values[2].get("remedy").is_none(), "{text}");
    }
}
