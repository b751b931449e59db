//! Decides what of the bundle store may go. Pure.
//!
//! A job that is not over keeps its bundle, its logs, its results and its checkpoint. What DoPQ did not write is never touched.

use std::collections::BTreeMap;
use std::time::Duration;

use dopq_common::id::{Digest, JobId, JobKey, UserName};
use dopq_common::resources::ByteSize;
use dopq_common::sched::State;
use dopq_common::time::Timestamp;

use crate::bundles::{Listed, finished_name, manifest_name};
use crate::config::Retention;
use crate::disk::Space;

/// A job's folder in the store.
pub(super) type JobName = (JobId, JobKey);

/// What an object of the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Object {
    /// A bundle's zip.
    Zip(Digest),
    /// The record beside a zip. A bundle without it does not count as stored.
    Record(Digest),
    /// A piece of a log.
    Log(JobName),
    /// Results.
    Results(JobName),
    /// A manifest or a chunk of a checkpoint.
    Checkpoint(JobName),
}

impl Object {
    /// By its name below the store's root; `None` if it is nothing that may go.
    pub(super) fn of(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.split('/').collect();
        match parts.as_slice() {
            ["bundles", file] => match file.split_once('.')? {
                (digest, "zip") => Some(Self::Zip(digest.parse().ok()?)),
                (digest, "json") => Some(Self::Record(digest.parse().ok()?)),
                _ => None,
            },
            ["jobs", job, "logs", attempt, offset] if is_number(attempt) && is_number(offset) => {
                Some(Self::Log(job_name(job)?))
            }
            ["jobs", job, "results", file] if is_number(file.strip_suffix(".tar")?) => {
                Some(Self::Results(job_name(job)?))
            }
            ["jobs", job, "checkpoint", "manifests", name] if manifest_name(name).is_some() => {
                Some(Self::Checkpoint(job_name(job)?))
            }
            ["jobs", job, "checkpoint", "chunks", digest] if digest.parse::<Digest>().is_ok() => {
                Some(Self::Checkpoint(job_name(job)?))
            }
            _ => None,
        }
    }
}

/// Which bundle a user uploaded, by the name of the object that says so.
pub(super) fn grant(name: &str) -> Option<(Digest, UserName)> {
    match name.split('/').collect::<Vec<_>>().as_slice() {
        ["uploaders", digest, user] => Some((digest.parse().ok()?, user.parse().ok()?)),
        _ => None,
    }
}

fn job_name(text: &str) -> Option<JobName> {
    let (id, key) = text.split_once('-')?;
    Some((id.parse().ok()?, key.parse().ok()?))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether something is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// Nothing that is known needs it.
    Unknown,
    /// What needed it was over then.
    Until(Timestamp),
    /// It is needed now.
    Now,
}

/// What the scheduler knows of bundles.
#[derive(Debug, Default)]
pub(super) struct Needs {
    bundles: BTreeMap<Digest, (Need, Vec<UserName>)>,
    /// Jobs above it were not looked at.
    last: Option<JobId>,
}

impl Needs {
    /// Adds the jobs that were accepted since the last look.
    pub(super) fn look(&mut self, state: &State) {
        let new = state.jobs().rev();
        let last = self.last;
        for job in new.take_while(|job| last.is_none_or(|last| job.id > last)) {
            self.last = self.last.max(Some(job.id));
            if let Some(bundle) = &job.bundle {
                let ended = job.state.finished();
                let need = ended.map_or(Need::Now, |finished| Need::Until(finished.at));
                let known = self.bundles.entry(bundle.digest);
                let (known, users) = known.or_insert((need, Vec::new()));
                *known = need.max(*known);
                if !users.contains(&job.user) {
                    users.push(job.user.clone());
                }
            }
        }
    }

    /// Whether a bundle is needed.
    pub(super) fn bundle(&self, digest: &Digest) -> Need {
        self.bundles
            .get(digest)
            .map_or(Need::Unknown, |(need, _)| *need)
    }

    /// Whose jobs have it.
    pub(super) fn users(&self, digest: &Digest) -> &[UserName] {
        self.bundles
            .get(digest)
            .map_or(&[], |(_, users)| users.as_slice())
    }
}

