//! Reads the archive back.

use std::collections::BTreeSet;

use dopq_common::id::JobId;
use dopq_common::record::Specs;
use dopq_common::time::Timestamp;

use super::record::{self, Entry, Key, Kind};
use crate::bundles::{Bundles, Error};
use dopq_common::chain::chain;

/// A line that cannot be read and is not the torn end of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The segment, `<day>/<name>`.
    pub segment: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// Hands every record to `each`, oldest first, and returns the lines that cannot be read. The last record of a job
/// is the one that holds. A last line without an end was cut off by a crash before it was durable; it is skipped.
///
/// # Errors
/// [`Error::Store`] when the bundle store does not answer.
pub async fn read(bundles: &Bundles, mut each: impl FnMut(Entry)) -> Result<Vec<Damage>, Error> {
    let mut specs = Specs::default();
    let mut damages = Vec::new();
    for day in bundles.list_segment_days().await? {
        for segment in bundles.list_segments(&day).await? {
            let content = bundles.get_segment(&segment).await?;
            for (number, line) in (1..).zip(whole_lines(&content)) {
                match record::entry(line, &mut specs) {
                    Ok(entry) => each(entry),
                    Err(error) => damages.push(Damage {
                        segment: segment.clone(),
                        line: number,
                        reason: chain(&error),
                    }),
                }
            }
        }
    }
    Ok(damages)
}

/// The last id that the archive knows to be given out. Ids grow, so it is in the newest segment with an accepted job.
pub(crate) async fn last_id(bundles: &Bundles) -> Result<Option<JobId>, Error> {
    for day in bundles.list_segment_days().await?.into_iter().rev() {
        for segment in bundles.list_segments(&day).await?.into_iter().rev() {
            let content = bundles.get_segment(&segment).await?;
            let mut specs = Specs::default();
            let last = whole_lines(&content)
                .filter_map(|line| record::entry(line, &mut specs).ok())
                .filter(|entry| entry.kind == Kind::Accepted)
                .map(|entry| entry.job.last_id())
                .max();
            if last.is_some() {
                return Ok(last);
            }
        }
    }
    Ok(None)
}

/// Where the archive ends.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// The time of the last record.
    pub(super) at: Timestamp,
    /// The records of that time.
    pub(super) last: BTreeSet<Key>,
}

/// Where the archive ends, from the newest segment that holds a record.
pub(super) async fn mark(bundles: &Bundles) -> Result<Mark, Error> {
    for day in bundles.list_segment_days().await?.into_iter().rev() {
        for segment in bundles.list_segments(&day).await?.into_iter().rev() {
            let content = bundles.get_segment(&segment).await?;
            let keys: Vec<Key> = whole_lines(&content)
                .filter_map(|line| record::key(line).ok())
                .collect();
            if let Some(at) = keys.iter().map(|key| key.at).max() {
                let last = keys.into_iter().filter(|key| key.at == at).collect();
                return Ok(Mark { at, last });
            }
        }
    }
    Ok(Mark::default())
}

/// The lines that have an end, without it.
pub(super) fn whole_lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    content
        .split_inclusive(|byte| *byte == b'\n')
        .filter_map(|line| line.strip_suffix(b"\n"))
}
