//! `dopq nodes`, `cordon`, `uncordon`: the machines.

use chrono::{DateTime, Utc};
use clap::Args;
use dopq_common::api::{Node, NodeList};

use super::context::Context;
use super::status::state;
use crate::exit;
use crate::failure::Failure;
use crate::output::text::{age, bytes};
use crate::output::{Cell, Column, Table, Tone};

/// Lists the machines.
pub(crate) async fn run(context: &Context) -> Result<u8, Failure> {
    let nodes = context
        .client()?
        .nodes()
        .await
        .map_err(Failure::call("list the machines"))?;
    let now = context.now();
    context.output.show(
        &nodes,
        |nodes| table(nodes, now),
        |nodes| nodes.nodes.iter().map(|node| node.name.clone()).collect(),
    )?;
    if nodes.nodes.is_empty() {
        context.output.note(
            "no machine has reported yet; start one with dopq-worker, or see the master's log",
        );
    }
    Ok(exit::DONE)
}

fn table(nodes: &NodeList, now: DateTime<Utc>) -> Table {
    let mut table = Table::new(&[
        Column::new("NODE"),
        Column::new("STATE"),
        Column::number("GPUS"),
        Column::text("MODELS").spare(),
        Column::number("CPUS").spare(),
        Column::number("MEMORY"),
        Column::text("JOBS"),
        Column::number("SEEN").spare(),
        Column::text("ENGINE").spare(),
    ]);
    for node in &nodes.nodes {
        let jobs: Vec<String> = node.jobs.iter().map(u64::to_string).collect();
        table.row([
            (&node.name).into(),
            match &node.cordon {
                Some(reason) if reason.is_empty() => Cell::toned("cordoned", Tone::Waiting),
                Some(reason) => Cell::toned(&format!("cordoned: {reason}"), Tone::Waiting),
                None => state(&node.state),
            },
            gpus(node).into(),
            models(node).into(),
            format!("{:.1}/{:.1}", node.cpu_cores_held, node.cpu_cores).into(),
            format!(
                "{}/{}",
                bytes(node.memory_held_bytes),
                bytes(node.memory_bytes)
            )
            .into(),
            jobs.join(",").into(),
            node.last_seen_at
                .map_or_else(|| "never".to_owned(), |at| age(at, now))
                .into(),
            (&node.engine).into(),
        ]);
    }
    table
}

/// GPUs held of those that are there, and how many are out of order.
fn gpus(node: &Node) -> String {
    let held: f64 = node.gpus.iter().map(|gpu| gpu.held_ratio).sum();
    let broken = node.gpus.iter().filter(|gpu| !gpu.healthy).count();
    let held = if held.fract() == 0.0 {
        format!("{held:.0}")
    } else {
        format!("{held:.1}")
    };
    let text = format!("{held}/{}", node.gpus.len());
    if broken == 0 {
        text
    } else {
        format!("{text} ({broken} broken)")
    }
}

/// Each model once, with its number.
fn models(node: &Node) -> String {
    let mut numbers = std::collections::BTreeMap::<&str, u64>::new();
    for gpu in &node.gpus {
        *numbers.entry(&gpu.model).or_default() += 1;
    }
    let parts: Vec<String> = numbers
        .into_iter()
        .map(|(model, number)| format!("{number}x {model}"))
        .collect();
    parts.join(", ")
}

/// Arguments of `dopq cordon`.
#[derive(Debug, Args)]
pub(crate) struct CordonArguments {
    /// Which machines
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
    /// Why, for everybody who asks
    #[arg(long, default_value = "")]
    reason: String,
}

/// Arguments of `dopq uncordon`.
#[derive(Debug, Args)]
pub(crate) struct UncordonArguments {
    /// Which machines
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
}

/// Closes machines to new jobs.
pub(crate) async fn cordon(context: &Context, arguments: &CordonArguments) -> Result<u8, Failure> {
    let client = context.client()?;
    for node in &arguments.nodes {
        client
            .cordon(node, &arguments.reason)
            .await
            .map_err(Failure::call(format!("cordon {node}")))?;
        context.output.note(&format!(
            "{node} takes no new jobs; those that run there go on"
        ));
    }
    Ok(exit::DONE)
}

/// Opens machines again.
pub(crate) async fn uncordon(
    context: &Context,
    arguments: &UncordonArguments,
) -> Result<u8, Failure> {
    let client = context.client()?;
    for node in &arguments.nodes {
        client
            .uncordon(node)
            .await
            .map_err(Failure::call(format!("uncordon {node}")))?;
        context.output.note(&format!("{node} takes jobs again"));
    }
    Ok(exit::DONE)
}
