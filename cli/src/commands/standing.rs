//! How a job stands until its log begins: one line on stderr, drawn in place on a terminal.

use std::io::{self, Write as _};
use std::time::Duration;

use dopq_common::api::Job;
use dopq_common::id::JobName;
use tokio::time::Instant;

use super::jobs;
use crate::client::Client;
use crate::output::text::clean;
use crate::output::{Format, Output};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Without a terminal, a line that differs only in its place in the queue is printed at most this often.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// Shows how a job stands.
#[derive(Debug)]
pub(super) struct Standing {
    client: Client,
    job: JobName,
    output: Output,
    /// The line on the terminal, or the last that was printed, its state, and when.
    shown: Option<(String, String, Instant)>,
    /// Nothing is shown any more.
    over: bool,
}

impl Standing {
    /// Nothing is shown yet. `told` is the state that was told before; without it nothing is shown at all. Only people
    /// are told.
    pub(super) fn new(client: &Client, job: JobName, output: Output, told: Option<String>) -> Self {
        Self {
            client: client.clone(),
            job,
            output,
            over: told.is_none() || output.format != Format::Table,
            shown: told.map(|state| (String::new(), state, Instant::now())),
        }
    }

    /// Looks and shows until the job runs or has ended, then waits for ever. Dropping the future loses nothing.
    pub(super) async fn watch(&mut self) {
        while !self.over {
            // A master that does not answer is told by whoever reads the log.
            if let Ok(job) = self.client.job(self.job).await {
                self.see(&job);
            }
            if !self.over {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        std::future::pending().await
    }

    fn see(&mut self, job: &Job) {
        let Some(line) = line(job) else {
            self.clear();
            self.over = true;
            return;
        };
        if self.output.stderr.redraws() {
            let width = self.output.stderr.width.map_or(80, usize::from);
            let cut: String = line.chars().take(width.saturating_sub(1)).collect();
            draw(&format!("\r{cut}\x1b[K"));
        } else {
            let is_new = self.shown.as_ref().is_none_or(|(shown, state, at)| {
                *state != job.state || (*shown != line && at.elapsed() >= TELL_EVERY)
            });
            if !is_new {
                return;
            }
            self.output.note(&line);
        }
        self.shown = Some((line, job.state.clone(), Instant::now()));
    }

    /// Makes room for what follows.
    pub(super) fn clear(&mut self) {
        if self.shown.take().is_some() && self.output.stderr.redraws() {
            draw("\r\x1b[K");
        }
    }

    /// The log has begun.
    pub(super) fn end(&mut self) {
        self.clear();
        self.over = true;
    }
}

/// Where stderr is closed there is nobody left to tell.
fn draw(text: &str) {
    let mut stderr = io::stderr().lock();
    stderr.write_all(text.as_bytes()).ok();
    stderr.flush().ok();
}

/// Such as `job 12 is queued, position 3: 2 of 4 GPUs free`; nothing for a job that runs or has ended.
fn line(job: &Job) -> Option<String> {
    let name = jobs::name(job);
    match job.state.as_str() {
        "queued" => {}
        "assigned" | "building" => {
            let node = job.worker.as_deref().unwrap_or("its node");
            let (state, node) = (clean(&job.state), clean(node));
            return Some(format!("job {name} is {state} on {node}"));
        }
        _ => return None,
    }
    let position = job
        .position
        .map_or_else(String::new, |position| format!(", position {position}"));
    let reason = job.reason_short.as_ref().or(job.reason.as_ref());
    let reason = reason.map_or_else(String::new, |reason| format!(": {}", clean(reason)));
    Some(format!("job {name} is queued{position}{reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: &str, position: Option<u64>) -> Job {
        serde_json::from_value(serde_json::json!({
            "id": 12, "name": "train", "user": "anna", "state": state, "outcome": null, "attempt": 0,
            "worker": "gpu01", "gpus": [], "submitted_at": "2026-11-24T07:00:00Z", "started_at": null,
            "finished_at": null, "position": position, "reason": "a whole sentence",
            "reason_short": "2 of 4 GPUs free", "class": "normal", "priority": 0, "num_gpus": 1, "bundle": null,
            "labels": {}, "log_bytes": null
        }))
        .unwrap()
    }

    #[test]
    fn a_job_that_waits_is_told_in_one_line() {
        let told = |state, position| line(&job(state, position));
        assert_eq!(
            told("queued", Some(3)).as_deref(),
            Some("job 12 is queued, position 3: 2 of 4 GPUs free")
        );
        assert_eq!(
            told("queued", None).as_deref(),
            Some("job 12 is queued: 2 of 4 GPUs free")
        );
        assert_eq!(
            told("building", None).as_deref(),
            Some("job 12 is building on gpu01")
        );
        for state in ["running", "publishing", "stopping", "finished"] {
            assert_eq!(told(state, None), None);
        }
    }
}
