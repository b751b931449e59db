//! One sweep: lists the store in pages, decides by the rules, and removes.
//!
//! A bundle goes in two steps. Without its record it does not count as stored: whoever submits it must upload it again.
//! Who uploaded it goes with the record.
//! Its zip goes later, when no leader can be left that accepted a job while the record was there.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dopq_common::id::{Digest, UserName};
use dopq_common::time::Timestamp;
use futures::StreamExt as _;

use super::report::{Kind, Report};
use super::rules::{self, Group, JobName, Need, Needs, Object, Unused};
use crate::bundles::{Bundles, Error, Listed, Removal, Removed};
use crate::config::Retention;
use crate::quota::Used;
use crate::view::View;

/// Jobs that a user is told of who keeps too much.
const LARGEST: usize = 5;
/// Bundles that are removed at once.
const BUNDLES_AT_ONCE: usize = 500;

/// What is younger may still be written.
const UNFINISHED: Duration = Duration::from_secs(3600);

/// How to sweep.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mode {
    /// Whether to remove nothing.
    pub(super) dry_run: bool,
    /// Between two pages.
    pub(super) pause: Duration,
    /// Between a bundle's record and its zip.
    pub(super) grace: Duration,
    /// How much is to be freed of the disk, if there is so much that nothing needs.
    pub(super) shortage: u64,
}

/// Who uploaded a bundle.
#[derive(Default)]
struct Upload {
    users: Vec<UserName>,
    /// Whether the bundle or a part of it is there.
    is_there: bool,
}

impl Upload {
    /// The objects that say so.
    fn names(&self, digest: &Digest) -> impl Iterator<Item = String> {
        let users = self.users.iter();
        users.map(move |user| format!("uploaders/{digest}/{user}"))
    }
}

