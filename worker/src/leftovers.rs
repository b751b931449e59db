//! What a crash left in the worker's folders is removed at its next start.

use std::path::Path;

use dopq_common::agent::State;
use dopq_common::id::AttemptId;

use crate::driver::Context;
use crate::outdir;

/// Removes the folders of attempts that are over, which a crash may have left.
pub(crate) fn remove_folders(data_dir: &Path, state: &State) {
    let Ok(entries) = std::fs::read_dir(data_dir.join("attempts")) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let attempt = name.to_str().and_then(|name| name.parse().ok());
        let needed = attempt.is_some_and(|id: AttemptId| {
            state
                .attempt(id)
                .is_some_and(|attempt| !attempt.stage.is_closed())
        });
        if !needed && let Err(error) = std::fs::remove_dir_all(entry.path()) {
            tracing::warn!(%error, folder = %entry.path().display(), "failed to remove a leftover");
        }
    }
}

/// Begins to remove the /outdir folders that a crash left. They are found before any attempt begins.
pub(crate) fn remove_outdirs(context: &Context, state: &State) {
    let settings = &context.options.settings;
    if settings.retention.keep_outdir {
        return;
    }
    let is_own = settings.outdir.is_none();
    match outdir::leftovers(context.outdir.as_path(), is_own, state) {
        Ok(left) if left.is_empty() => {}
        Ok(left) => context.spawn(async move {
            let removing = tokio::task::spawn_blocking(move || outdir::remove_all(&left)).await;
            if let Err(error) = removing {
                tracing::error!(%error, "failed to remove leftovers");
            }
        }),
        Err(error) => tracing::warn!(%error, "failed to look for left /outdir folders"),
    }
}
