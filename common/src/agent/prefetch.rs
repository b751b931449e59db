//! Which images a worker makes ready ahead, for attempts that it will probably be ordered to run.
//!
//! Nothing of it is stored or reported, and no attempt depends on it. The masters' newest list replaces the one before;
//! a list that they do not repeat expires.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::id::{AttemptId, Epoch};
use crate::job::ImageKey;
use crate::time::Timestamp;
use crate::wire::Upcoming;

use super::run::Run;

/// How long a list holds that is not repeated.
const HOLDS_FOR: Duration = Duration::from_secs(300);
/// More attempts of one list are not looked at.
const ATTEMPTS_MAX: usize = 64;
/// So many images are remembered that could not be made.
const FAILED_MAX: usize = 256;

/// The images that are wanted, and what became of them.
#[derive(Debug, Clone, Default)]
pub struct Prefetch {
    newest: Option<(Epoch, u64)>,
    expires_at: Option<Timestamp>,
    expected: Vec<Expected>,
    /// Those of them that are there.
    ready: BTreeSet<ImageKey>,
    /// Images that could not be made, and when. Their jobs find out why.
    failed: BTreeMap<ImageKey, Timestamp>,
}

/// An attempt that will probably be ordered.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// Which.
    pub attempt: AttemptId,
    /// What to run.
    pub run: Arc<Run>,
    /// The image that it needs.
    pub image: ImageKey,
}

/// A list that is not newer than the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a later list of upcoming attempts is known")]
pub struct Outdated;

impl Prefetch {
    /// The masters say what they expect. What cannot be read is left out: it is refused once it is ordered.
    ///
    /// # Errors
    /// [`Outdated`] for one that is not newer than the last; nothing changes then.
    pub fn told(&mut self, now: Timestamp, upcoming: Upcoming) -> Result<(), Outdated> {
        let number = (upcoming.epoch, upcoming.number);
        if self.newest.is_some_and(|newest| number <= newest) {
            return Err(Outdated);
        }
        self.newest = Some(number);
        self.expires_at = Some(now.after(HOLDS_FOR));
        let runs = upcoming.runs.into_iter().take(ATTEMPTS_MAX);
        self.expected = runs
            .filter_map(|upcoming| {
                let run = Run::read(upcoming.run).ok()?;
                let image = ImageKey::of(&run.order.user, run.order.bundle, &run.spec);
                Some(Expected {
                    attempt: upcoming.attempt,
                    run: Arc::new(run),
                    image,
                })
            })
            .collect();
        let expected: BTreeSet<_> = self.expected.iter().map(|known| &known.image).collect();
        self.ready.retain(|image| expected.contains(image));
        Ok(())
    }

    /// Forgets a list that was not repeated for too long; true if it did.
    pub fn expire(&mut self, now: Timestamp) -> bool {
        let is_over = self.expires_at.is_some_and(|at| at <= now);
        if is_over {
            self.expires_at = None;
            self.expected.clear();
            self.ready.clear();
        }
        is_over
    }

    /// When the list expires, if there is one.
    #[must_use]
    pub const fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// What is expected, in order.
    #[must_use]
    pub fn expected(&self) -> &[Expected] {
        &self.expected
    }

    /// The first attempt whose image is neither ready nor failed.
    #[must_use]
    pub fn next(&self) -> Option<&Expected> {
        let is_due = |known: &&Expected| {
            !self.ready.contains(&known.image) && !self.failed.contains_key(&known.image)
        };
        self.expected.iter().find(is_due)
    }

    /// Whether any expected attempt needs the image.
    #[must_use]
    pub fn wants(&self, image: &ImageKey) -> bool {
        self.expected.iter().any(|known| known.image == *image)
    }

    /// The image is there.
    pub fn ready(&mut self, image: ImageKey) {
        if self.wants(&image) {
            self.ready.insert(image);
        }
    }

