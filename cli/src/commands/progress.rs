//! Progress on stderr: a bar on a terminal, lines elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use dopq_common::api::{Array, Job};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use super::jobs;
use crate::output::{Format, Output};

/// A bar that counts bytes; hidden unless stderr is a terminal. Drop or finish it when done.
pub(super) fn bytes(output: &Output, doing: &'static str, total: Option<u64>) -> ProgressBar {
    if !output.stderr.terminal || output.format == Format::Quiet {
        return ProgressBar::hidden();
    }
    let template = if total.is_some() {
        "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}"
    } else {
        "{msg} {binary_bytes} {binary_bytes_per_sec}"
    };
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    // The templates above are well formed; the default style is shown otherwise.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(doing);
    bar
}

/// Without a terminal, a line about an array is printed at most this often, and at its end.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// Progress of the arrays that are waited for.
#[derive(Debug)]
pub(super) struct Progress {
    output: Output,
    arrays: BTreeMap<u64, Shown>,
}

/// What was last shown of one array.
#[derive(Debug)]
struct Shown {
    bar: ProgressBar,
    at: Instant,
    line: String,
}

impl Progress {
    /// Nothing is shown yet.
    pub(super) const fn new(output: &Output) -> Self {
        Self {
            output: *output,
            arrays: BTreeMap::new(),
        }
    }

    /// Shows the progress of an array, if it changed.
    pub(super) fn update(&mut self, job: &Job) {
        let Some(array) = &job.array else {
            return;
        };
        let now = Instant::now();
        let line = line(job.id, array);
        let shown = self.arrays.get_mut(&job.id);
        let due = shown.as_ref().is_none_or(|shown| {
            shown.line != line && (job.state == "finished" || shown.at + TELL_EVERY <= now)
        });
        let shown = match shown {
            Some(shown) => shown,
            None => self.arrays.entry(job.id).or_insert_with(|| Shown {
                bar: tasks(&self.output, array),
                at: now,
                line: String::new(),
            }),
        };
        shown.bar.set_position(finished(array));
        shown
            .bar
            .set_message(format!("array {}: {}", job.id, jobs::tally(array)));
        if job.state == "finished" {
            shown.bar.finish_and_clear();
        }
        if due && shown.bar.is_hidden() {
            self.output.note(&line);
            shown.at = now;
            shown.line = line;
        }
    }
}

/// Such as `array 7: 3 of 6 tasks finished (2 running, 2 done, 1 failed, 1 queued)`.
fn line(id: u64, array: &Array) -> String {
    format!(
        "array {id}: {} of {} tasks finished ({})",
        finished(array),
        array.total,
        jobs::tally(array)
    )
}

fn finished(array: &Array) -> u64 {
    u64::from(array.succeeded) + u64::from(array.failed) + u64::from(array.cancelled)
}

/// A bar that counts tasks; hidden unless stderr is a terminal.
fn tasks(output: &Output, array: &Array) -> ProgressBar {
    if !output.stderr.terminal || output.format == Format::Quiet {
        return ProgressBar::hidden();
    }
    let total = Some(u64::from(array.total));
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar
}
