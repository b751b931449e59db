//! How a request fails: an [`api::ErrorResponse`] with its status.

use std::fmt;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use dopq_common::api::{self, ErrorCode};
use dopq_common::bundle;
use dopq_common::id::ParseIdError;
use dopq_common::sched::Rejected;

use crate::driver::ActError;

/// `Retry-After` for clients that may try again.
const RETRY_SECONDS: u64 = 2;

/// The error that the sender of a request gets.
#[derive(Debug, Clone)]
pub(super) struct Error {
    code: ErrorCode,
    message: String,
    hint: String,
    faults: Vec<api::Fault>,
    retry_after: Option<Duration>,
    /// The leader's URL, if the leader can handle the request.
    leader_url: Option<String>,
}

/// Extension of a handler's answer if another master leads; [`super::guard`] then redirects.
#[derive(Debug, Clone)]
pub(super) struct LeaderAt(pub(super) String);

pub(super) type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with `code`; `message` is one lower-case sentence.
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let retry = match code {
            ErrorCode::Unavailable | ErrorCode::TooManyRequests => {
                Some(Duration::from_secs(RETRY_SECONDS))
            }
            ErrorCode::BadRequest
            | ErrorCode::Unauthorized
            | ErrorCode::Forbidden
            | ErrorCode::NotFound
            | ErrorCode::Conflict
            | ErrorCode::TooLarge
            | ErrorCode::Invalid
            | ErrorCode::InsufficientStorage
            | ErrorCode::Internal
            | ErrorCode::Unknown => None,
        };
        Self {
            code,
            message: message.into(),
            hint: String::new(),
            faults: Vec::new(),
            retry_after: retry,
            leader_url: None,
        }
    }

    /// The code as the body has it.
    pub(super) fn code_name(&self) -> String {
        let name = serde_json::to_value(self.code).unwrap_or_default();
        name.as_str().unwrap_or_default().to_owned()
    }

    /// Adds what the sender can do.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Sets when to try again.
    pub(super) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// An invalid bundle or configuration.
    pub(super) fn faults(message: impl Into<String>, faults: Vec<bundle::Fault>) -> Self {
        let mut error = Self::new(ErrorCode::Invalid, message);
        error.faults = faults.into_iter().map(fault).collect();
        error
    }

    /// A configuration that breaks a rule which only the master can check.
    pub(super) fn fault(rule: &str, place: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let mut error = Self::new(ErrorCode::Invalid, message.clone());
        error.faults.push(api::Fault {
            rule: rule.to_owned(),
            place: place.to_owned(),
            message,
        });
        error
    }

    /// The job does not exist.
    pub(super) fn no_job(name: impl fmt::Display) -> Self {
        Self::new(ErrorCode::NotFound, format!("there is no job {name}"))
            .hint("list your jobs with: dopq ps")
    }

    /// The job is another user's.
    pub(super) fn not_yours(name: impl fmt::Display) -> Self {
        let message = format!("job {name} is another user's");
        Self::new(ErrorCode::NotFound, message)
            .hint("only its owner, operators and admins may do this")
    }

    /// An internal error. The sender gets no details; the log has them.
    pub(super) fn internal(what: &str, source: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = source, "{what}");
        Self::new(ErrorCode::Internal, what)
            .hint("send the answer's X-Request-Id to an admin, who finds it in the master's log")
    }

    /// A service that the master needs does not answer.
    pub(super) fn unavailable(what: &str, source: &(dyn std::error::Error + 'static)) -> Self {
        tracing::warn!(error = source, "{what}");
        Self::new(ErrorCode::Unavailable, what).hint("try again; see dopq status")
    }

    /// Another master leads.
    pub(super) fn not_leader(leader_url: Option<String>) -> Self {
        let mut error = Self::new(ErrorCode::Unavailable, "this master is not the leader")
            .hint("no leader is known; try again in a few seconds");
        error.leader_url = leader_url;
        error
    }

    /// The body, for streams that fail after they started.
    pub(super) fn into_body(self) -> api::ErrorResponse {
        api::ErrorResponse {
            error: api::ErrorBody {
                code: self.code,
                message: self.message,
                hint: self.hint,
                faults: self.faults,
            },
        }
    }
}

fn fault(fault: bundle::Fault) -> api::Fault {
    api::Fault {
        rule: fault.rule.to_owned(),
        place: fault.place,
        message: fault.message,
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let code = self.code;
        let status =
            StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let (retry_after, leader) = (self.retry_after, self.leader_url.clone());
        let mut response = (status, Json(self.into_body())).into_response();
        // For the audit log.
        response.extensions_mut().insert(code);
        let headers = response.headers_mut();
        if let Some(wait) = retry_after {
            headers.insert(header::RETRY_AFTER, wait.as_secs().max(1).into());
        }
        if code == ErrorCode::Unauthorized {
            let scheme = HeaderValue::from_static("Bearer realm=\"dopq\"");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        if let Some(leader) = leader {
            response.extensions_mut().insert(LeaderAt(leader));
        }
        response
    }
}

impl From<ParseIdError> for Error {
    fn from(error: ParseIdError) -> Self {
        Self::new(ErrorCode::BadRequest, error.to_string())
    }
}

impl From<Rejected> for Error {
    fn from(rejected: Rejected) -> Self {
        let code = match &rejected {
            Rejected::NoSuchJob(_) | Rejected::NoSuchWorker(_) | Rejected::NoSuchGroup(_) => {
                ErrorCode::NotFound
            }
            Rejected::AlreadyFinished { .. }
            | Rejected::NotQueued { .. }
            | Rejected::NotActive { .. }
            | Rejected::Stale(_)
            | Rejected::Repeated(_)
            | Rejected::GroupInUse { .. }
            | Rejected::NameTaken { .. }
            | Rejected::KeyUsed(_) => ErrorCode::Conflict,
            Rejected::NeverFits(_) | Rejected::Guarded(_) | Rejected::Invalid(_) => {
                ErrorCode::Invalid
            }
        };
        let hint = match &rejected {
            Rejected::NeverFits(_) => "list the nodes with: dopq nodes",
            Rejected::Guarded(_) => "wait until your jobs end, or ask an admin for a higher limit",
            Rejected::KeyUsed(_) => "use a new Idempotency-Key for a new request",
            Rejected::NoSuchWorker(_) => "list the nodes with: dopq nodes",
            Rejected::NoSuchJob(_) => "list your jobs with: dopq ps",
            Rejected::NoSuchGroup(_) => "list the groups with: dopq group list",
            Rejected::GroupInUse { .. } => {
                "remove each member with: dopq user limit NAME --no-group"
            }
            Rejected::AlreadyFinished { .. }
            | Rejected::NotQueued { .. }
            | Rejected::NotActive { .. }
            | Rejected::NameTaken { .. }
            | Rejected::Stale(_)
            | Rejected::Repeated(_)
            | Rejected::Invalid(_) => "",
        };
        Self::new(code, rejected.to_string()).hint(hint)
    }
}

impl From<ActError> for Error {
    fn from(error: ActError) -> Self {
        match error {
            ActError::Rejected(rejected) => rejected.into(),
            ActError::NotLeader { leader_url } => Self::not_leader(leader_url),
            ActError::Unavailable(_) => Self::new(ErrorCode::Unavailable, error.to_string())
                .hint("it may have taken effect; check, and repeat it if not"),
        }
    }
}
