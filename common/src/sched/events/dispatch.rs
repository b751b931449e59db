//! Takes one event and hands it to the file that knows its kind.

use crate::sched::events::reconcile::Joined;
use crate::sched::model::effect::Effects;
use crate::sched::model::event::{Event, Rejected};
use crate::sched::state::core::State;
use crate::sched::state::step::Step;
use crate::time::Timestamp;

/// Takes one event. Nothing is placed: [`crate::sched::Planner::schedule`] does that once for a batch of events.
///
/// # Errors
/// [`Rejected`] when the event is stale or not allowed; then no job, user, worker or counter changed.
/// A stale report still leaves an order in `effects`, so that its worker cleans up.
pub fn step(
    state: &mut State,
    now: Timestamp,
    event: Event,
    effects: &mut Effects,
) -> Result<(), Rejected> {
    state.watch_mut().advance(now);
    let mut step = Step {
        state,
        now,
        effects,
    };
    step.take(event)
}

impl Step<'_> {
    fn take(&mut self, event: Event) -> Result<(), Rejected> {
        match event {
            Event::Submitted(submission) => self.submitted(submission),
            Event::CancelRequested { job, by } => self.cancel_requested(job, by),
            Event::HoldRequested { job, by } => self.hold_requested(job, by),
            Event::ReleaseRequested { job } => self.release_requested(job),
            Event::PriorityRequested { job, priority } => self.priority_requested(job, priority),
            Event::WorkerJoined {
                worker,
                session,
                capacity,
                images,
                machine,
                known,
            } => {
                let joined = Joined {
                    session,
                    capacity,
                    images,
                    machine,
                };
                self.worker_joined(worker, joined, &known)
            }
            Event::WorkerHeard { worker, session } => self.worker_heard(&worker, &session),
            Event::WorkerLeft { worker } => self.worker_left(&worker),
            Event::WorkerRemoved { worker } => self.worker_removed(&worker),
            Event::WorkerForgotten { worker } => self.worker_forgotten(&worker),
            Event::WorkerClosed {
                worker,
                session,
                why,
            } => self.worker_closed(&worker, &session, why),
            Event::GpusTaken {
                worker,
                session,
                taken,
            } => self.gpus_taken(&worker, &session, taken),
            Event::CordonSet { worker, cordon } => self.cordon_set(&worker, cordon),
            Event::EvictRequested { job, by } => self.evict_requested(job, &by),
            Event::NodeEvictRequested { worker, by } => self.node_evict_requested(&worker, &by),
            Event::Reported {
                worker,
                attempt,
                progress,
            } => self.reported(worker, attempt, progress),
            Event::UserSet {
                user,
                weight,
                guards,
                group,
            } => self.user_set(&user, weight, guards, group),
            Event::HistoryCleared { user, before } => {
                self.history_cleared(user, before);
                Ok(())
            }
            Event::UserRemoved { user, by, running } => {
                self.user_removed(&user, by, running);
                Ok(())
            }
            Event::GroupSet {
                group,
                weight,
                guards,
            } => self.group_set(group, weight, guards),
            Event::GroupRemoved { group } => self.group_removed(&group),
            Event::LockSet { lock } => self.lock_set(lock),
            Event::ShutdownRequested { by } => {
                self.state.set_closing(by);
                Ok(())
            }
            Event::SettingsChanged { settings } => {
                self.state.set_settings(*settings);
                self.bound_history();
                Ok(())
            }
            Event::BrokerLink { up } => {
                self.state.set_link(up);
                Ok(())
            }
            Event::IdsUsed { last } => {
                self.count_beyond(last);
                Ok(())
            }
            Event::LeadershipAcquired => {
                self.leadership_acquired();
                Ok(())
            }
            Event::Ticked => {
                self.ticked();
                Ok(())
            }
        }
    }
}
