//! Takes finished jobs out of the archive, by rewriting its segments one by one.

use dopq_common::id::{JobId, UserName};
use dopq_common::time::Timestamp;

use super::read::{last_id, whole_lines};
use super::record::{self, Head, Kind};
use crate::bundles::{Bundles, Error};

/// What goes: both records of the jobs that ended before a time.
#[derive(Debug, Clone)]
pub(super) struct Clear {
    /// Of this user, or of all.
    pub(super) user: Option<UserName>,
    pub(super) before: Timestamp,
}

impl Clear {
    fn ends(&self, head: &Head) -> bool {
        let theirs = self.user.as_ref().is_none_or(|user| head.user == *user);
        head.key.kind == Kind::Finished && theirs && head.key.at < self.before
    }
}

/// Clears all segments and returns how many records went. Nobody may write to a segment meanwhile. The record that tells
/// the last id that was given out stays.
///
/// # Errors
/// [`Error`] of the bundle store. What was cleared before stays cleared; repeating it is harmless.
pub(super) async fn clear(bundles: &Bundles, clear: &Clear) -> Result<u64, Error> {
    let last = last_id(bundles).await?;
    let newest = clear.before.to_datetime().format("%Y-%m-%d").to_string();
    let mut days = bundles.list_segment_days().await?;
    days.retain(|day| *day <= newest);
    let mut segments = Vec::new();
    for day in days {
        segments.extend(bundles.list_segments(&day).await?);
    }
    let mut ended: Vec<JobId> = Vec::new();
    for segment in &segments {
        let content = bundles.get_segment(segment).await?;
        let heads = whole_lines(&content).filter_map(|line| record::head(line).ok());
        let ends = heads.filter(|head| clear.ends(head));
        ended.extend(ends.map(|head| head.key.job));
        tokio::task::yield_now().await;
    }
    ended.sort_unstable();
    ended.dedup();
    let mut gone = 0;
    for segment in &segments {
        let content = bundles.get_segment(segment).await?;
        let mut kept = Vec::with_capacity(content.len());
        let before = gone;
        for line in whole_lines(&content) {
            let goes = record::head(line).is_ok_and(|head| {
                let is_last = Some(head.key.job) == last && head.key.kind == Kind::Accepted;
                !is_last && ended.binary_search(&head.key.job).is_ok()
            });
            if goes {
                gone += 1;
            } else {
                kept.extend_from_slice(line);
                kept.push(b'\n');
            }
        }
        if gone > before {
            bundles.put_segment(segment, kept.into()).await?;
        }
        tokio::task::yield_now().await;
    }
    Ok(gone)
}
