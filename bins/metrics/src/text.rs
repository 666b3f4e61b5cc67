//! Which series of the process belong to a scrape. The process has one recorder, and it counts for all cortexes.

use antiphon_kernel::internals::measure::CORTEX;

/// Leaves out the series of cortexes that are not named, and the headers of metrics of which no series is left.
pub(crate) fn of(rendered: &str, cortexes: &[String]) -> String {
    let kept: Vec<_> = cortexes.iter().map(|name| label(name)).collect();
    let mut text = String::with_capacity(rendered.len());
    let mut headers = Vec::new();
    for line in rendered.lines() {
        if line.starts_with('#') {
            headers.push(line);
        } else if line.is_empty() {
            headers.clear();
            if !text.is_empty() && !text.ends_with("\n\n") {
                text.push('\n');
            }
        } else if !has_label(line, &format!("{CORTEX}=\"")) || kept.iter().any(|label| has_label(line, label)) {
            for line in headers.drain(..).chain([line]) {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

/// The label as it is rendered.
fn label(cortex: &str) -> String {
    let escaped = cortex.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{CORTEX}=\"{escaped}\"")
}

/// Whether a label begins so. Inside a value each quotation mark has a backslash before it, so no value looks like a label.
fn has_label(line: &str, label: &str) -> bool {
    line.match_indices(label).any(|(at, _)| line[..at].ends_with(['{', ',']))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &str = "# HELP a says\n# TYPE a counter\na{cortex=\"alpha\",peer=\"p\"} 1\na{cortex=\"alpha2\"} 2\n\n\
                        # TYPE b counter\nb{cortex=\"alpha2\",peer=\",cortex=\\\"alpha\\\"\"} 3\n\n# TYPE c gauge\nc{xcortex=\"x\"} 4\nc 5\n\n";

    #[test]
    fn series_of_other_cortexes_are_left_out_with_their_headers() {
        let alpha = of(BOTH, &["alpha".to_owned()]);
        assert_eq!(
            alpha,
            "# HELP a says\n# TYPE a counter\na{cortex=\"alpha\",peer=\"p\"} 1\n\n# TYPE c gauge\nc{xcortex=\"x\"} 4\nc 5\n\n"
        );
        assert_eq!(of(BOTH, &["alpha".to_owned(), "alpha2".to_owned()]), BOTH);
    }

    #[test]
    fn a_name_is_compared_as_it_is_rendered() {
        let line = "a{cortex=\"a\\\"b\\\\c\"} 1\n";
        assert_eq!(of(line, &["a\"b\\c".to_owned()]), line);
        assert_eq!(of(line, &["a".to_owned()]), "");
    }
}
