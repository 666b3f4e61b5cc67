//! Commands that print events. Their texts come as they are and go out so: they are never parsed whole.

use std::borrow::Cow;
use std::path::Path;

use anyhow::{Result, bail};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::show;
use antiphon_node::admin::Backend;
use antiphon_node::node::Ask;
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
        let printed = show::json(&self.gathered);
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
            let mut take = |_: &Value, text: String| printer.push(&text);
            backend.ask_for_events(Ask::ForkEvidence { skip, limit: limit - skip }, &mut take).await?;
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
            let mut take = |_: &Value, text: String| printer.push(&text);
            let ask = Ask::View { subject: subject.clone(), after };
            let page = backend.ask_for_events(ask, &mut take).await?;
            printer.print()?;
            if let (Some(subject), 0) = (&subject, printer.count) {
                bail!("no event has the subject `{subject}`");
            }
            after = page["next"].as_str().map(str::to_owned);
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
struct Conflicts {
    json: bool,
    /// Of the conflict at hand: which it is, and how many of its events were printed.
    at: usize,
    printed: u64,
    /// The JSON of its events so far.
    events: String,
}

impl Conflicts {
    fn push(&mut self, all: &Value, text: &str) -> Result<()> {
        let conflict = &all[self.at];
        let subject = conflict["subject"].as_str().unwrap_or_default();
        if self.json {
            self.events.push_str(if self.printed == 0 { "" } else { "," });
            self.events.push_str(text);
        } else {
            if self.printed == 0 {
                let word = show::shell_word(subject);
                show::line(&format!("{}: `antiphon resolve {word} --take ID`, or --data", terminal::line(subject)))?;
            }
            show::line(&serde_json::from_str::<Shown<'_>>(text)?.line())?;
        }
        self.printed += 1;
        if conflict["events"].as_u64() == Some(self.printed) {
            let (subject, more) = (json!(subject), &conflict["more"]);
            if self.json {
                show::json(&format!("{{\"events\":[{}],\"more\":{more},\"subject\":{subject}}}\n", self.events))?;
            } else if let Some(1..) = more.as_u64() {
                show::line(&format!("  and {more} more, which are listed once these are resolved"))?;
            }
            *self = Self { json: self.json, at: self.at + 1, printed: 0, events: String::new() };
        }
        Ok(())
    }
}

pub(super) async fn conflicts(file: &Path, json: bool) -> Result<()> {
    let mut backend = Backend::reach_and_warn(file).await?;
    let mut conflicts = Conflicts { json, at: 0, printed: 0, events: String::new() };
    let mut take = |all: &Value, text: String| conflicts.push(all, &text);
    let answer = backend.ask_for_events(Ask::Conflicts, &mut take).await;
    backend.close().await;
    if answer?.as_array().is_none_or(Vec::is_empty) && !json {
        show::line("no conflicts")?;
    }
    Ok(())
}
