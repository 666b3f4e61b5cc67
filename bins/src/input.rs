//! NDJSON in: one CloudEvent a line, appended in batches.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use indicatif::ProgressBar;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader};

use crate::admin::Backend;
use crate::node::Ask;

const BATCH_EVENTS: usize = 512;
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Lines from a file, or from standard input where it is `-`.
pub(crate) async fn lines(file: &Path) -> Result<Box<dyn AsyncBufRead + Unpin + Send>> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(tokio::io::stdin())));
    }
    let handle = tokio::fs::File::open(file).await.with_context(|| format!("{} could not be read", file.display()))?;
    Ok(Box::new(BufReader::new(handle)))
}

/// Appends every line. At the first bad line it stops: what came before is kept, and the error says how many.
pub(crate) async fn import(
    reader: Box<dyn AsyncBufRead + Unpin + Send>,
    backend: &mut Backend,
    bar: &ProgressBar,
) -> Result<u64> {
    let mut import = Import { backend, bar, done: 0, waiting: Vec::new(), bytes: 0 };
    let mut lines = reader.lines();
    let mut number = 0_u64;
    loop {
        number += 1;
        let line = match lines.next_line().await {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error) => {
                import.flush().await?;
                bail!("line {number}: {error}; the {} events before it are kept", import.done);
            }
        };
        if line.trim().is_empty() {
            continue;
        }
        import.bytes += line.len();
        import.waiting.push((number, line));
        if import.waiting.len() >= BATCH_EVENTS || import.bytes >= BATCH_BYTES {
            import.flush().await?;
        }
    }
    import.flush().await?;
    Ok(import.done)
}

struct Import<'a> {
    backend: &'a mut Backend,
    bar: &'a ProgressBar,
    done: u64,
    waiting: Vec<(u64, String)>,
    bytes: usize,
}

impl Import<'_> {
    async fn flush(&mut self) -> Result<()> {
        self.bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() {
            return Ok(());
        }
        let answer = self.append(&waiting).await?;
        let Some(at) = answer.get("refused").and_then(serde_json::Value::as_u64) else {
            return self.count(waiting.len());
        };
        // The batch was refused whole: append what came before the bad line, then say which it was.
        let at = usize::try_from(at)?;
        let good = &waiting[..at];
        if !good.is_empty() {
            self.append(good).await?;
            self.count(good.len())?;
        }
        let reason = answer["error"].as_str().unwrap_or("refused");
        bail!(
            "line {}: {reason}; the {} events before it are kept, nothing after it was read",
            waiting[at].0,
            self.done
        )
    }

    async fn append(&mut self, lines: &[(u64, String)]) -> Result<serde_json::Value> {
        let events = lines.iter().map(|line| line.1.clone()).collect();
        let kept = self.done;
        self.backend.ask(Ask::Append { events }).await.with_context(|| format!("after {kept} events, which are kept"))
    }

    fn count(&mut self, events: usize) -> Result<()> {
        self.done += u64::try_from(events)?;
        self.bar.set_position(self.done);
        Ok(())
    }
}
