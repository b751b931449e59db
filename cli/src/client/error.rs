//! Why a call to the master failed.

use std::error::Error as StdError;
use std::fmt;

use dopq_common::api::{ErrorBody, Fault};

use super::tls::TlsFault;
use crate::exit;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No answer.
    #[error("failed to reach the master at {url}")]
    Unreachable {
        /// Which master.
        url: String,
        /// Who named it.
        named_by: String,
        /// Whether the request may have arrived.
        sent: bool,
        /// Why.
        #[source]
        source: Cause,
    },
    /// Something answered, but not with TLS that can be trusted.
    #[error("failed to connect securely to the master at {url}: {fault}")]
    Tls {
        /// Which master.
        url: String,
        /// What is wrong.
        fault: TlsFault,
    },
    /// The master said no.
    #[error("{}", .0.message)]
    Refused(Box<ErrorBody>),
    /// Something answered that is no DoPQ master, or one of another version.
    #[error("unexpected answer from {url}: {detail}")]
    Strange {
        /// What was called.
        url: String,
        /// What is odd about the answer.
        detail: String,
        /// Whether it looks like a proxy whose master is away for a moment.
        temporary: bool,
    },
    /// A redirect that must not be followed.
    #[error("{from} redirects to {to}, which {why}")]
    Redirect {
        /// Who redirects.
        from: String,
        /// To where.
        to: String,
        /// Why it is not followed.
        why: &'static str,
    },
    /// The certificates of `ca_file`, or the token, cannot be used.
    #[error("failed to set up the connection: {0}")]
    SetUp(String),
}

/// A failed request, told by its innermost cause: the outer layers only say that sending failed.
#[derive(Debug)]
pub(crate) struct Cause(pub(super) reqwest::Error);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cause: &dyn StdError = &self.0;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        write!(f, "{cause}")
    }
}

impl StdError for Cause {}

impl Error {
    /// The exit code that belongs to it.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::Strange { .. }
            | Self::Redirect { .. } => exit::UNREACHABLE,
            Self::Refused(body) => exit::of_error(body.code),
            Self::SetUp(_) => exit::BAD_CONFIGURATION,
        }
    }

    /// The master's code, if it answered with one.
    pub(crate) fn code(&self) -> Option<String> {
        let Self::Refused(body) = self else {
            return None;
        };
        let code = serde_json::to_value(body.code).ok()?;
        code.as_str().map(str::to_owned)
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { named_by, .. } => Some(format!(
                "check that the master runs there (URL from {named_by}); set another with --url or DOPQ_URL, \
                 or start one with: dopq-master --standalone --data-dir DIR"
            )),
            Self::Tls { fault, .. } => Some(fault.hint().to_owned()),
            Self::Refused(body) => Some(body.hint.clone()).filter(|hint| !hint.is_empty()),
            Self::Strange { .. } => Some(
                "check that the URL is a DoPQ master's; a proxy must pass /v1/ on unchanged"
                    .to_owned(),
            ),
            Self::Redirect { .. } => {
                Some("ask your admin to correct the masters' advertise_url".to_owned())
            }
            Self::SetUp(_) => Some("check DOPQ_CA_FILE (ca_file) and the token".to_owned()),
        }
    }

    /// The faults of a refused bundle or configuration.
    pub(crate) fn faults(&self) -> &[Fault] {
        match self {
            Self::Refused(body) => &body.faults,
            Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::Strange { .. }
            | Self::Redirect { .. }
            | Self::SetUp(_) => &[],
        }
    }
}
