//! Who may say what: worker keys that seal reports, and tokens that open one attempt's data.
//!
//! Everything is derived from one cluster secret with BLAKE3's key derivation, so masters keep no
//! table of keys, and a worker that holds only its own key can seal as nobody else.

use std::str::FromStr;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretBox};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::id::{AttemptId, Digest, WorkerId};
use crate::secret::Secret;

const CLUSTER_CONTEXT: &str = "dopq 2026-11 cluster key";
const WORKER_CONTEXT: &str = "dopq 2026-11 worker key";
const TOKEN_CONTEXT: &str = "dopq 2026-11 attempt token key";

/// The key that a cluster's secret gives; masters hold it.
#[derive(Debug, Clone)]
pub struct ClusterKey(Key);

/// One worker's key, made from the cluster's.
#[derive(Debug, Clone)]
pub struct WorkerKey(Key);

/// 256 bits, shared by the clones of what holds them.
type Key = Arc<SecretBox<[u8; 32]>>;

fn hidden(key: [u8; 32]) -> Key {
    Arc::new(SecretBox::new(Box::new(key)))
}

impl ClusterKey {
    /// From the cluster's secret text.
    #[must_use]
    pub fn from_secret(secret: &str) -> Self {
        Self(hidden(blake3::derive_key(
            CLUSTER_CONTEXT,
            secret.as_bytes(),
        )))
    }

    /// The key of one worker.
    #[must_use]
    pub fn worker(&self, worker: &WorkerId) -> WorkerKey {
        let base = blake3::derive_key(WORKER_CONTEXT, self.0.expose_secret());
        let key = blake3::keyed_hash(&base, worker.as_str().as_bytes());
        WorkerKey(hidden(*key.as_bytes()))
    }

    /// The token that opens the bundle, the log and the results of one attempt on one worker.
    #[must_use]
    pub fn token(&self, attempt: AttemptId, worker: &WorkerId) -> Secret {
        let base = blake3::derive_key(TOKEN_CONTEXT, self.0.expose_secret());
        let text = format!("{attempt} {worker}");
        let token = blake3::keyed_hash(&base, text.as_bytes());
        hex::encode(token.as_bytes()).into()
    }
}

impl WorkerKey {
    /// The key as 64 hexadecimal digits, for the join token of one machine. Keep it secret.
    #[must_use]
    pub fn reveal(&self) -> String {
        hex::encode(self.0.expose_secret())
    }

    /// Seals `message`, which `worker` says.
    ///
    /// # Errors
    /// When the message cannot be written as JSON.
    pub fn seal<T: Serialize>(
        &self,
        worker: &WorkerId,
        message: &T,
    ) -> Result<Vec<u8>, serde_json::Error> {
        let body = serde_json::to_string(message)?;
        let mac =
            hex::encode(blake3::keyed_hash(self.0.expose_secret(), body.as_bytes()).as_bytes());
        serde_json::to_vec(&Sealed {
            worker: worker.clone(),
            body,
            mac,
        })
    }
}

impl FromStr for WorkerKey {
    type Err = crate::id::ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(hidden(text.parse::<Digest>()?.0)))
    }
}

/// A message with the name of who says it and the proof.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sealed {
    /// Who says it.
    pub worker: WorkerId,
    /// The message as JSON text.
    pub body: String,
    /// Keyed BLAKE3 of the body, hexadecimal.
    pub mac: String,
}

/// A sealed message that cannot be believed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is no sealed message at all.
    #[error("the message is not sealed")]
    NotSealed(#[source] serde_json::Error),
    /// The proof is wrong: another key, or changed on the way.
    #[error("the seal of worker {0} is wrong")]
    Forged(WorkerId),
    /// The proof fits, the content is not understood.
    #[error("cannot parse the message of worker {worker}")]
    Content {
        /// Who says it.
        worker: WorkerId,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl Sealed {
    /// Checks the seal in `bytes` against the cluster's key; returns who says what.
    ///
    /// # Errors
    /// [`OpenError`] when it cannot be believed or understood.
    pub fn open<T: DeserializeOwned>(
        key: &ClusterKey,
        bytes: &[u8],
    ) -> Result<(WorkerId, T), OpenError> {
        let sealed: Self = serde_json::from_slice(bytes).map_err(OpenError::NotSealed)?;
        let worker = sealed.worker;
        let key = key.worker(&worker);
        let expected = blake3::keyed_hash(key.0.expose_secret(), sealed.body.as_bytes());
        let expected = hex::encode(expected.as_bytes());
        if !bool::from(expected.as_bytes().ct_eq(sealed.mac.as_bytes())) {
            return Err(OpenError::Forged(worker));
        }
        match serde_json::from_str(&sealed.body) {
            Ok(message) => Ok((worker, message)),
            Err(source) => Err(OpenError::Content { worker, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{JobId, JobKey};

    #[test]
    fn only_the_worker_itself_can_seal_as_itself() {
        let cluster = ClusterKey::from_secret("s");
        let (a, b): (WorkerId, WorkerId) = ("a".parse().expect("name"), "b".parse().expect("name"));
        let sealed = cluster.worker(&a).seal(&a, &7).expect("sealed");
        assert_eq!(
            Sealed::open::<i32>(&cluster, &sealed).expect("opens"),
            (a.clone(), 7)
        );
        let forged = cluster.worker(&b).seal(&a, &7).expect("sealed");
        assert!(matches!(
            Sealed::open::<i32>(&cluster, &forged),
            Err(OpenError::Forged(_))
        ));
        let other = ClusterKey::from_secret("t");
        assert!(matches!(
            Sealed::open::<i32>(&other, &sealed),
            Err(OpenError::Forged(_))
        ));
        assert!(matches!(
            Sealed::open::<i32>(&cluster, b"{}"),
            Err(OpenError::NotSealed(_))
        ));
        assert!(matches!(
            Sealed::open::<String>(&cluster, &sealed),
            Err(OpenError::Content { .. })
        ));
    }

    #[test]
    fn a_token_opens_one_attempt_on_one_worker() {
        let cluster = ClusterKey::from_secret("s");
        let worker: WorkerId = "a".parse().expect("name");
        let attempt = AttemptId {
            job: JobId(1),
            number: 1,
            key: JobKey([1; 16]),
        };
        let first = cluster.token(attempt, &worker);
        assert!(first.matches(first.reveal()));
        for other in [
            AttemptId {
                number: 2,
                ..attempt
            },
            AttemptId {
                key: JobKey([2; 16]),
                ..attempt
            },
        ] {
            let other = cluster.token(other, &worker);
            assert!(!first.matches(other.reveal()));
        }
        assert!(!first.matches(""));
        assert!(!format!("{first:?}").contains(first.reveal()));
        let read: WorkerKey = cluster.worker(&worker).reveal().parse().expect("hex");
        assert_eq!(read.reveal(), cluster.worker(&worker).reveal());
    }
}
