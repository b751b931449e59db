//! The handlers. [`super::table`] and [`super::guard`] decide who may call them.

pub(super) mod accounts;
pub(super) mod audit_log;
pub(super) mod bundles;
pub(super) mod checkpoints;
pub(super) mod control;
pub(super) mod data;
pub(super) mod doctor;
pub(super) mod events;
pub(super) mod exec;
pub(super) mod forward;
pub(super) mod groups;
pub(super) mod health;
pub(super) mod history;
pub(super) mod jobs;
pub(super) mod login;
pub(super) mod logs;
pub(super) mod node_keys;
pub(super) mod nodes;
pub(super) mod people;
pub(super) mod prune;
pub(super) mod queue;
pub(super) mod results;
pub(super) mod retry;
pub(super) mod submit;
pub(super) mod system;

use dopq_common::api::ErrorCode;
use dopq_common::id::{AttemptId, JobId};
use dopq_common::time::Timestamp;

use super::app::Context;
use super::caller::Caller;
use super::convert::{array_of, waiting_in};
use super::error::{Error, Result};
use crate::store::AuditEntry;

/// The longest reason or label.
const LINE_MAX_CHARS: usize = 200;

/// Jobs per lock of the read model. The reason of each waiting job takes a look at every machine, so long lists
/// are read in pieces and commits get in between.
const AT_ONCE: usize = 64;

/// The last attempt of a job with its own log and results; its number is 0 before the first, and a task that was not
/// begun has none. `what` names log and results.
fn own_output(context: &Context, id: JobId, what: &str) -> Result<Option<AttemptId>> {
    context.view().read(|model| {
        let Some(job) = model.state.job(id) else {
            let waits = waiting_in(model, id).is_some();
            return waits.then_some(None).ok_or_else(|| Error::no_job(id));
        };
        let Some(first) = array_of(job).and_then(|array| array.indexes.first()) else {
            return Ok(Some(job.attempt_id(job.last_attempt)));
        };
        let message = format!("job {id} is an array; each task has {what} of its own");
        let hint = format!("name a task, such as {id}_{first}");
        Err(Error::new(ErrorCode::BadRequest, message).hint(hint))
    })
}

/// The audit line for an action of `caller`, to be given to the commit of the change. If the answer is an error, the
/// guard writes it with the error's code instead.
fn audit(
    caller: &Caller,
    at: Timestamp,
    action: &str,
    target: impl ToString,
    detail: String,
) -> AuditEntry {
    let line = caller.line(at, action, target, detail);
    caller.trail.committed(&line);
    line
}

/// Checks a line of text that others will see.
fn line(field: &str, text: &str) -> Result<String> {
    let text = text.trim();
    if text.chars().count() > LINE_MAX_CHARS {
        let message = format!("{field} is longer than {LINE_MAX_CHARS} characters");
        return Err(Error::new(ErrorCode::BadRequest, message));
    }
    if text.chars().any(char::is_control) {
        let message = format!("{field} contains control characters");
        return Err(Error::new(ErrorCode::BadRequest, message));
    }
    Ok(text.to_owned())
}
