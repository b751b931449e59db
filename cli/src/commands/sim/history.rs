//! The cluster's own past, read from its master: what `dopq sim replay --from-history` runs again.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use dopq_common::api::{Job, NodeList, UserList};
use dopq_common::id::UserName;
use dopq_common::job::Class;
use dopq_common::resources::MilliGpu;
use dopq_common::sim::TraceJob;
use dopq_common::sim::history::PastJob;

use crate::client::JobFilter;
use crate::commands::context::Context;
use crate::failure::Failure;
use crate::output::text::count;

/// A cluster's past.
#[derive(Debug)]
pub(super) struct History {
    /// The jobs that ran on GPUs, by submission.
    pub(super) past: Vec<PastJob>,
    /// The weights of its users.
    pub(super) weights: BTreeMap<UserName, f64>,
    /// The GPUs of each of its machines that has any.
    pub(super) machines: Vec<u32>,
}

/// Reads it. Only who may list the users sees everybody's jobs, without which it would be no cluster's past.
pub(super) async fn fetch(context: &Context) -> Result<History, Failure> {
    let client = context.client()?;
    let users = client.users().await;
    let users = users.map_err(Failure::call("list the users"))?;
    let nodes = client.nodes().await;
    let nodes = nodes.map_err(Failure::call("list the nodes"))?;
    let finished = JobFilter {
        states: vec!["finished".to_owned()],
        ..JobFilter::default()
    };
    let page = client.jobs(&finished, usize::MAX).await;
    let mut jobs = page.map_err(Failure::call("list the finished jobs"))?.jobs;
    let all = jobs.len();
    jobs.retain(|job| job.num_gpus > 0 && job.started_at.is_some());
    jobs.sort_by_key(|job| (job.submitted_at, job.id));
    let Some(first) = jobs.first().map(|job| job.submitted_at) else {
        let text = match all {
            0 => "no finished jobs to replay".to_owned(),
            _ => format!(
                "nothing to replay: of {}, none ran on a GPU",
                count(all as u64, "finished job", "finished jobs")
            ),
        };
        return Err(Failure::Nothing(text));
    };
    let left_out = all - jobs.len();
    if left_out > 0 {
        context.output.note(&format!(
            "{} left out: never started, or without a GPU",
            count(left_out as u64, "finished job", "finished jobs")
        ));
    }
    let past = jobs.iter().map(|job| past(job, first));
    Ok(History {
        past: past.collect::<Result<_, _>>()?,
        weights: weights(&users),
        machines: machines(&nodes),
    })
}

fn past(job: &Job, first: DateTime<Utc>) -> Result<PastJob, Failure> {
    let started = job.started_at.unwrap_or(job.submitted_at);
    let finished = job.finished_at.unwrap_or(started);
    let user = job.user.parse();
    let user = user.map_err(|fault| Failure::Usage(format!("job {}: {fault}", job.id)))?;
    Ok(PastJob {
        job: TraceJob {
            submitted: between(first, job.submitted_at),
            ran: between(started, finished),
            gpus: job.num_gpus,
            // Machines that say nothing of shares give whole GPUs.
            gpu_amount: job.gpu_milli.map_or(MilliGpu::WHOLE, MilliGpu),
            user: Some(user),
            class: match job.class.as_str() {
                "urgent" => Class::Urgent,
                "nice" => Class::Nice,
                _ => Class::Normal,
            },
            priority: job.priority,
        },
        waited: between(job.submitted_at, started),
    })
}

/// Zero where clocks disagree about which was first.
fn between(from: DateTime<Utc>, to: DateTime<Utc>) -> Duration {
    TimeDelta::to_std(&(to - from)).unwrap_or(Duration::ZERO)
}

fn weights(users: &UserList) -> BTreeMap<UserName, f64> {
    let users = users.users.iter();
    let weights = users.filter_map(|user| Some((user.name.parse().ok()?, user.weight)));
    weights.collect()
}

fn machines(nodes: &NodeList) -> Vec<u32> {
    let present = nodes.nodes.iter().filter(|node| node.state != "lost");
    let healthy = present.map(|node| node.gpus.iter().filter(|gpu| gpu.healthy).count());
    let machines = healthy.filter_map(|gpus| u32::try_from(gpus).ok());
    machines.filter(|gpus| *gpus > 0).collect()
}

/// The first job that no machine could run, told so that it can be mended.
pub(super) fn too_large(past: &[PastJob], machines: &[u32]) -> Option<String> {
    let most = machines.iter().copied().max().unwrap_or(0);
    let large = past.iter().filter(|past| past.job.gpus > most);
    let largest = large.clone().map(|past| past.job.gpus).max()?;
    Some(format!(
        "{} asked for up to {largest} GPUs, but the largest node has {most}; \
         choose larger nodes with --gpus and --gpus-per-node",
        count(large.count() as u64, "finished job", "finished jobs")
    ))
}
