//! Makes images ready for jobs that wait and will probably run here, one after the other.
//!
//! Which ones the masters say ([`dopq_common::agent::Prefetch`]). It takes no room that anything else needs: nothing is
//! begun while an image is made for an order, or while the disk is so full that images would be removed, and what is
//! under way is given up for an order. What fails is logged, and its job finds out by itself.

use std::convert::Infallible;
use std::sync::Arc;

use dopq_common::agent::{self, Expected};
use dopq_common::chain::chain;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use crate::disk::Disk;
use crate::images::Ahead;

/// Takes a list of the masters. The images in it are not removed from here on.
pub(crate) fn take(context: &Context, sealed: &str) {
    let options = &context.options;
    let list = match agent::read_upcoming(&options.key, &options.name, sealed.as_bytes()) {
        Ok(list) => list,
        Err(error) => {
            tracing::warn!(error = chain(&error), "dropped a list of upcoming attempts");
            return;
        }
    };
    let keep = |list: &agent::Prefetch| context.retention.expect(list.expected());
    if let Err(error) = context.upcoming.told(context.clock.now(), list, keep) {
        tracing::debug!(%error, "ignored upcoming attempts");
    }
}

/// Makes images ready until the worker ends.
pub(crate) async fn run(context: Arc<Context>) {
    let upcoming = &context.upcoming;
    let mut changed = upcoming.watch();
    loop {
        changed.borrow_and_update();
        let next = upcoming.lock().next().cloned();
        let Some(next) = next.filter(|_| context.options.settings.prefetch) else {
            wait(&context, &mut changed).await;
            continue;
        };
        match Box::pin(make(&context, &next)).await {
            Ahead::Ready => upcoming.lock().ready(next.image),
            Ahead::Failed(outcome) => {
                tracing::info!(
                    attempt = %next.attempt,
                    detail = outcome.detail,
                    "failed to make the image of a waiting job"
                );
                upcoming.lock().failed(context.clock.now(), next.image);
            }
            // The masters repeat what they expect.
            Ahead::Later => wait(&context, &mut changed).await,
        }
    }
}

async fn make(context: &Context, next: &Expected) -> Ahead {
    if !has_room(context).await {
        return Ahead::Later;
    }
    let (attempt, run) = (next.attempt, &next.run);
    let bundle = async {
        let access = context.data.access(attempt, run);
        let bundle = run.order.bundle?;
        context
            .bundles
            .ensure_once(&context.data, &access, bundle)
            .await
    };
    let withdrawn = CancellationToken::new();
    let watching = async {
        let mut changed = context.upcoming.watch();
        while context.upcoming.lock().wants(&next.image) {
            wait(context, &mut changed).await;
        }
        withdrawn.cancel();
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        made = context.images.ensure_ahead(run, bundle, &withdrawn) => made,
        never = watching => match never {},
    }
}

/// Whether another image fits without any being removed.
async fn has_room(context: &Context) -> bool {
    if !context.retention.has_room() {
        return false;
    }
    let settings = &context.options.settings;
    let least = settings.limits.min_free_disk.0;
    let (data_dir, engine) = (settings.data_dir.clone(), context.engine.clone());
    let looking = tokio::task::spawn_blocking(move || {
        let own = Disk::of(&data_dir).ok();
        let mut disks = own.into_iter().chain(engine.disks());
        disks.all(|disk| disk.free >= least)
    });
    looking.await.unwrap_or(false)
}

/// Waits for another list, or until the last one expires.
async fn wait(context: &Context, changed: &mut watch::Receiver<()>) {
    let expires_at = context.upcoming.lock().expires_at();
    let expiring = async {
        match expires_at {
            Some(at) => tokio::time::sleep_until(context.clock.instant(at)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = changed.changed() => {}
        () = expiring => {
            let mut list = context.upcoming.lock();
            if list.expire(context.clock.now()) {
                context.retention.expect(list.expected());
            }
        }
    }
}
