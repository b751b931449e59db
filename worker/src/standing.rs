//! Asks the masters whether they accept this worker: its key, its name and its cluster; and which leadership is the
//! current one.

use std::sync::Arc;
use std::time::Duration;

use dopq_common::agent::Event;
use dopq_common::broker::Delivery;
use dopq_common::chain::chain;
use dopq_common::id::WorkerId;

use crate::data::{self, Me, Told};
use crate::driver::Context;
use crate::error::Error;
use crate::input::Input;

/// Between two looks whether the key is still good.
const EVERY: Duration = Duration::from_secs(60);
/// Between two tries while it is not, or no master answers. A master forgives an address one wrong proof in 3 s.
const AGAIN: Duration = Duration::from_secs(10);
/// A worker starts without the masters when they do not answer in this time.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Waits while another machine that is heard from has this worker's name, so that none of its orders are taken. Masters that
/// do not answer hold up nothing.
pub(crate) async fn wait_for_name(context: &Context) {
    let mut refused = None;
    while let Ok(Ok(Told {
        holder: Some(holder),
        ..
    })) = tokio::time::timeout(ANSWER_WITHIN, ask(context)).await
    {
        if refused.as_ref() != Some(&holder) {
            let error = name_taken(context, &holder);
            tracing::error!(
                error = chain(&error),
                "this worker is refused; it waits until the name is free"
            );
        }
        refused = Some(holder);
        tokio::time::sleep(AGAIN).await;
    }
    if refused.is_some() {
        tracing::info!(worker.id = %context.options.name, "this worker's name is free now");
    }
}

fn name_taken(context: &Context, holder: &str) -> Error {
    Error::NameTaken {
        worker: context.options.name.clone(),
        holder: holder.to_owned(),
        here: context.place.clone(),
    }
}

/// Looks from time to time whether the masters accept this worker's key. What an unaccepted worker says is dropped without an
/// answer, so this is how its administrator learns of it. Returns when another machine has this worker's name.
pub(crate) async fn watch(context: Arc<Context>) -> Error {
    let worker = &context.options.name;
    let mut refused = false;
    loop {
        let asked = ask(&context).await;
        let mut pause = EVERY;
        match asked {
            Ok(Told {
                holder: Some(holder),
                ..
            }) => return name_taken(&context, &holder),
            Ok(Told { epoch: None, .. }) => std::future::pending::<()>().await,
            Ok(Told {
                epoch: Some(epoch), ..
            }) => {
                context.tell(Event::EpochTold(epoch)).await;
                if std::mem::take(&mut refused) {
                    tracing::info!(worker.id = %worker, "the masters accept this worker's key now");
                    context.introduce.notify_one();
                }
            }
            Err(error) => {
                pause = AGAIN;
                match refusal(&error, worker) {
                    Some(why) => {
                        if !std::mem::replace(&mut refused, true) {
                            tracing::error!(worker.id = %worker, "{why}");
                        }
                    }
                    None => tracing::debug!(
                        error = chain(&error),
                        "no master says whether it accepts this worker's key"
                    ),
                }
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// What an administrator is told of an answer that waiting does not mend.
fn refusal(error: &data::Error, worker: &WorkerId) -> Option<String> {
    if error.is_unknown_key() {
        return Some(format!(
            "the masters do not accept this worker's key, so it gets no jobs: make one with `dopq node add {worker}` and set key or key_file"
        ));
    }
    let is_other = matches!(error, data::Error::OtherCluster { .. });
    is_other.then(|| format!("this worker is refused and gets no jobs: failed to {error}"))
}

/// Asks the masters about orders whose epoch is far above what is known, then hands them back to the driver with the
/// answer.
pub(crate) async fn check(context: Arc<Context>, delivery: Delivery) {
    let told = loop {
        match ask(&context).await {
            Ok(told) => break told.epoch,
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "orders wait until a master confirms their epoch"
                );
            }
        }
        tokio::time::sleep(AGAIN).await;
    };
    if context
        .inputs
        .send(Input::Checked { delivery, told })
        .await
        .is_err()
    {
        tracing::debug!("checked orders after the worker's end");
    }
}

async fn ask(context: &Context) -> Result<Told, data::Error> {
    let _one_at_a_time = context.asking.lock().await;
    let mut nonce = [0; 16];
    // Without random numbers the nonce is the time, which no earlier answer has either.
    if getrandom::fill(&mut nonce).is_err() {
        nonce = u128::from(context.clock.now().as_millis()).to_be_bytes();
    }
    let me = Me {
        cluster: &context.options.settings.cluster,
        instance: &context.instance,
    };
    context.data.standing(&hex::encode(nonce), &me).await
}