    /// The image could not be made. It is not tried again.
    pub fn failed(&mut self, now: Timestamp, image: ImageKey) {
        self.failed.insert(image, now);
        if self.failed.len() > FAILED_MAX {
            let oldest = self.failed.iter().min_by_key(|(_, at)| **at);
            if let Some(oldest) = oldest.map(|(image, _)| image.clone()) {
                self.failed.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Digest, JobId, JobKey};
    use crate::job::BundleRef;
    use crate::resources::Allocation;
    use crate::wire::{RunOrder, UpcomingRun, WIRE_VERSION};

    fn run(job: u64, bundle: u8) -> UpcomingRun {
        UpcomingRun {
            attempt: AttemptId {
                job: JobId(job),
                number: 1,
                key: JobKey([7; 16]),
            },
            run: RunOrder {
                cluster: "lab".to_owned(),
                user: "anna".parse().unwrap(),
                group: None,
                config: r#"{"name":"train","executor_name":"anna","required_memory":"1g"}"#
                    .to_owned(),
                bundle: Some(BundleRef {
                    digest: Digest([bundle; 32]),
                    size_bytes: 9,
                }),
                allocation: Allocation::default(),
                array_index: None,
                array_job: None,
                token: "token".into(),
                data_urls: Vec::new(),
                results_max_bytes: None,
                checkpoint_max_bytes: None,
            },
        }
    }

    fn list(epoch: u64, number: u64, runs: Vec<UpcomingRun>) -> Upcoming {
        Upcoming {
            version: WIRE_VERSION,
            epoch: Epoch(epoch),
            number,
            runs,
        }
    }

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn next(prefetch: &Prefetch) -> Option<u64> {
        prefetch.next().map(|next| next.attempt.job.0)
    }

    #[test]
    fn images_are_made_in_order_and_once() {
        let mut prefetch = Prefetch::default();
        assert_eq!(next(&prefetch), None);
        let runs = vec![run(1, 1), run(2, 2), run(3, 1)];
        prefetch.told(NOW, list(1, 1, runs.clone())).unwrap();
        assert_eq!(next(&prefetch), Some(1));
        let image = |at: usize, of: &Prefetch| of.expected()[at].image.clone();
        let first = image(0, &prefetch);
        prefetch.ready(first.clone());
        assert_eq!(next(&prefetch), Some(2), "the third has the first's image");
        let second = image(1, &prefetch);
        prefetch.failed(NOW, second.clone());
        assert_eq!(next(&prefetch), None);
        // A repeat changes nothing.
        prefetch.told(NOW, list(1, 2, runs.clone())).unwrap();
        assert_eq!(next(&prefetch), None);
        // A withdrawn image may be removed, so it is looked at again. A failed one is not.
        prefetch.told(NOW, list(1, 3, Vec::new())).unwrap();
        assert!(!prefetch.wants(&first) && !prefetch.wants(&second));
        prefetch.told(NOW, list(1, 4, runs)).unwrap();
        assert_eq!(next(&prefetch), Some(1));
    }

    #[test]
    fn the_newest_list_counts_and_an_old_one_never_again() {
        let mut prefetch = Prefetch::default();
        prefetch.told(NOW, list(2, 5, vec![run(1, 1)])).unwrap();
        for (epoch, number) in [(2, 5), (2, 4), (1, 9)] {
            let old = prefetch.told(NOW, list(epoch, number, Vec::new()));
            assert_eq!(old, Err(Outdated), "{epoch} {number}");
        }
        assert_eq!(next(&prefetch), Some(1));
        prefetch.told(NOW, list(3, 1, vec![run(2, 2)])).unwrap();
        assert_eq!(next(&prefetch), Some(2));
    }

    #[test]
    fn a_list_that_is_not_repeated_expires() {
        let mut prefetch = Prefetch::default();
        prefetch.told(NOW, list(1, 1, vec![run(1, 1)])).unwrap();
        let later = NOW.after(HOLDS_FOR / 2);
        prefetch.told(later, list(1, 2, vec![run(1, 1)])).unwrap();
        assert!(!prefetch.expire(NOW.after(HOLDS_FOR)));
        assert!(prefetch.expire(later.after(HOLDS_FOR)));
        assert_eq!((next(&prefetch), prefetch.expires_at()), (None, None));
        // It still passes for no new one.
        assert_eq!(prefetch.told(later, list(1, 2, Vec::new())), Err(Outdated));
    }

    #[test]
    fn what_cannot_be_read_hides_nothing() {
        let mut prefetch = Prefetch::default();
        let mut unreadable = run(1, 1);
        unreadable.run.config = "{}".to_owned();
        prefetch
            .told(NOW, list(1, 1, vec![unreadable, run(2, 2)]))
            .unwrap();
        assert_eq!(next(&prefetch), Some(2));
    }

    #[test]
    fn failures_are_remembered_up_to_a_bound() {
        let mut prefetch = Prefetch::default();
        for at in 0..=u64::try_from(FAILED_MAX).unwrap() {
            let image = ImageKey::Named {
                user: "anna".parse().unwrap(),
                name: format!("{at}"),
            };
            prefetch.failed(Timestamp::from_millis(at), image);
        }
        assert_eq!(prefetch.failed.len(), FAILED_MAX);
        let oldest = prefetch.failed.values().min();
        assert_eq!(oldest, Some(&Timestamp::from_millis(1)));
    }
}
