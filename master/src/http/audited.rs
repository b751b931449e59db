//! Sees that every change by a user and every privileged access leaves a line in the audit log.
//!
//! A handler that changes something gives the line to the commit (`audit` in [`super::routes`]). For all others, and for
//! what is refused, the line is made here from the route, so that no route is forgotten.

use axum::http::{Method, StatusCode};
use axum::response::Response;
use dopq_common::api::ErrorCode;

use super::app::Context;
use super::caller::Caller;
use super::error::LeaderAt;
use super::trail::Line;
use crate::clock;
use crate::store::AuditEntry;

/// The longest target that a path gives to a line.
const TARGET_MAX_CHARS: usize = 100;

/// A request as its line needs it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    /// The route's pattern.
    pub(super) route: String,
    /// What the path names first.
    pub(super) target: String,
    /// Whether it concerns what is the caller's own.
    pub(super) own: bool,
}

/// Leaves the line of an answered request, unless its change has committed one.
pub(super) fn leave_line(context: &Context, asked: &Asked, caller: &Caller, response: &Response) {
    let changes = asked.method != Method::GET && asked.method != Method::HEAD;
    // The leader leaves the line of what it is asked instead.
    let redirected = response.extensions().get::<LeaderAt>().is_some();
    if redirected || (asked.own && !changes) {
        return;
    }
    let status = response.status();
    let done = status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS;
    let made = caller.trail.take();
    let line = match made {
        Some(Line::Committed(_)) if done => return,
        Some(Line::Committed(line) | Line::Due(line)) => line,
        None => {
            let action = action(&asked.method, &asked.route);
            let target: String = asked.target.chars().take(TARGET_MAX_CHARS).collect();
            caller.line(clock::now(), &action, target, String::new())
        }
    };
    if done {
        context.app.audit.note(line);
    } else if context.refusals.admit(&caller.name) {
        let refused = code(response);
        context.app.audit.note(AuditEntry { refused, ..line });
    }
}

/// `post_jobs_retry` for `POST /v1/jobs/{id}/retry`.
fn action(method: &Method, route: &str) -> String {
    let parts = route.split('/').skip(2);
    let words = parts.filter(|part| !part.starts_with('{'));
    words.fold(method.as_str().to_lowercase(), |action, word| {
        format!("{action}_{word}")
    })
}

/// The error's code, as the answer's body has it.
fn code(response: &Response) -> String {
    let code = response.extensions().get::<ErrorCode>();
    let code = code.and_then(|code| serde_json::to_value(code).ok());
    match code.as_ref().and_then(|code| code.as_str()) {
        Some(code) => code.to_owned(),
        None => response.status().as_u16().to_string(),
    }
}
