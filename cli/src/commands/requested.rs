//! What a job asked for, as `dopq show` lists it.

use std::collections::BTreeMap;
use std::time::Duration;

use dopq_common::api::Requested;

use crate::output::text::{bytes, clean, duration};

/// Names and values in the order in which they are shown; empty values are left out.
pub(super) fn rows(requested: &Requested) -> Vec<(&'static str, String)> {
    let seconds = |seconds: Option<f64>| {
        let span = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        span.map_or_else(String::new, duration)
    };
    let pairs = |pairs: &BTreeMap<String, String>| {
        let pairs = pairs.iter().map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join(", ")
    };
    let line = |words: &Option<Vec<String>>| words.as_deref().map_or_else(String::new, command);
    let mut rows = vec![
        ("Image", requested.image.clone()),
        ("Entry point", line(&requested.entrypoint)),
        ("Command", line(&requested.command)),
    ];
    for (name, value) in &requested.env {
        rows.push(("Environment", format!("{}={}", clean(name), clean(value))));
    }
    for (name, values) in &requested.sweep {
        rows.push(("Sweep", format!("{}={}", clean(name), clean(values))));
    }
    let memory = requested.memory_bytes.map(bytes);
    let cpu = requested.cpu_cores.map(|cores| cores.to_string());
    rows.extend([
        ("Secrets", requested.secrets.join(", ")),
        ("After", requested.after.join(", ")),
        ("Memory", memory.unwrap_or_default()),
        ("CPU cores", cpu.unwrap_or_default()),
        ("GPU models", requested.gpu_models.join(", ")),
        ("Node labels", pairs(&requested.node_labels)),
        ("Volumes", requested.volumes.join(", ")),
        ("Time limit", seconds(requested.time_limit_seconds)),
        ("Time request", seconds(requested.time_request_seconds)),
        (
            "Retries",
            number(Some(requested.retries).filter(|retries| *retries > 0)),
        ),
        ("Max fails", number(requested.max_fails)),
        (
            "Preemptible",
            if requested.preemptible { "yes" } else { "" }.to_owned(),
        ),
    ]);
    rows.retain(|(_, value)| !value.is_empty());
    rows
}

fn number(number: Option<u32>) -> String {
    number.map_or_else(String::new, |number| number.to_string())
}

/// A command as a shell reads it.
fn command(words: &[String]) -> String {
    let words = words.iter().map(|word| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+*".contains(&byte);
        if word.bytes().all(is_plain) && !word.is_empty() {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_listed() {
        let requested: Requested = serde_json::from_value(serde_json::json!({
            "image": "Dockerfile", "command": ["python", "train.py", "it's", ""], "entrypoint": null,
            "env": {"LR": "0.1", "HF_TOKEN": "***"}, "secrets": ["wandb"], "sweep": {"seed": "1..5"},
            "after": ["12", "14:any"], "memory_bytes": 21_474_836_480_u64, "cpu_cores": 4.5, "gpu_models": [],
            "node_labels": {"site": "cellar"}, "volumes": [], "time_limit_seconds": 43200.0,
            "time_request_seconds": null, "retries": 0, "max_fails": null, "preemptible": true
        }))
        .unwrap();
        let lines: Vec<String> = rows(&requested)
            .into_iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        assert_eq!(
            lines,
            [
                "Image: Dockerfile",
                r"Command: python train.py 'it'\''s' ''",
                "Environment: HF_TOKEN=***",
                "Environment: LR=0.1",
                "Sweep: seed=1..5",
                "Secrets: wandb",
                "After: 12, 14:any",
                "Memory: 20.0 GiB",
                "CPU cores: 4.5",
                "Node labels: site=cellar",
                "Time limit: 12h00m",
                "Preemptible: yes",
            ]
        );
    }
}