/// Whether a job needs its logs, results and checkpoint, and whose it is.
pub(super) fn output(state: &State, (id, key): JobName) -> (Need, Option<UserName>) {
    let Some(job) = state.job(id).filter(|job| job.key == key) else {
        return (Need::Unknown, None);
    };
    let need = match job.state.finished() {
        None => Need::Now,
        Some(finished) => Need::Until(finished.at),
    };
    (need, Some(job.user.clone()))
}

/// When something began to be of no use; `None` while it is needed.
pub(super) fn unused_since(listed: &Listed, need: Need) -> Option<Timestamp> {
    match need {
        Need::Now => None,
        Need::Until(at) => Some(at.max(listed.modified)),
        Need::Unknown => Some(listed.modified),
    }
}

/// Whether something goes because of its age.
pub(super) fn is_over(
    settings: &Retention,
    now: Timestamp,
    object: Object,
    since: Timestamp,
) -> bool {
    let keep = match object {
        Object::Zip(_) | Object::Record(_) => settings.bundles,
        Object::Log(_) => settings.logs,
        Object::Results(_) => settings.results,
        Object::Checkpoint(_) => settings.checkpoints,
    };
    now.since(since) > keep.max(settings.min_age)
}

/// The day of a segment of the archive.
pub(super) fn day(name: &str) -> Option<&str> {
    let is_day = |day: &str| {
        let digits = day.bytes().filter(u8::is_ascii_digit).count();
        (day.len(), digits) == ("2026-01-01".len(), 8)
    };
    match name.split('/').collect::<Vec<_>>().as_slice() {
        ["archive", day, file] if is_day(day) && file.ends_with(".jsonl") => Some(day),
        _ => None,
    }
}

/// Whether a name is left of a write of DoPQ's.
pub(super) fn is_unfinished(name: &str) -> bool {
    finished_name(name).is_some_and(|name| {
        Object::of(name).is_some() || grant(name).is_some() || day(name).is_some()
    })
}

/// The days of the archive that go, of those that there are with their sizes: the old ones, and the oldest while the
/// archive is too large. The newest stays, because a new leader continues after it.
pub(super) fn old_days<'d>(
    settings: &Retention,
    now: Timestamp,
    days: &'d BTreeMap<String, u64>,
) -> Vec<&'d String> {
    let first = |keep: Duration| {
        let keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        let first = Timestamp::from_millis(now.as_millis().saturating_sub(keep));
        first.to_datetime().format("%Y-%m-%d").to_string()
    };
    let first_young = first(settings.min_age);
    let first_kept = settings.archive.map(first).unwrap_or_default();
    let all = days.values().copied().fold(0, u64::saturating_add);
    let most = settings.archive_size.map_or(u64::MAX, |most| most.0);
    let mut excess = all.saturating_sub(most);
    let mut going = days.iter();
    going.next_back();
    going
        .take_while(|(day, bytes)| {
            let goes = **day < first_young && (**day < first_kept || excess > 0);
            excess = excess.saturating_sub(**bytes);
            goes
        })
        .map(|(day, _)| day)
        .collect()
}

/// How much is to be freed of a disk, so that as much again as `least` is free; nothing while `least` is. A tenth of a
/// small disk is enough.
pub(super) fn shortage(least: ByteSize, space: Space) -> u64 {
    let least = least.0.min(space.whole / 10);
    if space.free >= least {
        return 0;
    }
    least.saturating_mul(2).saturating_sub(space.free)
}

/// What can go early when the store is too large: one bundle, or what one job left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    /// A bundle.
    Bundle(Digest),
    /// A job's logs, results and checkpoint.
    Job(JobName),
}

/// What nothing needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unused {
    /// Since when.
    pub(super) since: Timestamp,
    /// Its size.
    pub(super) bytes: u64,
}

