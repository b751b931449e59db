//! `dopq status`: the state of each component, and since when.

use chrono::{DateTime, Utc};
use dopq_common::api::{Status, Volume};

use super::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::output::text::{age, duration};
use crate::output::{Cell, Column, Table, Tone};

/// Shows the state of the system.
pub(crate) async fn run(context: &Context) -> Result<u8, Failure> {
    let client = context.client()?;
    let status = client
        .status()
        .await
        .map_err(Failure::call("read the status"))?;
    let now = context.now();
    if let Some(name) = client.context() {
        let master = client.url();
        context.output.note(&format!("context {name}, {master}"));
    }
    context.output.note(&heading(&status));
    for volume in &status.volumes {
        context.output.note(&offer(volume));
    }
    context.output.show(
        &status,
        |status| table(status, now),
        |status| {
            status
                .components
                .iter()
                .map(|part| format!("{} {}", part.name, part.state))
                .collect()
        },
    )?;
    Ok(exit::DONE)
}

fn heading(status: &Status) -> String {
    let counts = |counts: &std::collections::BTreeMap<String, u64>| {
        let parts: Vec<String> = counts
            .iter()
            .filter(|(_, number)| **number > 0)
            .map(|(state, number)| format!("{number} {state}"))
            .collect();
        if parts.is_empty() {
            "none".to_owned()
        } else {
            parts.join(", ")
        }
    };
    crate::output::text::clean(&format!(
        "cluster {}, master {} ({}, epoch {}, up {}); jobs: {}; workers: {}",
        status.cluster,
        status.build,
        status.role,
        status.epoch,
        duration(std::time::Duration::from_secs(status.uptime_seconds)),
        counts(&status.jobs),
        counts(&status.workers)
    ))
}

/// Such as `volume imagenet: read-only, for vision, on gpu-1, gpu-2`.
pub(super) fn offer(volume: &Volume) -> String {
    let mode = if volume.read_only {
        "read-only"
    } else {
        "read-write"
    };
    let groups = if volume.groups.is_empty() {
        String::new()
    } else {
        format!(", for {}", volume.groups.join(" and "))
    };
    let nodes = volume.nodes.join(", ");
    let name = &volume.name;
    crate::output::text::clean(&format!("volume {name}: {mode}{groups}, on {nodes}"))
}

fn table(status: &Status, now: DateTime<Utc>) -> Table {
    let mut table = Table::new(&[
        Column::new("COMPONENT"),
        Column::new("STATE"),
        Column::number("SINCE"),
        Column::text("DETAIL"),
    ])
    .wrapping();
    for part in &status.components {
        table.row([
            (&part.name).into(),
            state(&part.state),
            age(part.since, now).into(),
            (&part.detail).into(),
        ]);
    }
    table
}

/// The state of a component or node, in its colour.
pub(super) fn state(state: &str) -> Cell {
    let tone = match state {
        "up" => Tone::Good,
        "down" | "lost" => Tone::Bad,
        "degraded" | "suspect" => Tone::Waiting,
        _ => Tone::Plain,
    };
    Cell::toned(state, tone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_told_with_whom_it_is_for() {
        let mut volume = Volume {
            name: "imagenet".to_owned(),
            read_only: true,
            groups: vec!["nlp".to_owned(), "vision".to_owned()],
            nodes: vec!["gpu-1".to_owned(), "gpu-2".to_owned()],
        };
        assert_eq!(
            offer(&volume),
            "volume imagenet: read-only, for nlp and vision, on gpu-1, gpu-2"
        );
        volume.groups.clear();
        volume.read_only = false;
        assert_eq!(
            offer(&volume),
            "volume imagenet: read-write, on gpu-1, gpu-2"
        );
    }
}
