//! Versions of the envelopes: one version of skew works, so that a cluster can be upgraded machine by
//! machine; more is refused.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The version that this build writes.
pub const WIRE_VERSION: u32 = 1;

/// How far a writer's version may be from this build's.
const SKEW_MAX: u32 = 1;

/// Why an envelope is refused as a whole.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Its writer is more than one version apart.
    #[error(
        "the message has version {0} and this build reads versions {low} to {high}: \
         upgrade masters and workers to the same version",
        low = WIRE_VERSION.saturating_sub(SKEW_MAX),
        high = WIRE_VERSION + SKEW_MAX
    )]
    Version(u32),
    /// It is not JSON of the right shape.
    #[error("cannot parse the message")]
    Shape(#[source] serde_json::Error),
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// Reads an envelope after a look at its version.
///
/// # Errors
/// [`EnvelopeError`]; a version that is too far away is told whatever the rest of the message is.
pub fn read_envelope<T: DeserializeOwned>(text: &[u8]) -> Result<T, EnvelopeError> {
    let Versioned { version } = serde_json::from_slice(text).map_err(EnvelopeError::Shape)?;
    if version.abs_diff(WIRE_VERSION) > SKEW_MAX {
        return Err(EnvelopeError::Version(version));
    }
    serde_json::from_slice(text).map_err(EnvelopeError::Shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::OrderEnvelope;

    #[test]
    fn one_version_of_skew_is_read_and_more_is_refused() {
        for (version, read) in [
            (WIRE_VERSION - 1, true),
            (WIRE_VERSION, true),
            (WIRE_VERSION + 1, true),
            (WIRE_VERSION + 2, false),
            (u32::MAX, false),
        ] {
            let text = format!(r#"{{"version":{version},"epoch":1,"orders":[],"later":true}}"#);
            let envelope = read_envelope::<OrderEnvelope>(text.as_bytes());
            assert_eq!(envelope.is_ok(), read, "{version}: {envelope:?}");
        }
        // Nothing else need be understood.
        let far = read_envelope::<OrderEnvelope>(br#"{"version":9,"shape":"new"}"#);
        assert!(matches!(far, Err(EnvelopeError::Version(9))), "{far:?}");
        let near = read_envelope::<OrderEnvelope>(br#"{"version":2,"shape":"new"}"#);
        assert!(matches!(near, Err(EnvelopeError::Shape(_))), "{near:?}");
    }
}
