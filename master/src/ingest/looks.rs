//! When ingest takes a file: its decisions, without clock or I/O.
//!
//! Input is a listing, output are the files to take now. The result of each take decides whether the file is
//! forgotten, watched again from the start, or tried again later.

use std::collections::BTreeMap;
use std::time::Duration;

use dopq_common::time::Timestamp;

/// A file that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Below `incoming/`, with `/` between its parts.
    pub(super) path: String,
    /// The file's version.
    pub(super) print: Print,
}

/// Identifies one version of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Print {
    /// Bytes.
    pub(super) size_bytes: u64,
    /// The store's etag.
    pub(super) etag: String,
    /// The store's modification time; guards against reused etags.
    pub(super) changed: String,
}

impl Found {
    /// The permanent name of this content. It is accepted once.
    pub(super) fn mark(&self) -> String {
        format!(
            "{}|{}|{}",
            self.path, self.print.size_bytes, self.print.etag
        )
    }
}

/// A file to take now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Take {
    /// Which.
    pub(super) found: Found,
    /// Whether to refuse it if it is incomplete, instead of waiting.
    pub(super) last: bool,
}

/// How a take ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// It was accepted or rejected, and left `incoming/`.
    Done,
    /// It changed meanwhile.
    Changed,
    /// It is truncated, like a copy in progress.
    Incomplete,
    /// Something other than the file failed.
    Failed(String),
}

/// A truncated zip is refused after this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// The wait after a first failure; doubled for each further one.
const BACKOFF: Duration = Duration::from_secs(1);
/// The longest such wait.
const BACKOFF_MAX: Duration = Duration::from_secs(120);
/// Number of equal looks in a row before a file is taken.
const LOOKS: u32 = 2;

#[derive(Debug, Clone)]
struct File {
    print: Print,
    first_seen: Timestamp,
    stage: Stage,
    failures: u32,
}

#[derive(Debug, Clone)]
enum Stage {
    /// Number of looks without a change.
    Seen(u32),
    /// Being taken.
    Taking,
    /// Truncated; the last take is at this time.
    Incomplete(Timestamp),
    /// Failed with this reason; the next take is at this time.
    Waiting(Timestamp, String),
}

/// Every file that is in `incoming/`.
#[derive(Debug, Default)]
pub(super) struct Looks {
    files: BTreeMap<String, File>,
}

impl Looks {
    /// Processes a listing and returns at most `room` files to take, the longest seen first.
    pub(super) fn look(&mut self, now: Timestamp, listing: Vec<Found>, room: usize) -> Vec<Take> {
        let mut before = std::mem::take(&mut self.files);
        for Found { path, print } in listing {
            let file = match before.remove(&path) {
                Some(file) if matches!(file.stage, Stage::Taking) => file,
                Some(mut file) if file.print == print => {
                    if let Stage::Seen(looks) = &mut file.stage {
                        *looks = looks.saturating_add(1);
                    }
                    file
                }
                Some(_) | None => File {
                    print,
                    first_seen: now,
                    stage: Stage::Seen(1),
                    failures: 0,
                },
            };
            self.files.insert(path, file);
        }
        // A file being taken may have left the listing already; its result is still to come.
        before.retain(|_, file| matches!(file.stage, Stage::Taking));
        self.files.append(&mut before);
        self.take(now, room)
    }

    fn take(&mut self, now: Timestamp, room: usize) -> Vec<Take> {
        let mut ready: Vec<(Timestamp, String, bool)> = self
            .files
            .iter()
            .filter_map(|(path, file)| {
                let last = match &file.stage {
                    Stage::Seen(looks) if *looks >= LOOKS => false,
                    Stage::Waiting(until, _) if *until <= now => false,
                    Stage::Incomplete(until) if *until <= now => true,
                    Stage::Seen(_) | Stage::Taking | Stage::Incomplete(_) | Stage::Waiting(..) => {
                        return None;
                    }
                };
                Some((file.first_seen, path.clone(), last))
            })
            .collect();
        ready.sort();
        ready.truncate(room);
        ready
            .into_iter()
            .filter_map(|(_, path, last)| {
                let file = self.files.get_mut(&path)?;
                file.stage = Stage::Taking;
                let print = file.print.clone();
                Some(Take {
                    found: Found { path, print },
                    last,
                })
            })
            .collect()
    }

    /// Notes how a take ended.
    pub(super) fn ended(&mut self, now: Timestamp, path: &str, end: End) {
        let Some(file) = self.files.get_mut(path) else {
            return;
        };
        match end {
            End::Done | End::Changed => {
                self.files.remove(path);
            }
            End::Incomplete => {
                // It has not changed since this version was first seen.
                file.stage = Stage::Incomplete(file.first_seen.after(PATIENCE));
            }
            End::Failed(reason) => {
                let doubled = BACKOFF.saturating_mul(1 << file.failures.min(16));
                file.failures = file.failures.saturating_add(1);
                file.stage = Stage::Waiting(now.after(doubled.min(BACKOFF_MAX)), reason);
            }
        }
    }

