//! What the engine shows and what time brings: adoption at start, the periodic look, the lease, the GPUs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::id::{AttemptId, GpuId};
use crate::job::{Cause, Outcome};

use super::effect::Act;
use super::event::{Created, Rejected, Seen, Status};
use super::exit::Ender;
use super::state::{Attempt, Stage, StopOrder};
use super::step::Step;

/// How often the time at which the broker was last in reach is written down.
const LINKED_EVERY: Duration = Duration::from_secs(30);

impl Step<'_> {
    /// Takes up what was under way, from the records and from what the engine shows.
    pub(super) fn resumed(&mut self, boot: Arc<str>, containers: &[Seen]) {
        self.state.boot = boot;
        let seen = self.by_attempt(containers);
        let attempts: Vec<Attempt> = self.state.attempts.values().cloned().collect();
        for attempt in attempts {
            self.resume(&attempt, seen.get(&attempt.id).copied());
        }
        self.remove_strays(containers);
    }

    /// What is seen of each attempt's own container; one that a request of a former agent made after the
    /// recorded one was gone is another container.
    fn by_attempt<'s>(&self, containers: &'s [Seen]) -> BTreeMap<AttemptId, &'s Seen> {
        let own = containers.iter().filter(|seen| {
            let attempt = self.state.attempts.get(&seen.attempt);
            let recorded = attempt.and_then(|a| a.stage.container());
            recorded.is_none_or(|container| *container == seen.container)
        });
        own.map(|seen| (seen.attempt, seen)).collect()
    }

    fn resume(&mut self, attempt: &Attempt, seen: Option<&Seen>) {
        let id = attempt.id;
        match &attempt.stage {
            Stage::Fetching => self.act(Act::Fetch(id)),
            Stage::Building => self.act(Act::Build(id)),
            Stage::Creating { image } => match (seen, &attempt.stop) {
                (Some(seen), _) => {
                    let created = Created {
                        container: Arc::clone(&seen.container),
                        found: Some(seen.status.clone()),
                    };
                    // The stage was just looked at, so this is never refused.
                    self.created(id, created).unwrap_or_default();
                }
                (None, Some(stop)) => self.finish_as_ordered(id, stop, None),
                (None, None) => self.act(Act::Create {
                    attempt: id,
                    image: Arc::clone(image),
                }),
            },
            Stage::Starting {
                container, since, ..
            } => {
                // Whoever asked for the start is gone, so its answer will not come: look instead.
                let stage = Stage::Starting {
                    container: Arc::clone(container),
                    since: *since,
                    look_at: Some(self.now.after(self.state.settings.look_every)),
                };
                self.set_quietly(id, stage);
                let status = seen.map(|seen| seen.status.clone());
                self.inspected(id, status).unwrap_or_default();
            }
            Stage::Running { container, .. } | Stage::Paused { container, .. } => {
                self.rewatch(id, container, seen);
            }
            Stage::Stopping { container, .. } => {
                self.rewatch(id, container, seen);
                if let Some(status) = seen.map(|seen| &seen.status) {
                    let thaw = matches!(status, Status::Paused { .. });
                    if thaw || matches!(status, Status::Running { .. }) {
                        self.act(Act::Terminate {
                            attempt: id,
                            container: Arc::clone(container),
                            thaw,
                        });
                    }
                }
            }
            Stage::Exited { container, exit } => {
                let ender = if attempt.boot == self.state.boot {
                    Ender::Unproven
                } else {
                    Ender::Reboot
                };
                self.end(id, Arc::clone(container), exit, &ender);
            }
            Stage::Uploading { .. } => {
                let discard = seen.filter(|seen| !matches!(seen.status, Status::Exited(_)));
                self.act(Act::Finish {
                    attempt: id,
                    discard: discard.map(|seen| Arc::clone(&seen.container)),
                });
                if attempt.cut {
                    self.act(Act::Cut(id));
                }
            }
            Stage::Reported { .. } | Stage::Forgotten { .. } | Stage::Refused { .. } => {}
        }
    }

    /// Watches a container again that still is, or catches up on how it ended.
    fn rewatch(&mut self, id: AttemptId, container: &Arc<str>, seen: Option<&Seen>) {
        if let Some(Status::Running { .. } | Status::Paused { .. }) = seen.map(|s| &s.status) {
            self.act(Act::Watch {
                attempt: id,
                container: Arc::clone(container),
            });
        }
        let status = seen.map(|seen| seen.status.clone());
        // A refusal says that it stands as recorded.
        self.inspected(id, status).unwrap_or_default();
        // Nobody was watching when it ended, so nobody can prove who ended it.
        let stage = self.state.attempts.get(&id).map(|a| a.stage.clone());
        if let Some(Stage::Exited { container, exit }) = stage {
            self.effects
                .acts
                .retain(|act| !matches!(act, Act::Verify { attempt, .. } if *attempt == id));
            self.end(id, container, &exit, &Ender::Unproven);
        }
    }

    fn set_quietly(&mut self, id: AttemptId, stage: Stage) {
        if self.state.set_stage(id, stage).is_some() {
            self.effects.attempts.insert(id);
        }
    }

    /// The periodic look. It may be older than what is known by now, so it settles nothing: whatever
    /// differs from the record is inspected by itself.
    pub(super) fn listed(&mut self, containers: &[Seen]) {
        let seen = self.by_attempt(containers);
        let mut differing = Vec::new();
        for attempt in self.state.attempts.values() {
            let status = seen.get(&attempt.id).map(|seen| &seen.status);
            let (container, differs) = match &attempt.stage {
                Stage::Running { container, .. } => {
                    (container, !matches!(status, Some(Status::Running { .. })))
                }
                Stage::Paused { container, .. } => {
                    (container, !matches!(status, Some(Status::Paused { .. })))
                }
                Stage::Stopping { container, .. } => {
                    (container, matches!(status, None | Some(Status::Exited(_))))
                }
                _ => continue,
            };
            if differs {
                differing.push((attempt.id, Arc::clone(container)));
            }
        }
        for (attempt, container) in differing {
            self.act(Act::Inspect { attempt, container });
        }
        self.remove_strays(containers);
    }

    /// Removes this agent's own containers of which it has no record, or which it was told to forget.
    fn remove_strays(&mut self, containers: &[Seen]) {
        for seen in containers {
            let stray = match self.state.attempts.get(&seen.attempt).map(|a| &a.stage) {
                Some(Stage::Creating { .. }) => false,
                Some(stage) => stage.container() != Some(&seen.container),
                None => true,
            };
            if stray {
                self.act(Act::Remove {
                    attempt: seen.attempt,
                    container: Arc::clone(&seen.container),
                });
            }
        }
    }

    /// Ends what runs on a GPU that is gone; the worker goes on with the others.
    pub(super) fn gpus_found(&mut self, gpus: BTreeSet<GpuId>) {
        let lost: Vec<(AttemptId, GpuId)> = self
            .state
            .attempts
            .values()
            .filter(|a| a.stop.is_none() && a.stage.can_stop())
            .filter_map(|a| {
                let held = &a.run.as_ref()?.order.allocation.gpus;
                let lost = held.iter().find(|share| !gpus.contains(&share.id))?;
                Some((a.id, lost.id.clone()))
            })
            .collect();
        self.state.gate.gpus = Some(gpus);
        for (id, gpu) in lost {
            let outcome = Outcome::new(Cause::GpuFault, format!("GPU {gpu} failed"));
            self.stop_on_own(id, outcome);
        }
    }

    /// Ends what runs; what ends already is left alone.
    pub(super) fn exceeded(&mut self, id: AttemptId, outcome: Outcome) -> Result<(), Rejected> {
        let attempt = self.get(id)?;
        if attempt.stop.is_some() || !attempt.stage.can_stop() {
            return Err(self.stale(id));
        }
        self.stop_on_own(id, outcome);
        Ok(())
    }

    fn stop_on_own(&mut self, id: AttemptId, outcome: Outcome) {
        let stop = StopOrder {
            outcome,
            grace: self.own_grace(id),
            forget: false,
            insists: false,
        };
        self.stop(id, stop);
    }

    pub(super) fn link_changed(&mut self, up: bool) {
        if up {
            self.state.link_down_since = None;
            self.note_link();
        } else if self.state.link_down_since.is_none() {
            self.state.link_down_since = Some(self.now);
        }
    }

    fn note_link(&mut self) {
        self.state.meta.linked_at = self.now;
        if self.state.has_strict() {
            self.effects.meta = true;
        }
    }

    pub(super) fn ticked(&mut self) {
        let now = self.now;
        let settings = self.state.settings;
        let mut acts = Vec::new();
        let mut over = Vec::new();
        for attempt in self.state.attempts.values_mut() {
            let id = attempt.id;
            match &mut attempt.stage {
                Stage::Stopping {
                    container, kill_at, ..
                } if *kill_at <= now => {
                    *kill_at = now.after(settings.kill_every);
                    let container = Arc::clone(container);
                    acts.push(Act::Kill {
                        attempt: id,
                        container,
                    });
                }
                Stage::Starting {
                    container,
                    look_at: Some(look_at),
                    ..
                } if *look_at <= now => {
                    // What is seen sets the next look; a look that takes long is not doubled.
                    *look_at = now.after(settings.unclear_for);
                    let container = Arc::clone(container);
                    acts.push(Act::Inspect {
                        attempt: id,
                        container,
                    });
                }
                Stage::Forgotten { at, .. } | Stage::Refused { at, .. }
                    if now.since(*at) >= settings.remember_for =>
                {
                    over.push(id);
                }
                _ => {}
            }
        }
        self.effects.acts.extend(acts);
        for id in over {
            self.state.attempts.remove(&id);
            self.effects.attempts.insert(id);
        }
        self.keep_lease();
    }

    /// A `strict_once` job must be over here before the masters may give it to another machine.
    fn keep_lease(&mut self) {
        let Some(since) = self.state.link_down_since else {
            if self.state.has_strict() && self.now.since(self.state.meta.linked_at) >= LINKED_EVERY
            {
                self.note_link();
            }
            return;
        };
        if self.now.since(since) < self.state.settings.lease {
            return;
        }
        let strict: Vec<AttemptId> = self
            .state
            .attempts
            .values()
            .filter(|a| a.strict_once() && a.stop.is_none() && a.stage.can_stop())
            .map(|a| a.id)
            .collect();
        for id in strict {
            let detail = "the worker lost the broker, and the job may only run once";
            self.stop_on_own(id, Outcome::new(Cause::WorkerLost, detail));
        }
    }
}
