//! The texts of events that follow a reply. Each is read once there is room for it in the memory budget.

use std::collections::VecDeque;

use antiphon_kernel::budget::Account;
use antiphon_kernel::ids::EventId;
use antiphon_kernel::internals::log::{OutsideKey, event_outside};
use antiphon_kernel::replay::latest::Latest;
use antiphon_kernel::service::{HeldText, PageTexts};
use anyhow::{Context as _, Result};

use super::reply::Reply;
use crate::node::Node;

/// An event whose text is answered to a command; read from the store once it is its turn.
pub(super) enum Text {
    /// An event of the log.
    Event(EventId),
    /// The newest event of a subject, in the form of `antiphon latest`.
    Latest(Latest),
    /// An event that is kept outside of the log.
    Outside(OutsideKey),
}

/// The texts of an answer.
pub struct Texts(Kind);

enum Kind {
    Each(VecDeque<Text>),
    /// A page of the log, and the number of events in it.
    Page(Box<PageTexts>, usize),
}

impl FromIterator<Text> for Texts {
    fn from_iter<I: IntoIterator<Item = Text>>(texts: I) -> Self {
        Self(Kind::Each(texts.into_iter().collect()))
    }
}

impl Texts {
    pub(super) fn page(texts: PageTexts, events: usize) -> Self {
        Self(Kind::Page(Box::new(texts), events))
    }

    /// The number of texts that are left; of a page, the number that it had.
    pub fn count(&self) -> usize {
        match &self.0 {
            Kind::Each(texts) => texts.len(),
            Kind::Page(_, events) => *events,
        }
    }

    /// The next one. The previous one must be dropped: its share of the budget may be what this waits for.
    pub async fn next(&mut self, node: &Node) -> Result<Option<HeldText>> {
        match &mut self.0 {
            Kind::Each(texts) => match texts.pop_front() {
                Some(text) => read(node, text).await.map(Some),
                None => Ok(None),
            },
            Kind::Page(texts, _) => Ok(texts.next().await?),
        }
    }
}

/// A reply, and after it the texts of events, one line each.
pub struct Answer {
    pub reply: Reply,
    pub texts: Texts,
}

impl<R: Into<Reply>> From<R> for Answer {
    fn from(reply: R) -> Self {
        Self { reply: reply.into(), texts: Texts(Kind::Each(VecDeque::new())) }
    }
}

pub(super) fn no_event(id: EventId) -> String {
    format!("there is no event {id}")
}

async fn read(node: &Node, text: Text) -> Result<HeldText> {
    let (log, service) = (node.cortex().reader().clone(), node.cortex().service());
    match text {
        Text::Event(id) => {
            let read = move |bytes| -> Result<_> { log.find_within(id, bytes)?.with_context(|| no_event(id)) };
            service.text(&Account::Commands, read, |entry| Ok(entry.to_cloud_event_alone()?)).await
        }
        Text::Latest(latest) => {
            let wanted = latest.clone();
            let left = "an event left the log while the view was read, since a fork was resolved; ask again";
            let read = move |bytes| -> Result<_> { wanted.find(&log, bytes)?.context(left) };
            service.text(&Account::Commands, read, move |entry| Ok(latest.text(entry)?)).await
        }
        Text::Outside(key) => {
            let left = "an event came back into the log while the evidence was read; ask again";
            let read = move |bytes| -> Result<_> { event_outside(&**log.store(), &key, bytes)?.context(left) };
            service.text(&Account::Commands, read, |entry| Ok(entry.to_cloud_event()?)).await
        }
    }
}
