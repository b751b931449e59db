//! What is drawn at random. The scheduler draws nothing, so that it can be replayed.

use dopq_common::id::JobKey;

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