/// A sweep under way.
pub(super) struct Sweep<'a> {
    bundles: &'a Bundles,
    view: &'a View,
    settings: &'a Retention,
    mode: Mode,
    now: Timestamp,
    needs: Needs,
    uploads: BTreeMap<Digest, Upload>,
    /// What nothing needs and is not over.
    unused: BTreeMap<Group, Unused>,
    used: BTreeMap<UserName, Used>,
    report: Report,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(
        bundles: &'a Bundles,
        view: &'a View,
        settings: &'a Retention,
        mode: Mode,
        now: Timestamp,
    ) -> Self {
        let mut needs = Needs::default();
        view.read(|model| needs.look(&model.state));
        Self {
            bundles,
            view,
            settings,
            mode,
            now,
            needs,
            uploads: BTreeMap::new(),
            unused: BTreeMap::new(),
            used: BTreeMap::new(),
            report: Report {
                dry_run: mode.dry_run,
                ..Report::default()
            },
        }
    }

    /// Sweeps the whole store once. What cannot be removed holds up nothing else.
    ///
    /// # Errors
    /// The store's, if it cannot be listed; what was removed until then is gone.
    pub(super) async fn run(mut self) -> Result<(Report, BTreeMap<UserName, Used>), Error> {
        self.outputs().await?;
        self.uploads().await?;
        let over = self.bundles().await?;
        let going = over.values().copied().fold(0, u64::saturating_add);
        let mut over: BTreeSet<Digest> = over.into_keys().collect();
        for group in self.early(going) {
            // It is not offered to its user any more.
            self.unused.remove(&group);
            match group {
                Group::Bundle(digest) => drop(over.insert(digest)),
                Group::Job(job) => self.job(job).await?,
            }
        }
        self.remove_bundles(over).await?;
        self.remove_uploads().await?;
        self.archive().await?;
        self.unfinished().await?;
        self.note_largest();
        Ok((self.report, self.used))
    }

    /// Notes which jobs left most, for each user.
    fn note_largest(&mut self) {
        let jobs = self
            .unused
            .iter()
            .filter_map(|(group, unused)| match group {
                Group::Job((id, key)) => Some((*id, *key, unused.bytes)),
                Group::Bundle(_) => None,
            });
        let used = &mut self.used;
        self.view.read(|model| {
            for (id, key, bytes) in jobs {
                let job = model.state.job(id).filter(|job| job.key == key);
                if let Some(used) = job.and_then(|job| used.get_mut(&job.user)) {
                    used.largest.push((id, bytes));
                    used.largest
                        .sort_unstable_by_key(|(id, bytes)| (Reverse(*bytes), *id));
                    used.largest.truncate(LARGEST);
                }
            }
        });
    }

    /// Logs, results and checkpoints.
    async fn outputs(&mut self) -> Result<(), Error> {
        let mut pages = self.bundles.pages("jobs");
        while let Some(page) = pages.next().await {
            let page = self.known(page?);
            let view = self.view;
            let needs: Vec<(Need, Option<UserName>)> = view.read(|model| {
                let needs = page.iter().map(|(object, _)| match object {
                    Object::Log(job) | Object::Results(job) | Object::Checkpoint(job) => {
                        rules::output(&model.state, *job)
                    }
                    Object::Zip(_) | Object::Record(_) => (Need::Now, None),
                });
                needs.collect()
            });
            let mut over = Vec::new();
            for ((object, listed), (need, user)) in page.into_iter().zip(needs) {
                if self.is_over(object, &listed, need) {
                    over.push((Kind::of(object), listed));
                } else if let Some(user) = user {
                    let used = self.used.entry(user).or_default();
                    let bytes = match object {
                        Object::Results(_) => &mut used.results,
                        Object::Checkpoint(_) => &mut used.checkpoints,
                        Object::Log(_) | Object::Zip(_) | Object::Record(_) => &mut used.logs,
                    };
                    *bytes = bytes.saturating_add(listed.size_bytes);
                }
            }
            self.remove(over).await;
            tokio::time::sleep(self.mode.pause).await;
        }
        Ok(())
    }

    /// Who uploaded which bundle.
    async fn uploads(&mut self) -> Result<(), Error> {
        let mut pages = self.bundles.pages("uploaders");
        while let Some(page) = pages.next().await {
            for listed in page? {
                if let Some((digest, user)) = rules::grant(&listed.name) {
                    self.uploads.entry(digest).or_default().users.push(user);
                }
            }
            tokio::time::sleep(self.mode.pause).await;
        }
        Ok(())
    }

    /// The bundles that are over, with their sizes.
    async fn bundles(&mut self) -> Result<BTreeMap<Digest, u64>, Error> {
        let mut over: BTreeMap<Digest, u64> = BTreeMap::new();
        let mut pages = self.bundles.pages("bundles");
        while let Some(page) = pages.next().await {
            for (object, listed) in self.known(page?) {
                let (Object::Zip(digest) | Object::Record(digest)) = object else {
                    continue;
                };
                let upload = self.uploads.get_mut(&digest);
                if let Some(upload) = upload {
                    upload.is_there = true;
                }
                if self.is_over(object, &listed, self.needs.bundle(&digest)) {
                    let bytes = over.entry(digest).or_default();
                    *bytes = bytes.saturating_add(listed.size_bytes);
                    continue;
                }
                let uploaded = self.uploads.get(&digest).into_iter();
                let uploaded = uploaded.flat_map(|upload| &upload.users);
                let users: BTreeSet<_> = self.needs.users(&digest).iter().chain(uploaded).collect();
                for user in users {
                    let used = self.used.entry(user.clone()).or_default();
                    used.bundles = used.bundles.saturating_add(listed.size_bytes);
                }
            }
            tokio::time::sleep(self.mode.pause).await;
        }
        // Its two objects are not equally old.
        over.retain(|digest, _| !self.unused.contains_key(&Group::Bundle(*digest)));
        Ok(over)
    }

    /// What of a page may go at all. Counts it.
    fn known(&mut self, page: Vec<Listed>) -> Vec<(Object, Listed)> {
        let known: Vec<_> = page
            .into_iter()
            .filter_map(|listed| Some((Object::of(&listed.name)?, listed)))
            .collect();
        for (object, listed) in &known {
            self.report.found(Kind::of(*object), listed.size_bytes);
        }
        known
    }

    /// Whether an object is over. Notes one that is not, but that nothing needs.
    fn is_over(&mut self, object: Object, listed: &Listed, need: Need) -> bool {
        let Some(since) = rules::unused_since(listed, need) else {
            return false;
        };
        if rules::is_over(self.settings, self.now, object, since) {
            return true;
        }
        let group = match object {
            Object::Zip(digest) | Object::Record(digest) => Group::Bundle(digest),
            Object::Log(job) | Object::Results(job) | Object::Checkpoint(job) => Group::Job(job),
        };
        let unused = self
            .unused
            .entry(group)
            .or_insert(Unused { since, bytes: 0 });
        unused.since = unused.since.max(since);
        unused.bytes = unused.bytes.saturating_add(listed.size_bytes);
        false
    }

    /// What goes because the store is too large, or its disk too full. `going` bytes of bundles go anyway.
    fn early(&self, going: u64) -> Vec<Group> {
        let kept = self.report.kept_in_all().bytes.saturating_sub(going);
        let freed = self.report.removed_in_all().bytes.saturating_add(going);
        let most = self.settings.store_size.map_or(u64::MAX, |most| most.0);
        let excess = kept.saturating_sub(most);
        let excess = excess.max(self.mode.shortage.saturating_sub(freed));
        rules::early(self.settings, self.now, &self.unused, excess)
    }

    /// Removes what a job left that is not over.
    async fn job(&mut self, job: JobName) -> Result<(), Error> {
        let (need, _) = self.view.read(|model| rules::output(&model.state, job));
        let mut pages = self.bundles.pages(&folder(job));
        while let Some(page) = pages.next().await {
            let early = page?.into_iter().filter_map(|listed| {
                let object = Object::of(&listed.name)?;
                let since = rules::unused_since(&listed, need)?;
                let is_over = rules::is_over(self.settings, self.now, object, since);
                (!is_over).then_some((Kind::of(object), listed))
            });
            let early = early.collect();
            self.remove(early).await;
        }
        Ok(())
    }

    async fn remove(&mut self, objects: Vec<(Kind, Listed)>) {
        remove(self.bundles, objects, self.mode.dry_run, &mut self.report).await;
    }

    /// Removes objects that are not counted.
    async fn remove_names(&mut self, names: Vec<String>) {
        if !self.mode.dry_run && !names.is_empty() {
            let count = names.len() as u64;
            let removed = self.bundles.remove(names).await;
            note_failed(&removed, count, &mut self.report);
        }
    }

    async fn remove_bundles(&mut self, over: BTreeSet<Digest>) -> Result<(), Error> {
        let over: Vec<Digest> = over.into_iter().collect();
        for some in over.chunks(BUNDLES_AT_ONCE) {
            let held = self.unneeded(some);
            let mut gone = Vec::with_capacity(held.len());
            for (digest, _) in &held {
                gone.push(format!("bundles/{digest}.json"));
                let upload = self.uploads.get(digest).into_iter();
                gone.extend(upload.flat_map(|upload| upload.names(digest)));
            }
            self.remove_names(gone).await;
        }
        if !self.mode.dry_run && !over.is_empty() {
            tokio::time::sleep(self.mode.grace).await;
        }
        for some in over.chunks(BUNDLES_AT_ONCE) {
            let mut gone = Vec::new();
            let held = self.unneeded(some);
            let mut digests = Vec::new();
            for (digest, _) in &held {
                if let Some(zip) = self.zip(digest).await? {
                    gone.push((Kind::Bundles, zip));
                    digests.push(*digest);
                }
            }
            self.remove(gone).await;
            self.remove_records_without_zip(digests).await?;
        }
        Ok(())
    }

    /// Removes what says who uploaded bundles that are not there.
    async fn remove_uploads(&mut self) -> Result<(), Error> {
        if self.mode.dry_run {
            return Ok(());
        }
        let uploads = std::mem::take(&mut self.uploads);
        for (digest, upload) in uploads.iter().filter(|(_, upload)| !upload.is_there) {
            // It may be uploaded again now, or was since the sweep began.
            let Some(_removal) = self.bundles.removing(*digest) else {
                continue;
            };
            if self.bundles.find(digest).await?.is_none()
                && self.bundles.zip(digest).await?.is_none()
            {
                self.remove_names(upload.names(digest).collect()).await;
            }
        }
        Ok(())
    }

    /// Those of them that no job needs and no request uses, none of which can be used while the answer lives.
    fn unneeded(&mut self, digests: &[Digest]) -> Vec<(Digest, Removal)> {
        let removals = digests.iter();
        let removals =
            removals.filter_map(|digest| Some((*digest, self.bundles.removing(*digest)?)));
        let mut held: Vec<_> = removals.collect();
        let (view, needs) = (self.view, &mut self.needs);
        view.read(|model| needs.look(&model.state));
        held.retain(|(digest, _)| needs.bundle(digest) != Need::Now);
        held
    }

    /// Removes records that another master, which led until now, wrote after the look for them and before the zip went.
    async fn remove_records_without_zip(&mut self, digests: Vec<Digest>) -> Result<(), Error> {
        if self.mode.dry_run {
            return Ok(());
        }
        for digest in &digests {
            if self.bundles.find(digest).await?.is_some()
                && self.bundles.zip(digest).await?.is_none()
            {
                let record = format!("bundles/{digest}.json");
                self.remove_names(vec![record]).await;
            }
        }
        Ok(())
    }

    /// A bundle's zip, if it may still go: nobody stored the bundle again meanwhile.
    async fn zip(&self, digest: &Digest) -> Result<Option<Listed>, Error> {
        let stored = !self.mode.dry_run && self.bundles.find(digest).await?.is_some();
        let zip = self.bundles.zip(digest).await?;
        let old = |zip: &Listed| self.now.since(zip.modified) > self.settings.min_age;
        Ok(zip.filter(|zip| !stored && old(zip)))
    }

    async fn archive(&mut self) -> Result<(), Error> {
        let mut days: BTreeMap<String, u64> = BTreeMap::new();
        let mut pages = self.bundles.pages("archive");
        while let Some(page) = pages.next().await {
            for segment in page? {
                if let Some(day) = rules::day(&segment.name) {
                    self.report.found(Kind::Archive, segment.size_bytes);
                    let bytes = days.entry(day.to_owned()).or_default();
                    *bytes = bytes.saturating_add(segment.size_bytes);
                }
            }
            tokio::time::sleep(self.mode.pause).await;
        }
        for day in rules::old_days(self.settings, self.now, &days) {
            let mut pages = self.bundles.pages(&format!("archive/{day}"));
            while let Some(page) = pages.next().await {
                let segments = page?.into_iter();
                let segments = segments.filter(|segment| rules::day(&segment.name).is_some());
                let segments = segments.map(|segment| (Kind::Archive, segment));
                self.remove(segments.collect()).await;
            }
        }
        Ok(())
    }

    /// What writes left that were cut off.
    async fn unfinished(&mut self) -> Result<(), Error> {
        let found = self.bundles.unfinished().await?.into_iter();
        for listed in found.filter(|listed| rules::is_unfinished(&listed.name)) {
            self.report.found(Kind::Unfinished, listed.size_bytes);
            if self.now.since(listed.modified) <= self.settings.min_age.max(UNFINISHED) {
                continue;
            }
            if !self.mode.dry_run {
                let removed = self.bundles.remove_unfinished(&listed).await;
                if let Err(error) = removed {
                    self.report.failed(1, &error);
                    continue;
                }
            }
            self.report.removed(Kind::Unfinished, listed.size_bytes);
        }
        Ok(())
    }
}

