//! Texts of events, one after another, each made once there is room for its record in the memory budget.

use std::sync::Arc;

use super::Service;
use super::held_text::{HeldText, PATIENCE, PageError, STEP_BYTES};
use super::steps::Steps;
use crate::budget::{Account, OverBudget};
use crate::event::{CloudEventText, EventBytes};
use crate::log::{Bounded, LogEntry};
use crate::store::{StoreError, StoreErrorKind};

/// The texts of a page: see [`super::Page::into_texts`].
pub struct PageTexts(pub(super) Steps);

impl PageTexts {
    /// The next text; `None` at the end. Drop the previous one first: its share may be what this waits for.
    ///
    /// # Errors
    /// [`PageError`].
    pub async fn next(&mut self) -> Result<Option<HeldText>, PageError> {
        self.0.next_text().await
    }
}

impl Service {
    /// The text of one event. `read` finds the event, and copies no record that is larger than the given number of bytes; it is
    /// called again if that was too little. `make` turns the event into its text. Waits for room in the memory budget, up to a
    /// minute.
    ///
    /// # Errors
    /// [`OverBudget`], and those of `read` and `make`.
    pub async fn text<E>(
        &self,
        account: &Account,
        read: impl Fn(usize) -> Result<Bounded<LogEntry>, E> + Clone + Send + 'static,
        make: impl FnOnce(&LogEntry) -> Result<CloudEventText<EventBytes>, E> + Clone + Send + 'static,
    ) -> Result<HeldText, E>
    where
        E: From<StoreError> + From<OverBudget> + Send + 'static,
    {
        let mut bytes = STEP_BYTES;
        loop {
            let room = bytes as u64;
            let mut share = self.inner.budget.share(account, room, room, PATIENCE).await?;
            let turn = self.inner.turns.read(account).await;
            let (read, make) = (read.clone(), make.clone());
            // The share is with the read: a caller that goes away does not end the read.
            let found = move || match read(bytes)? {
                Bounded::Larger(size) => Ok::<_, E>(Err(size)),
                Bounded::Whole(entry) => {
                    share.shrink_to(entry.record.len() as u64);
                    Ok(Ok(HeldText::new(make(&entry)?, Arc::new(share))))
                }
            };
            match self.blocking(turn, found).await? {
                Ok(text) => return Ok(text),
                Err(size) if size > bytes => bytes = size,
                Err(size) => {
                    let why = format!("a record of {size} bytes was not read within {bytes}");
                    return Err(StoreError::new(StoreErrorKind::Misuse, why).into());
                }
            }
        }
    }
}
