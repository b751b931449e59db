//! `dopq nodes`, `cordon`, `uncordon`.

use chrono::{DateTime, Utc};
use clap::Args;
use dopq_common::api::{Node, NodeList};

use super::context::Context;
use super::drain;
use super::gpus::percent;
use super::holders;
use super::list::{self, Look, Remark, Watch};
use super::status::state;
use crate::exit;
use crate::failure::Failure;
use crate::output::text::{age, bytes};
use crate::output::{Cell, Column, Table, Tone};

/// Arguments of `dopq nodes`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    watch: Watch,
}

/// Lists the nodes, and who holds their GPUs.
pub(crate) async fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let client = context.client()?;
    let look = Look {
        tables: |nodes: &NodeList, now| {
            let has_gpus = nodes.nodes.iter().any(|node| !node.gpus.is_empty());
            let holders = has_gpus.then(|| holders::table(nodes, now));
            std::iter::once(table(nodes, now)).chain(holders).collect()
        },
        names: |nodes| nodes.nodes.iter().map(|node| node.name.clone()).collect(),
    };
    list::show(context, arguments.watch, &look, async || {
        let nodes = client.nodes().await;
        let nodes = nodes.map_err(Failure::call("list the nodes"))?;
        let none = "no nodes yet; start dopq-worker on a GPU machine";
        let none = nodes
            .nodes
            .is_empty()
            .then(|| Remark::Note(none.to_owned()));
        Ok((nodes, none.into_iter().collect()))
    })
    .await
}

fn table(nodes: &NodeList, now: DateTime<Utc>) -> Table {
    let mut table = Table::new(&[
        Column::text("NODE").at_least(10),
        Column::text("STATE").at_least(10),
        Column::number("GPUS"),
        Column::text("MODELS").at_least(16).spare(),
        Column::number("MEMORY"),
        Column::text("JOBS"),
        Column::number("GPU%").spare(),
        Column::number("CPUS").spare(),
        Column::number("SEEN").spare(),
        Column::text("HOST").spare(),
        Column::text("ENGINE").spare(),
        Column::text("EGRESS").spare(),
        Column::text("VOLUMES").spare(),
    ]);
    for node in &nodes.nodes {
        let jobs: Vec<String> = node.jobs.iter().map(u64::to_string).collect();
        table.row([
            (&node.name).into(),
            match (&node.drain, &node.cordon) {
                (Some(drain), _) => Cell::toned(&drain::state_of(node, drain), Tone::Waiting),
                (None, Some(reason)) if reason.is_empty() => Cell::toned("cordoned", Tone::Waiting),
                (None, Some(reason)) => Cell::toned(&format!("cordoned: {reason}"), Tone::Waiting),
                (None, None) => state(&node.state),
            },
            gpus(node).into(),
            models(node).into(),
            format!(
                "{}/{}",
                bytes(node.memory_held_bytes),
                bytes(node.memory_bytes)
            )
            .into(),
            jobs.join(",").into(),
            busy(node).into(),
            format!("{:.1}/{:.1}", node.cpu_cores_held, node.cpu_cores).into(),
            node.last_seen_at
                .map_or_else(|| "never".to_owned(), |at| age(at, now))
                .into(),
            (&node.host).into(),
            (&node.engine).into(),
            egress(node).into(),
            node.volumes.join(",").into(),
        ]);
    }
    table
}

/// GPUs in use and all GPUs, and how many are broken.
fn gpus(node: &Node) -> String {
    if node.gpus.is_empty() {
        return "0".to_owned();
    }
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

/// How busy its GPUs are on average, when that is known.
fn busy(node: &Node) -> String {
    let known = node.gpus.iter().filter_map(|gpu| gpu.utilization_ratio);
    let known: Vec<f64> = known.collect();
    match u32::try_from(known.len()) {
        Ok(count @ 1..) => percent(known.iter().sum::<f64>() / f64::from(count)),
        Ok(0) | Err(_) => String::new(),
    }
}

/// What its jobs reach, and its builds where that is another.
fn egress(node: &Node) -> String {
    let builds = match &*node.build_egress {
        "default" => "open",
        other => other,
    };
    if builds.is_empty() || builds == node.egress {
        return node.egress.clone();
    }
    format!("{}, builds {builds}", node.egress)
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
    /// Nodes
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
    /// The reason, shown to everybody
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// Arguments of `dopq uncordon`.
#[derive(Debug, Args)]
pub(crate) struct UncordonArguments {
    /// Nodes
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
}

/// Cordons nodes.
pub(crate) async fn cordon(context: &Context, arguments: &CordonArguments) -> Result<u8, Failure> {
    let client = context.client()?;
    for node in &arguments.nodes {
        client
            .cordon(node, &arguments.reason)
            .await
            .map_err(Failure::call(format!("cordon {node}")))?;
        context
            .output
            .note(&format!("{node} cordoned; running jobs continue"));
    }
    Ok(exit::DONE)
}

/// Uncordons nodes.
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
        context.output.note(&format!("{node} uncordoned"));
    }
    Ok(exit::DONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_fit_80_columns() {
        let gpu = serde_json::json!({
            "id": "GPU-1", "model": "NVIDIA H100 80GB HBM3", "healthy": true, "memory_bytes": 1, "held_ratio": 0.5,
            "utilization_ratio": null, "memory_used_bytes": null
        });
        let mut broken = gpu.clone();
        broken["healthy"] = false.into();
        let gpus = [vec![gpu; 15], vec![broken]].concat();
        let nodes: NodeList = serde_json::from_value(serde_json::json!({"version": 1, "nodes": [{
            "name": "gpu-machine-in-rack-17", "state": "up", "cordon": "the fan of GPU 3 is replaced on Monday",
            "agent": "", "engine": "Docker 29.1.2, containerd 2.2", "gpu_mode": "",
            "last_seen_at": "2026-11-24T06:59:58Z", "gpus": gpus, "cpu_cores": 256.0, "cpu_cores_held": 120.5,
            "memory_bytes": 2_164_663_517_184_u64, "memory_held_bytes": 1_089_511_627_776_u64,
            "jobs": [1_234_567, 1_234_568, 1_234_569], "labels": {}
        }]}))
        .unwrap();
        let text = table(&nodes, "2026-11-24T07:00:00Z".parse().unwrap()).render_at_80();
        for part in ["8/16 (1 broken)", "gpu-machin", "cordoned", "JOBS"] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        let mut node = nodes.nodes.into_iter().next().unwrap();
        node.gpus.clear();
        assert_eq!(super::gpus(&node), "0", "a machine without GPUs");
        for (jobs, builds, told) in [
            ("", "", ""),
            ("open", "default", "open"),
            ("open", "internet", "open, builds internet"),
            ("internet", "internet", "internet"),
            ("internet", "none", "internet, builds none"),
        ] {
            node.egress = jobs.to_owned();
            node.build_egress = builds.to_owned();
            assert_eq!(egress(&node), told);
        }
    }
}