/// Removes all that a job left.
pub(super) async fn output(
    bundles: &Bundles,
    job: JobName,
    dry_run: bool,
    report: &mut Report,
) -> Result<(), Error> {
    let mut pages = bundles.pages(&folder(job));
    while let Some(page) = pages.next().await {
        let known = page?.into_iter();
        let known = known
            .filter_map(|listed| Some((Kind::of(Object::of(&listed.name)?), listed)))
            .collect();
        remove(bundles, known, dry_run, report).await;
    }
    Ok(())
}

fn folder((id, key): JobName) -> String {
    format!("jobs/{id}-{key}")
}

async fn remove(
    bundles: &Bundles,
    objects: Vec<(Kind, Listed)>,
    dry_run: bool,
    report: &mut Report,
) {
    if objects.is_empty() {
        return;
    }
    if dry_run {
        for (kind, listed) in objects {
            report.removed(kind, listed.size_bytes);
        }
        return;
    }
    let names = objects.iter().map(|(_, listed)| listed.name.clone());
    let removed = bundles.remove(names.collect()).await;
    let count = objects.len() as u64;
    for (kind, listed) in objects {
        if removed.names.contains(&listed.name) {
            report.removed(kind, listed.size_bytes);
        }
    }
    note_failed(&removed, count, report);
}

/// Notes what stays of `count` objects that should go.
fn note_failed(removed: &Removed, count: u64, report: &mut Report) {
    if let Some(error) = &removed.error {
        report.failed(count.saturating_sub(removed.names.len() as u64), error);
    }
}

impl Kind {
    const fn of(object: Object) -> Self {
        match object {
            Object::Zip(_) | Object::Record(_) => Self::Bundles,
            Object::Log(_) => Self::Logs,
            Object::Results(_) => Self::Results,
            Object::Checkpoint(_) => Self::Checkpoints,
        }
    }
}
