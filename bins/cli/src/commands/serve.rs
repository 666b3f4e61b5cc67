//! `antiphon serve`.

use std::io::IsTerminal as _;

use antiphon_node::config::NodeConfig;
use antiphon_node::terminal::LogWriter;
use anyhow::Result;
use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;
use crate::log_lines::WithRemedy;

/// Colours are for people who look at a terminal; <https://no-color.org> is honoured.
fn coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

pub(super) async fn run(config: NodeConfig, format: LogFormat) -> Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = std::io::stderr().is_terminal();
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || LogWriter::new(std::io::stderr(), terminal))
        .with_ansi(coloured());
    match format {
        LogFormat::Human => logs.map_event_format(|format| WithRemedy::human(format.with_ansi(coloured()))).init(),
        LogFormat::Json => logs.json().map_event_format(WithRemedy::json).init(),
    }
    antiphon_node::serve(config).await
}
