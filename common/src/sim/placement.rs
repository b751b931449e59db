//! The placement experiment of "Beware of Fragmentation" (USENIX ATC '23): tasks arrive one by one and none
//! ever ends; one that fits nowhere is dropped. How much of the GPUs is allocated once so much has arrived?

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::id::{JobId, JobKey, UserName};
use crate::job::Phase;
use crate::resources::{Capacity, Request};
use crate::sched::{
    Backfill, Effects, Event, Placement, Planner, Rejected, Settings, State, Submission, held, step,
};
use crate::time::Timestamp;

use super::SimError;
use super::job::spec;
use super::rng::Rng;

/// One run of the experiment.
#[derive(Debug, Clone, Copy)]
pub struct Experiment<'a> {
    /// The machines.
    pub nodes: &'a [Capacity],
    /// What the tasks ask for.
    pub pods: &'a [Request],
    /// Who places them.
    pub placement: Placement,
    /// Until requests worth so many times the GPUs have arrived.
    pub load: f64,
    /// Chooses the tasks that are repeated, and their order.
    pub seed: u64,
}

/// The allocated part of all GPUs in percent, after arrivals worth each of `at` times all GPUs.
///
/// # Errors
/// When the scheduler does not play along.
pub fn run(experiment: Experiment<'_>, at: &[f64]) -> Result<Vec<f64>, SimError> {
    let user: UserName = "sim".parse()?;
    let now = Timestamp::from_millis(0);
    let mut state = State::new(Settings {
        placement: experiment.placement,
        // A task that does not fit is dropped, and nothing is kept for it.
        backfill: Backfill::BestEffort,
        starts_per_worker: u32::MAX,
        history_max_jobs: usize::MAX,
        ..Settings::default()
    });
    let mut planner = Planner::default();
    let mut effects = Effects::default();
    for (number, capacity) in experiment.nodes.iter().enumerate() {
        let joined = Event::WorkerJoined {
            worker: format!("node-{number:05}").parse()?,
            session: "sim".into(),
            capacity: capacity.clone(),
            images: BTreeSet::new(),
            machine: Arc::default(),
            known: Vec::new(),
        };
        step(&mut state, now, joined, &mut effects)?;
    }
    let gpus: usize = experiment.nodes.iter().map(|node| node.gpus.len()).sum();
    let total = 1000.0 * as_f64(gpus);
    let config: Arc<str> = "{}".into();
    let mut arrived = 0.0;
    let mut results = Vec::new();
    for request in arrivals(experiment, total) {
        arrived += milli(request);
        let submission = Submission {
            user: user.clone(),
            spec: Arc::new(spec(user.clone(), request.clone())),
            config: Arc::clone(&config),
            bundle: None,
            key: None,
            job_key: JobKey([0; 16]),
        };
        let submitted = step(&mut state, now, Event::Submitted(submission), &mut effects);
        match submitted {
            Ok(()) => {
                planner.schedule(&mut state, now, &mut effects);
                drop_if_waiting(&mut state, now, &user, &mut effects)?;
            }
            // One that could never fit anywhere is dropped like one that does not fit now.
            Err(Rejected::NeverFits(_)) => {}
            Err(other) => return Err(other.into()),
        }
        effects = Effects::default();
        while at
            .get(results.len())
            .is_some_and(|at| arrived >= at * total - 0.5)
        {
            results.push(100.0 * allocated(&state) / total);
        }
    }
    Ok(results)
}

/// All tasks, repeated at random until there are enough, shuffled.
fn arrivals(experiment: Experiment<'_>, total: f64) -> Vec<&Request> {
    let mut rng = Rng::new(experiment.seed);
    let mut arrivals: Vec<&Request> = experiment.pods.iter().collect();
    let mut sum: f64 = arrivals.iter().map(|request| milli(request)).sum();
    while sum < experiment.load * total {
        let Some(request) = experiment.pods.get(rng.below(experiment.pods.len())) else {
            break;
        };
        sum += milli(request);
        arrivals.push(request);
    }
    rng.shuffle(&mut arrivals);
    arrivals
}

fn drop_if_waiting(
    state: &mut State,
    now: Timestamp,
    user: &UserName,
    effects: &mut Effects,
) -> Result<(), SimError> {
    let job = JobId(state.meta().last_job);
    let is_waiting = state
        .job(job)
        .is_some_and(|job| job.state.phase() == Phase::Queued);
    if is_waiting {
        let by = user.clone();
        step(state, now, Event::CancelRequested { job, by }, effects)?;
    }
    Ok(())
}

fn allocated(state: &State) -> f64 {
    let held = state.workers().map(|worker| {
        let gpus = held(state, &worker.id).gpus;
        gpus.values().map(|milli| f64::from(milli.0)).sum::<f64>()
    });
    held.sum()
}

/// The thousandths of GPUs that a request asks for.
fn milli(request: &Request) -> f64 {
    let each = request.gpu_amount.on(1).map_or(0, |milli| milli.0);
    f64::from(request.gpus) * f64::from(each)
}

fn as_f64(count: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of GPUs are small")]
    let count = count as f64;
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::openb;

    #[test]
    fn a_small_cluster_is_filled_as_far_as_it_goes() {
        let nodes = openb::nodes("cpu_milli,memory_mib,gpu,model\n8000,8192,2,A\n8000,8192,2,A\n")
            .expect("nodes");
        let pods = openb::pods(
            "cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n\
             1000,1024,1,500,\n1000,1024,1,500,\n1000,1024,2,1000,\n",
        )
        .expect("pods");
        for placement in [
            Placement::Default,
            Placement::Fgd,
            Placement::BestFit,
            Placement::Random { seed: 1 },
        ] {
            let run = run(
                Experiment {
                    nodes: &nodes,
                    pods: &pods,
                    placement,
                    load: 2.0,
                    seed: 3,
                },
                &[1.0, 2.0],
            )
            .expect("a run");
            assert_eq!(run.len(), 2);
            assert!(run[0] <= run[1] && run[1] <= 100.0, "{placement:?} {run:?}");
            assert!(run[1] >= 50.0, "{placement:?} {run:?}");
        }
    }
}
