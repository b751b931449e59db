//! `dopq drain` and `evict`: emptying nodes.

use std::time::Duration;

use clap::Args;
use dopq_common::api::{DrainRequest, Node, NodeDrain};

use super::change::{self, Verb};
use super::context::Context;
use crate::client::Client;
use crate::exit;
use crate::failure::Failure;
use crate::output::text::count;
use crate::select::{Selection, Whose, resolve};

/// Between two looks at a node that is being drained.
const POLL: Duration = Duration::from_secs(2);

/// Arguments of `dopq drain`.
#[derive(Debug, Args)]
pub(crate) struct DrainArguments {
    /// Nodes
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
    /// Wait until no job is left
    #[arg(long)]
    wait: bool,
    /// Evict the jobs that are left after this time, such as 2h; 0s evicts them at once
    #[arg(long, value_name = "TIME", value_parser = dopq_common::bundle::config::duration)]
    deadline: Option<Duration>,
    /// The reason, shown to everybody
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// Arguments of `dopq evict`.
#[derive(Debug, Args)]
pub(crate) struct EvictArguments {
    /// Nodes (all their jobs), or jobs: 1423, 3-7, 3,5-7 or last
    #[arg(required = true, value_name = "NODE|JOB")]
    targets: Vec<String>,
}

/// Drains nodes.
pub(crate) async fn drain(context: &Context, arguments: &DrainArguments) -> Result<u8, Failure> {
    let client = context.client()?;
    let request = DrainRequest {
        reason: arguments.reason.clone(),
        deadline_seconds: arguments.deadline.map(|within| within.as_secs()),
    };
    for node in &arguments.nodes {
        client
            .drain(node, &request)
            .await
            .map_err(Failure::call(format!("drain {node}")))?;
    }
    let mut told = Vec::new();
    loop {
        let now = progress(&client, &arguments.nodes).await?;
        for (node, drain) in &now {
            if !told.contains(&(node.clone(), drain.jobs_left)) {
                let line = format!("{node}: {}", words(drain));
                context.output.note(&line);
            }
        }
        let left = now.iter().any(|(_, drain)| drain.jobs_left > 0);
        if !(arguments.wait && left) {
            return Ok(exit::DONE);
        }
        told = now
            .into_iter()
            .map(|(node, drain)| (node, drain.jobs_left))
            .collect();
        tokio::time::sleep(POLL).await;
    }
}

/// How far the drains of these nodes are.
async fn progress(client: &Client, names: &[String]) -> Result<Vec<(String, NodeDrain)>, Failure> {
    let list = client
        .nodes()
        .await
        .map_err(Failure::call("list the nodes"))?;
    let drain_of = |name: &String| {
        let node = list.nodes.iter().find(|node| node.name == *name);
        let drain = node.and_then(|node| node.drain);
        drain.map(|drain| (name.clone(), drain)).ok_or_else(|| {
            Failure::Nothing(format!(
                "{name} is not being drained any more: somebody uncordoned or removed it"
            ))
        })
    };
    names.iter().map(drain_of).collect()
}

/// How far a drain is, for lists and notes.
pub(super) fn words(drain: &NodeDrain) -> String {
    match drain.jobs_left {
        0 => "drained".to_owned(),
        left => format!("draining, {} left", count(left, "job", "jobs")),
    }
}

/// The state of a node that is being drained; one that is not up says so.
pub(super) fn state_of(node: &Node, drain: &NodeDrain) -> String {
    match &*node.state {
        "up" => words(drain),
        other => format!("{}, {other}", words(drain)),
    }
}

/// Evicts jobs, or all jobs of nodes.
pub(crate) async fn evict(context: &Context, arguments: EvictArguments) -> Result<u8, Failure> {
    let client = context.client()?;
    let (mut jobs, mut nodes) = (Vec::new(), Vec::new());
    for target in arguments.targets {
        match target.parse::<Selection>() {
            Ok(selection) => jobs.push(selection),
            Err(_) => nodes.push(target),
        }
    }
    for node in nodes {
        client
            .evict_node(&node)
            .await
            .map_err(Failure::call(format!("evict the jobs of {node}")))?;
        context.output.note(&format!(
            "the jobs of {node} are being stopped and queued again; see dopq nodes"
        ));
    }
    if jobs.is_empty() {
        return Ok(exit::DONE);
    }
    let ids = resolve(&client, &jobs, Whose::Mine).await?;
    change::each(context, &client, ids, Verb::Evict).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_states_of_a_drain_have_words() {
        let words = |jobs_left| {
            words(&NodeDrain {
                jobs_left,
                deadline: None,
            })
        };
        assert_eq!(words(0), "drained");
        assert_eq!(words(1), "draining, 1 job left");
        assert_eq!(words(2), "draining, 2 jobs left");
    }
}
