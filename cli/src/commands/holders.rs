//! Who holds which GPU, and since when: the second table of `dopq nodes`.

use chrono::{DateTime, Utc};
use dopq_common::api::{NodeGpu, NodeList};

use super::jobs::name_of;
use crate::output::text::{age, gpus};
use crate::output::{Cell, Column, Table, Tone};

/// A line for each GPU, and for each further job that shares it.
pub(super) fn table(nodes: &NodeList, now: DateTime<Utc>) -> Table {
    let mut table = Table::new(&[
        Column::text("NODE").at_least(10),
        Column::number("GPU"),
        Column::text("MODEL").at_least(10).spare(),
        Column::number("SHARE"),
        Column::number("JOB"),
        Column::text("USER"),
        Column::number("SINCE"),
        Column::text("GPU ID").at_least(12).spare(),
    ]);
    for node in &nodes.nodes {
        for (number, gpu) in node.gpus.iter().enumerate() {
            let mut row = |[share, job, user, since]: [Cell; 4]| {
                table.row([
                    (&node.name).into(),
                    number.to_string().into(),
                    (&gpu.model).into(),
                    share,
                    job,
                    user,
                    since,
                    (&gpu.id).into(),
                ]);
            };
            if gpu.holders.is_empty() {
                row(["0".into(), unheld(gpu), "".into(), "".into()]);
            }
            for holder in &gpu.holders {
                row([
                    gpus(f64::from(holder.gpu_milli) / 1000.0).into(),
                    name_of(holder.job, holder.task).to_string().into(),
                    (&holder.user).into(),
                    age(holder.since, now).into(),
                ]);
            }
        }
    }
    table
}

/// What is said of a GPU that no job holds.
fn unheld(gpu: &NodeGpu) -> Cell {
    if gpu.healthy {
        Cell::toned("free", Tone::Good)
    } else {
        Cell::toned("broken", Tone::Bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Screen;

    fn nodes() -> NodeList {
        let gpu = |number: u32, healthy: bool, holders: serde_json::Value| {
            serde_json::json!({
                "id": format!("GPU-f81d4fae-7dec-11d0-a765-00a0c91e6bf{number}"), "model": "NVIDIA H100 80GB HBM3",
                "healthy": healthy, "memory_bytes": 1, "held_ratio": 0.5, "utilization_ratio": null,
                "memory_used_bytes": null, "holders": holders
            })
        };
        let shared = serde_json::json!([
            {"job": 12, "user": "anna", "gpu_milli": 500, "since": "2026-11-24T06:57:00Z"},
            {"job": 36, "task": {"array": 35, "index": 7}, "user": "alexandra.von-der-mayer", "gpu_milli": 250,
             "since": "2026-11-23T06:00:00Z"}
        ]);
        let none = serde_json::json!([]);
        serde_json::from_value(serde_json::json!({"version": 1, "nodes": [{
            "name": "gpu-machine-in-rack-17", "state": "up", "cordon": null, "agent": "", "engine": "",
            "gpu_mode": "", "last_seen_at": null, "cpu_cores": 1.0, "cpu_cores_held": 0.0, "memory_bytes": 1,
            "memory_held_bytes": 0, "jobs": [], "labels": {},
            "gpus": [gpu(0, true, shared), gpu(1, true, none.clone()), gpu(2, false, none)]
        }]}))
        .unwrap()
    }

    #[test]
    fn each_gpu_names_who_holds_it() {
        let pipe = Screen {
            terminal: false,
            width: None,
            colour: false,
        };
        let now = "2026-11-24T07:00:00Z".parse().unwrap();
        let text = table(&nodes(), now).render(&pipe);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split("  ").filter(|part| !part.is_empty()).collect())
            .collect();
        let told = |line: usize| lines[line][1..].join("|").replace(' ', "");
        assert!(told(1).contains("0.5|12|anna|3m"), "{text}");
        assert!(
            told(2).contains("0.25|35_7|alexandra.von-der-mayer|1d"),
            "{text}"
        );
        assert!(told(3).contains("0|free"), "{text}");
        assert!(told(4).contains("0|broken"), "{text}");
    }

    #[test]
    fn it_fits_80_columns() {
        let now = "2026-11-24T07:00:00Z".parse().unwrap();
        let text = table(&nodes(), now).render_at_80();
        for part in ["35_7", "1d", "SINCE", "MODEL"] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }
}
