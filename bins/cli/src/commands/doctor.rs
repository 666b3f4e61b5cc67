//! `antiphon doctor`.

use std::path::Path;

use antiphon_node::preflight;
use antiphon_node::reply::{Diagnosis, Finding, Level};
use anyhow::{Result, bail};
use console::style;

use crate::output::{json_line, line};

pub(super) async fn run(file: &Path, json: bool) -> Result<()> {
    let findings = preflight::run(file).await;
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (failed, warned) = (count(Level::Fail), count(Level::Warn));
    if json {
        json_line(&Diagnosis { ok: failed == 0, findings })?;
    } else {
        findings.iter().try_for_each(tell)?;
    }
    match (failed, warned) {
        (0, _) if json => Ok(()),
        (0, 0) => line("nothing is wrong"),
        (0, _) => line(&format!("nothing is broken; {warned} to look at")),
        _ => bail!("{failed} broken, {warned} more to look at"),
    }
}

fn tell(finding: &Finding) -> Result<()> {
    let mark = match finding.level {
        Level::Ok => style("ok  ").green(),
        Level::Warn => style("warn").yellow(),
        Level::Fail => style("FAIL").red().bold(),
    };
    line(&format!("{mark}  {}: {}", finding.check, finding.says))?;
    finding.remedy.iter().try_for_each(|remedy| line(&format!("      {remedy}")))
}
