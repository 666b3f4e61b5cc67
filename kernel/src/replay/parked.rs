//! Events that a replayer set aside, and those that an operator left out.

use std::ops::ControlFlow;

use super::build::{BuildNumber, Builds};
use crate::codec::{StoredError, decode_parked, decode_skipped};
use crate::cursor::Seq;
use crate::ids::EventId;
use crate::store::{Family, KeyRange, Store, StoreError, keys};
use crate::time::Timestamp;

/// An event that waits to be replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// Its sequence number in the log.
    pub seq: Seq,
    /// Its subject: later events of it wait behind it.
    pub subject: Option<String>,
    /// How often it was tried; 0 for one that only waits behind another.
    pub tries: u32,
    /// What it failed with, or what it waits for.
    pub error: String,
}

/// An event that was left out by command: the record of that decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its sequence number in the log.
    pub seq: Seq,
    /// Its id.
    pub id: EventId,
    /// Its subject.
    pub subject: Option<String>,
    /// What it had failed with.
    pub error: String,
    /// When it was skipped.
    pub at: Timestamp,
}

fn entries<T>(
    store: &dyn Store,
    prefix: &[u8],
    decode: impl Fn(Seq, &[u8]) -> Result<T, StoredError>,
) -> Result<Vec<T>, StoreError> {
    let (mut found, mut fault) = (Vec::new(), None);
    store.scan(Family::Replay, KeyRange::prefix(prefix), &mut |key, value| {
        let Some(seq) = keys::seq_of_log(&key[prefix.len()..]) else {
            fault = Some(StoreError::corrupt("family `replay`: a key is not a place"));
            return ControlFlow::Break(());
        };
        match decode(seq, value) {
            Ok(entry) => {
                found.push(entry);
                ControlFlow::Continue(())
            }
            Err(error) => {
                fault = Some(StoreError::unreadable("family `replay`", &error));
                ControlFlow::Break(())
            }
        }
    })?;
    fault.map_or(Ok(found), Err)
}

/// The events that a replayer set aside, in order of their sequence numbers: those that a retry or a skip finds. While a
/// rebuild runs, they are of the build that it fills.
///
/// # Errors
/// [`StoreError`].
pub fn parked(store: &dyn Store, replayer: &str) -> Result<Vec<Parked>, StoreError> {
    in_written(store, replayer, |build| parked_in(store, replayer, build))
}

/// The events of a replayer that were left out by command, in order of their sequence numbers. While a rebuild runs, they are
/// of the build that it fills: a rebuild tries them again.
///
/// # Errors
/// [`StoreError`].
pub fn skipped(store: &dyn Store, replayer: &str) -> Result<Vec<Skipped>, StoreError> {
    in_written(store, replayer, |build| skipped_in(store, replayer, build))
}

fn in_written<T: Default>(
    store: &dyn Store,
    replayer: &str,
    read: impl Fn(BuildNumber) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    loop {
        let written = Builds::read(store, replayer)?.written();
        let found = written.map_or(Ok(T::default()), &read);
        if Builds::read(store, replayer)?.written() == written {
            return found;
        }
    }
}

/// The events that are parked in one build.
///
/// # Errors
/// [`StoreError`].
pub fn parked_in(store: &dyn Store, replayer: &str, build: BuildNumber) -> Result<Vec<Parked>, StoreError> {
    entries(store, &keys::replay_parked_prefix(replayer, build), |seq, value| {
        let (subject, tries, error, _) = decode_parked(value)?;
        Ok(Parked { seq, subject, tries, error })
    })
}

/// The events that were left out of one build.
///
/// # Errors
/// [`StoreError`].
pub fn skipped_in(store: &dyn Store, replayer: &str, build: BuildNumber) -> Result<Vec<Skipped>, StoreError> {
    entries(store, &keys::replay_skipped_prefix(replayer, build), |seq, value| {
        let (id, subject, error, at) = decode_skipped(value)?;
        Ok(Skipped { seq, id, subject, error, at })
    })
}
