//! What is drawn at random. The scheduler draws nothing, so that it can be replayed.

use dopq_common::id::JobKey;
use dopq_common::wire::SessionId;

/// A key for a new job.
///
/// # Errors
/// When the machine gives no random numbers.
pub(crate) fn job_key() -> Result<JobKey, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(JobKey(bytes))
}

/// 128 random bits in hexadecimal.
///
/// # Errors
/// When the machine gives no random numbers.
pub(crate) fn hex() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(hex::encode(bytes))
}

/// The name of a new session.
///
/// # Errors
/// When the machine gives no random numbers.
pub(crate) fn session_id() -> Result<SessionId, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(SessionId(bytes))
}
