//! `antiphon doctor`.

use std::path::Path;

use antiphon_node::preflight::{self, Finding, Level};
use anyhow::{Result, bail};
use console::style;
use serde_json::json;

use super::show;

pub(super) async fn run(file: &Path, json: bool) -> Result<()> {
    let findings = preflight::run(file).await;
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (failed, warned) = (count(Level::Fail), count(Level::Warn));
    if json {
        show::line(&json!({ "ok": failed == 0, "findings": findings }).to_string())?;
    } else {
        findings.iter().try_for_each(tell)?;
    }
    match (failed, warned) {
        (0, _) if json => Ok(()),
        (0, 0) => show::line("nothing is wrong"),
        (0, _) => show::line(&format!("nothing is broken; {warned} to look at")),
        _ => bail!("{failed} broken, {warned} more to look at"),
    }
}

fn tell(finding: &Finding) -> Result<()> {
    let mark = match finding.level {
        Level::Ok => style("ok  ").green(),
        Level::Warn => style("warn").yellow(),
        Level::Fail => style("FAIL").red().bold(),
    };
    show::line(&format!("{mark}  {}: {}", finding.check, finding.says))?;
    finding.remedy.iter().try_for_each(|remedy| show::line(&format!("      {remedy}")))
}
