//! Finished jobs, newest first, as far back as the archive goes. One segment is in memory at a time.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dopq_common::id::UserName;
use dopq_common::job::Job;
use dopq_common::record::Specs;
use dopq_common::time::Timestamp;
use tokio::time::Instant;

use super::read::whole_lines;
use super::record::{self, Key, Kind};
use crate::bundles::{Bundles, Error};

/// A page is given out after this, also when it is not full.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a page ends: before this line of this segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    segment: String,
    line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment, self.line)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (segment, line) = text.rsplit_once(':').ok_or(())?;
        let line = line.parse().map_err(|_| ())?;
        // It is compared with names that are there, and names no file by itself.
        Ok(Self {
            segment: segment.to_owned(),
            line,
        })
    }
}

/// Which finished jobs are wanted.
pub struct Wanted {
    /// Of these users.
    pub user: Box<dyn Fn(&UserName) -> bool + Send + Sync>,
    /// Which of theirs.
    pub job: Box<dyn Fn(&Job) -> bool + Send + Sync>,
    /// Ended at this time or later.
    pub since: Option<Timestamp>,
    /// Ended before.
    pub until: Option<Timestamp>,
}

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Wanted");
        debug
            .field("since", &self.since)
            .field("until", &self.until);
        debug.finish_non_exhaustive()
    }
}

/// Up to `limit` finished jobs before `from`, the newest first, and where to go on if there may be more. A page that took
/// long is given out as far as it came; it may be empty.
///
/// # Errors
/// [`Error::Store`] when the bundle store does not answer.
pub async fn history(
    bundles: &Bundles,
    wanted: Arc<Wanted>,
    from: Option<Place>,
    limit: usize,
) -> Result<(Vec<Job>, Option<Place>), Error> {
    let until = Instant::now() + PATIENCE;
    let mut page = Page {
        jobs: Vec::new(),
        seen: BTreeSet::new(),
        limit,
        until,
    };
    let day_of = |at: Timestamp| at.to_datetime().format("%Y-%m-%d").to_string();
    let last_day = wanted.until.map(day_of);
    let from_day = from
        .as_ref()
        .and_then(|from| from.segment.split('/').next());
    for day in bundles.list_segment_days().await?.into_iter().rev() {
        let is_later = |limit: &str| day.as_str() > limit;
        if last_day.as_deref().is_some_and(is_later) || from_day.is_some_and(is_later) {
            continue;
        }
        for segment in bundles.list_segments(&day).await?.into_iter().rev() {
            let before = match &from {
                Some(from) if segment > from.segment => continue,
                Some(from) if segment == from.segment => from.line,
                Some(_) | None => usize::MAX,
            };
            let content = match bundles.get_segment(&segment).await {
                Ok(content) => content,
                // Retention was faster.
                Err(Error::NotFound(_)) => continue,
                Err(error) => return Err(error),
            };
            let wanted = Arc::clone(&wanted);
            let scanned = tokio::task::spawn_blocking(move || {
                let end = page.scan(&content, before, &wanted);
                (page, end)
            });
            let (back, end) = scanned
                .await
                .map_err(|error| Error::local(segment.as_ref(), std::io::Error::other(error)))?;
            page = back;
            match end {
                End::Began => {}
                End::TooOld => return Ok((page.jobs, None)),
                End::At(line) => return Ok((page.jobs, Some(Place { segment, line }))),
            }
        }
    }
    Ok((page.jobs, None))
}

#[derive(Debug)]
struct Page {
    jobs: Vec<Job>,
    /// A new leader may have written a record again.
    seen: BTreeSet<Key>,
    limit: usize,
    until: Instant,
}

/// Where the scan of a segment ended.
#[derive(Debug)]
enum End {
    /// At its first line.
    Began,
    /// It is older than what is wanted.
    TooOld,
    /// Before this line, because the page is full or took long.
    At(usize),
}

impl Page {
    /// Takes what is wanted of the lines before line `before`, from the last to the first.
    fn scan(&mut self, content: &Bytes, before: usize, wanted: &Wanted) -> End {
        let mut specs = Specs::default();
        let lines: Vec<&[u8]> = whole_lines(content).collect();
        let mut newest = None;
        let end = before.saturating_sub(1).min(lines.len());
        let lines = lines.iter().enumerate().take(end).rev();
        for (number, line) in lines.map(|(index, line)| (index + 1, *line)) {
            // Damaged lines are told where the archive is read back.
            let Ok(head) = record::head(line) else {
                continue;
            };
            newest.get_or_insert(head.key.at);
            let at = head.key.at;
            let fits = head.key.kind == Kind::Finished
                && wanted.since.is_none_or(|since| at >= since)
                && wanted.until.is_none_or(|until| at < until)
                && (wanted.user)(&head.user);
            if fits
                && let Ok(entry) = record::entry(line, &mut specs)
                && (wanted.job)(&entry.job)
                && self.seen.insert(head.key)
            {
                self.jobs.push(entry.job);
            }
            if self.jobs.len() >= self.limit || Instant::now() >= self.until {
                return End::At(number);
            }
        }
        let is_old = |since| newest.is_some_and(|newest: Timestamp| newest < since);
        if wanted.since.is_some_and(is_old) {
            End::TooOld
        } else {
            End::Began
        }
    }
}
