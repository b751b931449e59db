//! `dopq gpus`: one line for each GPU.

use chrono::{DateTime, Utc};
use dopq_common::api::{Gpu, GpuList, JobNow, MeanPeak, Used};

use super::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::output::text::{age, bytes, gpu_hours};
use crate::output::{Cell, Column, Table, Tone};

/// Lists the GPUs.
pub(crate) async fn run(context: &Context) -> Result<u8, Failure> {
    let gpus = context
        .client()?
        .gpus()
        .await
        .map_err(Failure::call("list the GPUs"))?;
    let now = context.now();
    context.output.show(
        &gpus,
        |gpus| table(gpus, now),
        |gpus| gpus.gpus.iter().map(|gpu| gpu.id.clone()).collect(),
    )?;
    if gpus.gpus.is_empty() {
        context.output.note("no node has a GPU");
    }
    Ok(exit::DONE)
}

fn table(gpus: &GpuList, now: DateTime<Utc>) -> Table {
    let mut table = Table::new(&[
        Column::text("NODE").at_least(8),
        Column::number("GPU"),
        Column::text("STATE").at_least(6),
        Column::text("USER").at_least(6),
        Column::text("JOB").at_least(7),
        Column::number("SINCE"),
        Column::number("UTIL"),
        Column::number("MEMORY"),
        Column::number("TEMP").spare(),
        Column::number("POWER").spare(),
        Column::text("MODEL").at_least(12).spare(),
        Column::number("XID").spare(),
    ]);
    for gpu in &gpus.gpus {
        let holders = gpu.holders.iter();
        let users = holders.map(|holder| holder.user.clone().unwrap_or_else(|| "-".to_owned()));
        let jobs = gpu.holders.iter().map(|holder| {
            let job = holder.job.map(|job| job.to_string());
            job.unwrap_or_else(|| "-".to_owned())
        });
        let mut users: Vec<String> = users.collect();
        users.dedup();
        let jobs: Vec<String> = jobs.collect();
        let since = gpu.holders.iter().map(|holder| holder.since).min();
        let doing = gpu.now.as_ref();
        let told = |text: Option<String>| Cell::from(text.unwrap_or_default());
        table.row([
            (&gpu.node).into(),
            gpu.index.to_string().into(),
            state(&gpu.state),
            match &gpu.taken {
                Some(by) if users.is_empty() => by.into(),
                Some(_) | None => users.join(",").into(),
            },
            jobs.join(",").into(),
            told(since.map(|at| age(at, now))),
            told(doing.map(|doing| percent(doing.utilization_ratio))),
            memory(gpu).into(),
            told(doing.map(|doing| format!("{:.0} C", doing.temperature_celsius))),
            told(doing.map(|doing| format!("{:.0} W", doing.power_watts))),
            (&gpu.model).into(),
            told(
                doing
                    .and_then(|doing| doing.last_xid)
                    .map(|xid| xid.to_string()),
            ),
        ]);
    }
    table
}

fn memory(gpu: &Gpu) -> String {
    let used = gpu.now.as_ref().map(|doing| bytes(doing.memory_used_bytes));
    format!(
        "{}/{}",
        used.as_deref().unwrap_or("?"),
        bytes(gpu.memory_bytes)
    )
}

fn state(state: &str) -> Cell {
    let tone = match state {
        "free" => Tone::Good,
        "held" => Tone::Busy,
        "broken" | "foreign" | "dirty" => Tone::Bad,
        "closed" | "silent" => Tone::Waiting,
        _ => Tone::Plain,
    };
    Cell::toned(state, tone)
}

/// A ratio as `93 %`.
pub(super) fn percent(ratio: f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}

/// What a job uses, in one line.
pub(super) fn job_now(now: &JobNow) -> String {
    let mut parts = Vec::new();
    if let Some(busy) = now.gpu_utilization_ratio {
        let memory = now.gpu_memory_used_bytes.unwrap_or_default();
        let power = now.gpu_power_watts.unwrap_or_default();
        parts.push(format!(
            "GPU {}, {}, {power:.0} W",
            percent(busy),
            bytes(memory)
        ));
    }
    parts.push(format!(
        "CPU {:.1} cores, memory {}",
        now.cpu_cores,
        bytes(now.memory_bytes)
    ));
    for (name, (one, into), (other, out)) in [
        (
            "disk",
            ("read", now.disk_read_bytes),
            ("written", now.disk_written_bytes),
        ),
        (
            "network",
            ("received", now.received_bytes),
            ("sent", now.sent_bytes),
        ),
    ] {
        if into + out > 0 {
            parts.push(format!(
                "{name} {} {one}, {} {other}",
                bytes(into),
                bytes(out)
            ));
        }
    }
    parts.join("; ")
}

