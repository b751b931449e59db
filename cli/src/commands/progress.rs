//! A bar on stderr for what takes long, where a person looks at it.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

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
