//! What takes long, told on stderr: a bar where a person looks at it.

use std::collections::BTreeMap;
use std::time::Duration;

use dopq_common::api::{Array, Job};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use super::jobs;
use crate::output::{Format, Output};

/// A bar that counts bytes; hidden where nobody would see it. Drop or finish it when done.
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

/// Where nobody looks, an array is told of at most this often, and at its end.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// How far the tasks of arrays are, as they are waited for.
#[derive(Debug)]
pub(super) struct Progress {
    output: Output,
    arrays: BTreeMap<u64, Told>,
}

/// What was told of one array last.
#[derive(Debug)]
struct Told {
    bar: ProgressBar,
    at: Instant,
    line: String,
}

impl Progress {
    /// Nothing is told yet.
    pub(super) const fn new(output: &Output) -> Self {
        Self {
            output: *output,
            arrays: BTreeMap::new(),
        }
    }

    /// Tells how far it is, if it is an array and that is news.
    pub(super) fn see(&mut self, job: &Job) {
        let Some(array) = &job.array else {
            return;
        };
        let now = Instant::now();
        let line = line(job.id, array);
        let told = self.arrays.get_mut(&job.id);
        let due = told.as_ref().is_none_or(|told| {
            told.line != line && (job.state == "finished" || told.at + TELL_EVERY <= now)
        });
        let told = match told {
            Some(told) => told,
            None => self.arrays.entry(job.id).or_insert_with(|| Told {
                bar: tasks(&self.output, array),
                at: now,
                line: String::new(),
            }),
        };
        told.bar.set_position(over(array));
        told.bar
            .set_message(format!("array {}: {}", job.id, jobs::tally(array)));
        if job.state == "finished" {
            told.bar.finish_and_clear();
        }
        if due && told.bar.is_hidden() {
            self.output.note(&line);
            told.at = now;
            told.line = line;
        }
    }
}

/// Such as `array 7: 3 of 6 tasks over; 2 running, 2 done, 1 failed, 1 waiting`.
fn line(id: u64, array: &Array) -> String {
    format!(
        "array {id}: {} of {} tasks over; {}",
        over(array),
        array.total,
        jobs::tally(array)
    )
}

fn over(array: &Array) -> u64 {
    u64::from(array.succeeded) + u64::from(array.failed) + u64::from(array.cancelled)
}

/// A bar that counts tasks; hidden where nobody would see it.
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