/// Which groups go so that at least `excess` bytes are freed: those that are of no use for the longest, and none
/// younger than the settings allow.
pub(super) fn early(
    settings: &Retention,
    now: Timestamp,
    found: &BTreeMap<Group, Unused>,
    excess: u64,
) -> Vec<Group> {
    let mut old: Vec<_> = found
        .iter()
        .filter(|(_, unused)| now.since(unused.since) > settings.min_age)
        .map(|(group, unused)| (unused.since, *group, unused.bytes))
        .collect();
    old.sort_unstable();
    let mut freed: u64 = 0;
    old.into_iter()
        .take_while(|(_, _, bytes)| {
            let goes = freed < excess;
            freed = freed.saturating_add(*bytes);
            goes
        })
        .map(|(_, group, _)| group)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "07070707070707070707070707070707";

    fn listed(modified: u64) -> Listed {
        Listed {
            name: String::new(),
            size_bytes: 1,
            modified: Timestamp::from_millis(modified),
        }
    }

    #[test]
    fn only_what_dopq_writes_is_known() {
        let digest = "ab".repeat(32);
        for (name, known) in [
            (format!("bundles/{digest}.zip"), true),
            (format!("bundles/{digest}.json"), true),
            (format!("bundles/{digest}.txt"), false),
            ("bundles/probe".to_owned(), false),
            (format!("jobs/7-{KEY}/logs/1/00000000000000000000"), true),
            (format!("jobs/7-{KEY}/results/12.tar"), true),
            (format!("jobs/7-{KEY}/results/notes.tar"), false),
            (
                format!("jobs/7-{KEY}/checkpoint/manifests/0000000001-0000000002.json"),
                true,
            ),
            (format!("jobs/7-{KEY}/checkpoint/chunks/{digest}"), true),
            (format!("jobs/7-{KEY}/checkpoint/chunks/mine"), false),
            (
                format!("jobs/7-{KEY}/checkpoint/manifests/mine.json"),
                false,
            ),
            (format!("jobs/7-{KEY}/mine"), false),
            (format!("jobs/mine/logs/1/{KEY}"), false),
            ("archive/2026-01-01/x.jsonl".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(Object::of(&name).is_some(), known, "{name}");
        }
    }

    #[test]
    fn who_uploaded_what_is_read_from_names() {
        let digest = Digest([0xab; 32]);
        let anna = "anna@lab".parse().expect("a name");
        let name = format!("uploaders/{digest}/anna@lab");
        assert_eq!(grant(&name), Some((digest, anna)));
        for other in [
            "uploaders/x/anna",
            &format!("uploaders/{digest}"),
            &format!("jobs/{digest}/a"),
        ] {
            assert_eq!(grant(other), None, "{other}");
        }
    }

    #[test]
    fn the_archives_newest_day_stays() {
        let now = Timestamp::from_millis(1_767_225_600_000); // 2026-01-01
        let names = ["2025-12-01", "2025-11-01", "2024-01-01"];
        let days = names.map(|day| (day.to_owned(), 10)).into();
        let keep = |archive, archive_size: Option<u64>| Retention {
            archive,
            archive_size: archive_size.map(ByteSize),
            ..Retention::default()
        };
        let month = Some(Duration::from_secs(40 * 24 * 3600));
        for settings in [
            keep(month, None),
            keep(Some(Duration::ZERO), None),
            keep(None, Some(15)),
            keep(None, Some(0)),
            keep(Some(Duration::MAX), Some(0)),
        ] {
            let old = old_days(&settings, now, &days);
            assert_eq!(old, ["2024-01-01", "2025-11-01"], "{settings:?}");
        }
        for size in [20, 29] {
            let settings = keep(Some(Duration::MAX), Some(size));
            assert_eq!(old_days(&settings, now, &days), ["2024-01-01"]);
        }
        let young = Retention {
            min_age: Duration::from_secs(365 * 24 * 3600),
            ..keep(None, Some(0))
        };
        assert_eq!(old_days(&young, now, &days), ["2024-01-01"]);
        assert!(old_days(&keep(None, Some(30)), now, &days).is_empty());
        assert!(old_days(&keep(None, None), now, &days).is_empty());
    }

    #[test]
    fn only_dopqs_own_writes_are_unfinished() {
        let digest = "ab".repeat(32);
        for (name, is_ours) in [
            (format!("jobs/7-{KEY}/results/1.tar#3"), true),
            (format!("bundles/{digest}.zip#12"), true),
            ("archive/2026-01-01/x.jsonl#1".to_owned(), true),
            (format!("jobs/7-{KEY}/results/1.tar"), false),
            (format!("jobs/7-{KEY}/results/1.tar#x"), false),
            (format!("jobs/7-{KEY}/mine#1"), false),
            ("notes#1".to_owned(), false),
        ] {
            assert_eq!(is_unfinished(&name), is_ours, "{name}");
        }
    }

    #[test]
    fn only_segments_are_of_a_day() {
        assert_eq!(day("archive/2026-01-01/x.jsonl"), Some("2026-01-01"));
        for other in [
            "archive/mine/x.jsonl",
            "archive/2026-01-01/mine",
            "archive/x.jsonl",
            "jobs/2026-01-01/x.jsonl",
        ] {
            assert_eq!(day(other), None, "{other}");
        }
    }

    #[test]
    fn a_disk_is_short_below_the_limit_or_a_tenth_of_it() {
        let of = |free, whole| shortage(ByteSize(100), Space { free, whole });
        assert_eq!(of(100, 10_000), 0);
        assert_eq!(of(99, 10_000), 101);
        assert_eq!((of(40, 400), of(39, 400)), (0, 41));
    }

    proptest! {
        #[test]
        fn nothing_needed_or_young_goes(
            modified in 0_u64..200,
            ended in prop::option::of(0_u64..200),
            is_needed in any::<bool>(),
            limits in prop::array::uniform5(0_u64..100),
            now in 0_u64..400,
        ) {
            let [bundles, logs, results, checkpoints, min_age] = limits.map(Duration::from_millis);
            let settings = Retention { bundles, logs, results, checkpoints, min_age, ..Retention::default() };
            let now = Timestamp::from_millis(now);
            let listed = listed(modified);
            let need = match (is_needed, ended) {
                (true, _) => Need::Now,
                (false, Some(at)) => Need::Until(Timestamp::from_millis(at)),
                (false, None) => Need::Unknown,
            };
            let job = (JobId(7), KEY.parse().expect("a key"));
            let digest = Digest([7; 32]);
            for (object, keep) in [
                (Object::Zip(digest), bundles),
                (Object::Record(digest), bundles),
                (Object::Log(job), logs),
                (Object::Results(job), results),
                (Object::Checkpoint(job), checkpoints),
            ] {
                let since = unused_since(&listed, need);
                let goes = since.is_some_and(|since| is_over(&settings, now, object, since));
                let of_no_use = ended.map_or(modified, |at| at.max(modified));
                let age = now.since(Timestamp::from_millis(of_no_use));
                prop_assert_eq!(goes, !is_needed && age > keep && age > min_age);
            }
        }

        #[test]
        fn what_is_unused_for_the_longest_goes_early(
            sizes in prop::collection::vec((0_u64..100, 1_u64..10), 0..20),
            excess in 0_u64..50,
        ) {
            let settings = Retention { min_age: Duration::from_millis(50), ..Retention::default() };
            let now = Timestamp::from_millis(100);
            let found: BTreeMap<_, _> = (0_u8..).zip(&sizes).map(|(id, (since, size))| {
                let group = Group::Bundle(Digest([id; 32]));
                (group, Unused { since: Timestamp::from_millis(*since), bytes: *size })
            }).collect();
            let gone = early(&settings, now, &found, excess);
            let of = |group: &Group| found[group];
            prop_assert!(gone.is_sorted_by_key(|group| of(group).since));
            prop_assert!(gone.iter().all(|group| now.since(of(group).since) > settings.min_age));
            let freed: u64 = gone.iter().map(|group| of(group).bytes).sum();
            let last = gone.last().map_or(0, |group| of(group).bytes);
            prop_assert!(freed.saturating_sub(last) < excess.max(1), "no more than needed");
            let old: u64 = found.values()
                .filter(|unused| now.since(unused.since) > settings.min_age)
                .map(|unused| unused.bytes).sum();
            prop_assert!(freed >= excess.min(old), "as much as is needed, if there is");
        }
    }
}