/// What an attempt used, in named lines.
pub(super) fn used(used: &Used) -> Vec<(&'static str, String)> {
    let size = |both: MeanPeak| format!("{} (peak {})", whole(both.mean), whole(both.peak));
    let mut lines = Vec::new();
    if let (Some(busy), Some(memory), Some(power)) = (
        used.gpu_utilization_ratio,
        used.gpu_memory_bytes,
        used.gpu_power_watts,
    ) {
        lines.push((
            "Used GPUs",
            format!(
                "{} (peak {}), memory {}, {:.0} W (peak {:.0} W); {} GPU hours, {:.3} kWh",
                percent(busy.mean),
                percent(busy.peak),
                size(memory),
                power.mean,
                power.peak,
                gpu_hours(used.gpu_seconds),
                used.gpu_joules / 3.6e6,
            ),
        ));
    }
    lines.push((
        "Used",
        format!(
            "CPU {:.1} cores (peak {:.1}), memory {}; disk {} read, {} written; network {} received, {} sent",
            used.cpu_cores.mean,
            used.cpu_cores.peak,
            size(used.memory_bytes),
            bytes(used.disk_read_bytes),
            bytes(used.disk_written_bytes),
            bytes(used.received_bytes),
            bytes(used.sent_bytes),
        ),
    ));
    lines
}

/// A size that is a mean.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates"
)]
fn whole(size: f64) -> String {
    bytes(size.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_fit_80_columns() {
        let doing = serde_json::json!({
            "at": "2026-11-24T07:00:00Z", "utilization_ratio": 0.934, "memory_used_bytes": 85_899_345_920_u64,
            "temperature_celsius": 71.0, "power_watts": 698.5, "energy_joules": 5.0, "clock_mhz": 1980,
            "memory_clock_mhz": null, "ecc_errors": 0, "xid_errors": 1, "last_xid": 79, "processes": 2
        });
        let list: GpuList = serde_json::from_value(serde_json::json!({"version": 1, "gpus": [
            {"node": "gpu-machine-in-rack-17", "index": 0, "id": "GPU-1", "model": "NVIDIA H100 80GB HBM3",
             "memory_bytes": 85_899_345_920_u64, "state": "held", "held_ratio": 1.0, "now": doing, "holders": [
                {"job": 1_234_567, "name": "train", "user": "alexandra.von-der-mayer",
                 "since": "2026-11-24T06:00:00Z", "held_ratio": 0.5},
                {"since": "2026-11-24T06:30:00Z", "held_ratio": 0.5}]},
            {"node": "gpu-02", "index": 7, "id": "GPU-2", "model": "NVIDIA H100 80GB HBM3",
             "memory_bytes": 85_899_345_920_u64, "state": "free", "held_ratio": 0.0, "holders": []}
        ]}))
        .unwrap();
        let table = table(&list, "2026-11-24T07:00:00Z".parse().unwrap());
        let text = table.render_at_80();
        for part in [
            "93 %",
            "80.0 GiB/80.0 GiB",
            "held",
            "1h",
            "?/80.0 GiB",
            "12345",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        let wide = table.render(&crate::output::Screen {
            terminal: false,
            width: None,
            colour: false,
        });
        for part in [
            "alexandra.von-der-mayer,-",
            "1234567,-",
            "71 C",
            "698 W",
            "79",
        ] {
            assert!(wide.contains(part), "{part}:\n{wide}");
        }
    }

    #[test]
    fn a_job_is_told_in_one_line() {
        let mut now = JobNow {
            at: "2026-11-24T07:00:00Z".parse().unwrap(),
            gpu_utilization_ratio: Some(0.5),
            gpu_memory_used_bytes: Some(1 << 30),
            gpu_power_watts: Some(250.0),
            cpu_cores: 3.25,
            memory_bytes: 1 << 20,
            processes: 4,
            disk_read_bytes: 1024,
            disk_written_bytes: 0,
            received_bytes: 0,
            sent_bytes: 0,
        };
        assert_eq!(
            job_now(&now),
            "GPU 50 %, 1.0 GiB, 250 W; CPU 3.2 cores, memory 1.0 MiB; disk 1.0 KiB read, 0 B written"
        );
        now.gpu_utilization_ratio = None;
        now.disk_read_bytes = 0;
        assert_eq!(job_now(&now), "CPU 3.2 cores, memory 1.0 MiB");
    }

    #[test]
    fn what_an_attempt_used_is_two_lines() {
        let used_all: Used = serde_json::from_value(serde_json::json!({
            "attempt": 1, "seconds": 7200.0, "covered_seconds": 7200.0,
            "gpu_utilization_ratio": {"mean": 0.514, "peak": 0.98},
            "gpu_memory_bytes": {"mean": 1073741824.4, "peak": 2147483648.0},
            "gpu_power_watts": {"mean": 300.2, "peak": 700.0},
            "cpu_cores": {"mean": 1.5, "peak": 8.0}, "memory_bytes": {"mean": 1024.0, "peak": 2048.0},
            "gpu_seconds": 7200.0, "gpu_joules": 2_160_000.0,
            "disk_read_bytes": 0, "disk_written_bytes": 1024, "received_bytes": 3, "sent_bytes": 0
        }))
        .unwrap();
        let lines = used(&used_all);
        assert_eq!(
            lines,
            [
                ("Used GPUs", "51 % (peak 98 %), memory 1.0 GiB (peak 2.0 GiB), 300 W (peak 700 W); 2.000 GPU hours, 0.600 kWh".to_owned()),
                ("Used", "CPU 1.5 cores (peak 8.0), memory 1.0 KiB (peak 2.0 KiB); disk 0 B read, 1.0 KiB written; network 3 B received, 0 B sent".to_owned()),
            ]
        );
    }
}
