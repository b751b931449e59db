//! Ends long answers and sessions whose token no longer proves the caller.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures::StreamExt as _;
use tokio::time::Instant;

use super::app::{Context, Ctx};
use super::caller::Caller;
use super::streams::Slot;
use crate::accounts::{Identified, identify};
use crate::clock;

/// Time between two looks at a stream's token. A revoked one must end within a second.
pub(super) const LOOK: Duration = Duration::from_millis(400);
/// The longest answer. Followers connect again where they were.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The answer, which ends when `token` no longer proves the caller.
pub(super) fn watched(
    response: Response,
    context: Ctx,
    caller: Caller,
    token: String,
    slot: Slot,
) -> Response {
    response.map(|body| {
        let ended = async move {
            let until = Instant::now() + LONGEST;
            while Instant::now() < until && holds(&context, &caller, &token) {
                tokio::time::sleep(LOOK).await;
            }
            drop(slot);
        };
        let data = body.into_data_stream().take_until(Box::pin(ended));
        Body::from_stream(data)
    })
}

/// The right to a session, for as long as the token proves the caller. Handlers find it in the request's extensions.
#[derive(Clone)]
pub(super) struct Watch(Arc<Watched>);

struct Watched {
    context: Ctx,
    caller: Caller,
    token: String,
    until: Instant,
    /// One of the user's open streams.
    _slot: Slot,
}

impl Watch {
    pub(super) fn new(context: Ctx, caller: Caller, token: String, slot: Slot) -> Self {
        let until = Instant::now() + LONGEST;
        Self(Arc::new(Watched {
            context,
            caller,
            token,
            until,
            _slot: slot,
        }))
    }

    /// Whether it still holds.
    pub(super) fn holds(&self) -> bool {
        let watched = &*self.0;
        Instant::now() < watched.until && holds(&watched.context, &watched.caller, &watched.token)
    }
}

fn holds(context: &Context, caller: &Caller, token: &str) -> bool {
    let now = clock::now();
    let who = context
        .view()
        .read(|model| identify(&model.accounts, token, now));
    match who {
        Identified::As { name, role, .. } => name == caller.name && role >= caller.role,
        Identified::Expired | Identified::Disabled | Identified::Unknown => false,
    }
}
