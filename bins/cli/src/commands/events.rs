//! Commands that print events. Their texts come as they are and go out so: they are never parsed whole.

use std::borrow::Cow;
use std::path::Path;

use anyhow::{Result, bail};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::output::{json as print_json, json_line, line, shell_word};
use antiphon_node::api::{Reply, Request};
use antiphon_node::reply::{ConflictReport, Conflicts, Done, LatestPage};
use antiphon_node::socket::Backend;
use antiphon_node::terminal;

/// How much is gathered before it is printed.
const GATHERED: usize = 64 * 1024;
/// How many characters of an event's data a list of conflicts shows.
const SHOWN: usize = 60;

/// Prints texts of events, one a line.
#[derive(Default)]
pub(super) struct Printer {
    gathered: String,
    pub(super) count: u64,
}

impl Printer {
    pub(super) fn push(&mut self, text: &str) -> Result<()> {
        self.count += 1;
        self.gathered.push_str(text);
        self.gathered.push('\n');
        if self.gathered.len() < GATHERED { Ok(()) } else { self.print() }
    }

    pub(super) fn print(&mut self) -> Result<()> {
        let printed = print_json(&self.gathered);
        self.gathered.clear();
        printed
    }
}

pub(super) async fn evidence(file: &Path, limit: usize) -> Result<()> {
    let mut backend = Backend::reach_and_warn(file).await?;
    let result = async {
        let mut skip = 0;
        loop {
            let mut printer = Printer::default();
            let mut take = |_: &Reply, text: String| printer.push(&text);
            let request = Request::ForkEvidence { skip, limit: limit - skip };
            backend.ask_for_events::<Done>(request, &mut take).await?;
            printer.print()?;
            if printer.count == 0 {
                return Ok(());
            }
            skip += usize::try_from(printer.count)?;
        }
    };
    let result: Result<()> = result.await;
    backend.close().await;
    result
}

pub(super) async fn view(file: &Path, subject: Option<String>) -> Result<()> {
    let mut backend = Backend::reach_and_warn(file).await?;
    let result = async {
        let mut after = None;
        loop {
            let mut printer = Printer::default();
            let mut take = |_: &Reply, text: String| printer.push(&text);
            let request = Request::View { subject: subject.clone(), after };
            let page: LatestPage = backend.ask_for_events(request, &mut take).await?;
            printer.print()?;
            if let (Some(subject), 0) = (&subject, printer.count) {
                bail!("no event has the subject `{subject}`");
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    };
    let result: Result<()> = result.await;
    backend.close().await;
    result
}

/// What a list of conflicts shows of an event.
#[derive(Deserialize)]
struct Shown<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    data_base64: Option<&'a RawValue>,
}

impl Shown<'_> {
    fn line(&self) -> String {
        let data = self.data.or(self.data_base64).map(RawValue::get).unwrap_or_default();
        let text = data.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(data);
        let data: String = text.chars().take(SHOWN).collect();
        let time = self.time.as_deref().unwrap_or("-");
        format!("  {}  {time}  {}  {}", self.id, terminal::line(&self.event_type), terminal::line(&data))
    }
}

/// Puts the texts of events under the subjects that they belong to, in order.
struct Printing {
    json: bool,
    /// The conflict at hand.
    at: usize,
    /// Number of its events so far.
    count: usize,
    /// Their texts, for JSON.
    texts: Vec<String>,
}

impl Printing {
    fn push(&mut self, conflicts: &Conflicts, text: String) -> Result<()> {
        let Some(conflict) = conflicts.0.get(self.at) else { bail!("the node sent an event of no conflict") };
        let (subject, more) = (conflict.subject.as_str(), conflict.more);
        if !self.json {
            if self.count == 0 {
                let word = shell_word(subject);
                line(&format!("{}: `antiphon resolve {word} --take ID`, or --data", terminal::line(subject)))?;
            }
            line(&serde_json::from_str::<Shown<'_>>(&text)?.line())?;
        } else {
            self.texts.push(text);
        }
        self.count += 1;
        if self.count < conflict.events {
            return Ok(());
        }
        let texts = std::mem::take(&mut self.texts);
        (self.at, self.count) = (self.at + 1, 0);
        if self.json {
            let events = texts.iter().map(|text| serde_json::from_str::<&RawValue>(text));
            return json_line(&ConflictReport { events: events.collect::<Result<_, _>>()?, more, subject });
        }
        if more > 0 {
            line(&format!("  and {more} more, which are listed once these are resolved"))?;
        }
        Ok(())
    }
}

pub(super) async fn conflicts(file: &Path, json: bool) -> Result<()> {
    let mut backend = Backend::reach_and_warn(file).await?;
    let mut printing = Printing { json, at: 0, count: 0, texts: Vec::new() };
    let mut take = |reply: &Reply, text: String| match reply {
        Reply::Conflicts(conflicts) => printing.push(conflicts, text),
        _ => bail!("the node sent an event of no conflict"),
    };
    let answer = backend.ask_for_events::<Conflicts>(Request::Conflicts, &mut take).await;
    backend.close().await;
    if answer?.0.is_empty() && !json {
        line("no conflicts")?;
    }
    Ok(())
}
