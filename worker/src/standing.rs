//! Asks the masters whether they accept this worker's key, and which leadership is the current one.

use std::sync::Arc;
use std::time::Duration;

use dopq_common::agent::Event;
use dopq_common::broker::Delivery;
use dopq_common::chain::chain;
use dopq_common::id::Epoch;

use crate::driver::Context;
use crate::input::Input;

/// Between two looks whether the key is still good.
const EVERY: Duration = Duration::from_secs(60);
/// Between two tries while it is not, or no master answers. A master forgives an address one wrong proof in 3 s.
const AGAIN: Duration = Duration::from_secs(10);

/// Looks from time to time whether the masters accept this worker's key, until the worker ends. What an unaccepted worker
/// says is dropped without an answer, so this is how its administrator learns of it.
pub(crate) async fn watch(context: Arc<Context>) {
    let worker = &context.options.name;
    let mut refused = false;
    loop {
        let asked = ask(&context).await;
        let mut pause = EVERY;
        match asked {
            Ok(None) => return,
            Ok(Some(epoch)) => {
                context.tell(Event::EpochTold(epoch)).await;
                if std::mem::take(&mut refused) {
                    tracing::info!(worker.id = %worker, "the masters accept this worker's key now");
                    context.introduce.notify_one();
                }
            }
            Err(error) if error.is_unknown_key() => {
                pause = AGAIN;
                if !std::mem::replace(&mut refused, true) {
                    tracing::error!(
                        worker.id = %worker,
                        "the masters do not accept this worker's key, so it gets no jobs: make one with `dopq node add {worker}` and set key or key_file"
                    );
                }
            }
            Err(error) => {
                pause = AGAIN;
                tracing::debug!(
                    error = chain(&error),
                    "no master says whether it accepts this worker's key"
                );
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Asks the masters about orders whose epoch is far above what is known, then hands them back to the driver with the
/// answer.
pub(crate) async fn check(context: Arc<Context>, delivery: Delivery) {
    let told = loop {
        match ask(&context).await {
            Ok(told) => break told,
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

async fn ask(context: &Context) -> Result<Option<Epoch>, crate::data::Error> {
    let _one_at_a_time = context.asking.lock().await;
    let mut nonce = [0; 16];
    // Without random numbers the nonce is the time, which no earlier answer has either.
    if getrandom::fill(&mut nonce).is_err() {
        nonce = u128::from(context.clock.now().as_millis()).to_be_bytes();
    }
    context.data.standing(&hex::encode(nonce)).await
}
