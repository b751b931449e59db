//! Facts for `dopq doctor`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::{Extension, Json};
use dopq_common::api::{self, API_VERSION, Role};

use crate::http::app::Ctx;
use crate::http::caller::Caller;
use crate::metrics::Part;
use crate::view::Model;

/// How long the broker may take to show its dead letters.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);

/// What this master knows and no other route tells. Users learn of the machines only.
pub(in crate::http) async fn show(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
) -> Json<api::Doctor> {
    let nodes = context.view().read(nodes);
    let mut facts = api::Doctor {
        version: API_VERSION,
        store_faults: Vec::new(),
        dead_letters: None,
        nodes,
    };
    if caller.role >= Role::Operator {
        facts.store_faults = context.app.board.faults(Part::Store);
        facts.dead_letters = dead_letters(&context).await;
    }
    Json(facts)
}

fn nodes(model: &Model) -> Vec<api::NodeHealth> {
    let workers = model.state.workers();
    let health = workers.map(|worker| {
        let live = model.live.get(&worker.id);
        let beat = live.and_then(|live| live.heartbeat.as_ref());
        api::NodeHealth {
            name: worker.id.to_string(),
            clock_ahead_seconds: beat
                .map(|(heard_at, beat)| seconds_ahead(beat.at_ms, heard_at.as_millis())),
            spool_free_bytes: beat.map(|(_, beat)| beat.host.disk_free_bytes),
            engine_free_bytes: beat
                .and_then(|(_, beat)| beat.kept)
                .map(|kept| kept.disk_free_bytes),
        }
    });
    health.collect()
}

fn seconds_ahead(theirs_ms: u64, ours_ms: u64) -> f64 {
    let seconds = |ms: u64| Duration::from_millis(ms).as_secs_f64();
    if theirs_ms >= ours_ms {
        seconds(theirs_ms - ours_ms)
    } else {
        -seconds(ours_ms - theirs_ms)
    }
}

/// By queue and reason; nothing while the broker does not say.
async fn dead_letters(context: &Ctx) -> Option<Vec<api::DeadLetters>> {
    let look = tokio::time::timeout(LOOK_TIMEOUT, context.app.broker.dead_letters());
    // A broker that is away is told by its part of the status.
    let letters = look.await.ok()?.ok()?;
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    for letter in letters {
        *counts.entry((letter.queue, letter.reason)).or_default() += 1;
    }
    let groups = counts
        .into_iter()
        .map(|((queue, reason), count)| api::DeadLetters {
            queue,
            reason,
            count,
        });
    Some(groups.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_ahead_or_behind() {
        assert!((seconds_ahead(1_500, 1_000) - 0.5).abs() < 1e-9);
        assert!((seconds_ahead(1_000, 61_000) + 60.0).abs() < 1e-9);
    }
}