    /// How many files are in `incoming/`.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// How many are being taken.
    pub(super) fn taking(&self) -> usize {
        let taking = |file: &&File| matches!(file.stage, Stage::Taking);
        self.files.values().filter(taking).count()
    }

    /// The files that wait after a failure: how many, and one with its reason.
    pub(super) fn failing(&self) -> Option<(usize, String)> {
        let mut failing = self
            .files
            .iter()
            .filter_map(|(path, file)| match &file.stage {
                Stage::Waiting(_, reason) => Some(format!("{path}: {reason}")),
                Stage::Seen(_) | Stage::Taking | Stage::Incomplete(_) => None,
            });
        let first = failing.next()?;
        Some((failing.count() + 1, first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn found(path: &str, size_bytes: u64) -> Found {
        Found {
            path: path.to_owned(),
            print: Print {
                size_bytes,
                etag: format!("e{size_bytes}"),
                changed: "then".to_owned(),
            },
        }
    }

    fn paths(takes: &[Take]) -> Vec<&str> {
        takes.iter().map(|take| take.found.path.as_str()).collect()
    }

    #[test]
    fn a_file_is_taken_once_it_has_stood_still_for_two_looks() {
        let mut looks = Looks::default();
        assert_eq!(looks.look(at(1), vec![found("a", 1)], 9), []);
        assert_eq!(looks.look(at(2), vec![found("a", 2)], 9), [], "it grew");
        let mut touched = found("a", 2);
        touched.print.changed = "now".to_owned();
        assert_eq!(
            looks.look(at(3), vec![touched.clone()], 9),
            [],
            "it was touched"
        );
        let takes = looks.look(at(4), vec![touched.clone()], 9);
        assert_eq!(
            takes,
            [Take {
                found: touched.clone(),
                last: false
            }]
        );
        assert_eq!(looks.look(at(5), vec![touched], 9), [], "it is being taken");
        looks.ended(at(6), "a", End::Done);
        assert_eq!(looks.len(), 0);
    }

    #[test]
    fn the_longest_seen_go_first_and_no_more_than_there_is_room_for() {
        let mut looks = Looks::default();
        looks.look(at(1), vec![found("z", 1)], 9);
        let all = || vec![found("a", 1), found("b", 1), found("z", 1)];
        assert_eq!(paths(&looks.look(at(2), all(), 1)), ["z"]);
        assert_eq!(paths(&looks.look(at(3), all(), 1)), ["a"]);
        assert_eq!(looks.taking(), 2);
        assert_eq!(paths(&looks.look(at(4), all(), 0)), [""; 0]);
        assert_eq!(paths(&looks.look(at(5), all(), 9)), ["b"]);
    }

    #[test]
    fn a_failure_holds_up_its_own_file_only_and_longer_each_time() {
        let mut looks = Looks::default();
        let both = || vec![found("a", 1), found("b", 1)];
        looks.look(at(1), both(), 9);
        assert_eq!(paths(&looks.look(at(2), both(), 9)), ["a", "b"]);
        looks.ended(at(2), "a", End::Failed("503".to_owned()));
        looks.ended(at(2), "b", End::Done);
        assert_eq!(looks.failing(), Some((1, "a: 503".to_owned())));
        let only = || vec![found("a", 1)];
        let mut now = 2;
        for wait in [1, 2, 4, 8, 16, 32, 64, 120, 120] {
            assert_eq!(looks.look(at(now + wait - 1), only(), 9), [], "{wait}");
            now += wait;
            assert_eq!(paths(&looks.look(at(now), only(), 9)), ["a"], "{wait}");
            looks.ended(at(now), "a", End::Failed("503".to_owned()));
        }
        looks.look(at(now), vec![found("a", 2)], 9);
        let takes = looks.look(at(now), vec![found("a", 2)], 9);
        assert_eq!(
            paths(&takes),
            ["a"],
            "a new file does not wait for the old one's failures"
        );
    }

    #[test]
    fn a_zip_without_its_end_is_given_time_and_then_taken_for_the_last_time() {
        let mut looks = Looks::default();
        let only = || vec![found("a", 1)];
        looks.look(at(1), only(), 9);
        looks.look(at(2), only(), 9);
        looks.ended(at(2), "a", End::Incomplete);
        assert_eq!(looks.look(at(10), only(), 9), []);
        assert!(looks.look(at(11), only(), 9)[0].last);
        looks.ended(at(11), "a", End::Incomplete);
        looks.look(at(12), vec![found("a", 2)], 9);
        assert!(
            !looks.look(at(13), vec![found("a", 2)], 9)[0].last,
            "it went on growing"
        );
    }

    #[test]
    fn what_left_the_folder_is_forgotten_unless_it_is_being_taken() {
        let mut looks = Looks::default();
        looks.look(at(1), vec![found("a", 1), found("b", 1)], 9);
        looks.look(at(2), vec![found("a", 1)], 9);
        assert_eq!((looks.len(), looks.taking()), (1, 1));
        assert_eq!(looks.look(at(3), vec![], 9), []);
        assert_eq!(looks.taking(), 1);
        looks.ended(at(3), "a", End::Changed);
        looks.ended(at(3), "a", End::Done);
        assert_eq!(looks.len(), 0);
    }
}
