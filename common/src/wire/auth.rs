//! Who may say what: worker keys that seal reports and orders, and tokens that open one attempt's data.
//!
//! Everything is derived from one cluster secret with BLAKE3's key derivation, so the store holds no key, and a
//! worker that has only its own key can seal as nobody else. A worker's key has a salt that the store keeps; without
//! the salt the key is worth nothing, which is how a key is revoked.

use std::str::FromStr;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretBox};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::id::{AttemptId, Digest, WorkerId};
use crate::secret::Secret;

use super::session::SessionId;

const CLUSTER_CONTEXT: &str = "dopq 2026-11 cluster key";
const SHARED_CONTEXT: &str = "dopq 2026-11 worker key";
const OWN_CONTEXT: &str = "dopq 2026-12 worker key with salt";
const TOKEN_CONTEXT: &str = "dopq 2026-11 attempt token key";
const PROOF_CONTEXT: &str = "dopq 2026-12 worker proof";
const ORDERS_CONTEXT: &str = "dopq 2026-12 orders to a worker";
const UPCOMING_CONTEXT: &str = "dopq 2026-12 upcoming attempts of a worker";
const STANDING_CONTEXT: &str = "dopq 2026-12 standing of a worker";
const OPEN_CONTEXT: &str = "dopq 2026-12 opening of a session at a worker";
const INTO_CONTEXT: &str = "dopq 2026-12 session, to the worker";
const OUT_CONTEXT: &str = "dopq 2026-12 session, to the master";

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

    /// The key that whoever knows the secret makes for a worker of that name.
    #[must_use]
    pub fn worker(&self, worker: &WorkerId) -> WorkerKey {
        self.derived(SHARED_CONTEXT, worker.as_str())
    }

    /// A worker's own key, which only masters can make.
    #[must_use]
    pub fn own(&self, worker: &WorkerId, salt: &str) -> WorkerKey {
        self.derived(OWN_CONTEXT, &format!("{worker} {salt}"))
    }

    fn derived(&self, context: &str, name: &str) -> WorkerKey {
        let base = blake3::derive_key(context, self.0.expose_secret());
        WorkerKey(hidden(
            *blake3::keyed_hash(&base, name.as_bytes()).as_bytes(),
        ))
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

/// What a master says to one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToWorker {
    /// An [`super::OrderEnvelope`].
    Orders,
    /// A [`super::Standing`].
    Standing,
    /// A [`super::Upcoming`].
    Upcoming,
    /// An [`super::OpenSession`].
    Session,
}

impl ToWorker {
    const fn context(self) -> &'static str {
        match self {
            Self::Orders => ORDERS_CONTEXT,
            Self::Standing => STANDING_CONTEXT,
            Self::Upcoming => UPCOMING_CONTEXT,
            Self::Session => OPEN_CONTEXT,
        }
    }
}

/// What was said to a worker and cannot be believed.
#[derive(Debug, thiserror::Error)]
pub enum Unsealed {
    /// It is no sealed message at all.
    #[error("the message is not sealed")]
    NotSealed,
    /// It is for another worker.
    #[error("the message is for worker {0:?}")]
    NotForUs(String),
    /// The proof is wrong: another key, or changed on the way.
    #[error("the seal is wrong: it was not made with this worker's key")]
    Forged,
}

impl WorkerKey {
    /// Seals what a master says to `worker`: the proof and the name in one line, then `body` as it is.
    #[must_use]
    pub fn seal_to(&self, what: ToWorker, worker: &WorkerId, body: &[u8]) -> Vec<u8> {
        let mac = self.mac_to(what, worker, body);
        [
            mac.as_bytes(),
            b" ",
            worker.as_str().as_bytes(),
            b"\n",
            body,
        ]
        .concat()
    }

    /// Checks the seal of what a master said to `worker`; returns the body.
    ///
    /// # Errors
    /// [`Unsealed`] when it cannot be believed.
    pub fn open_to<'s>(
        &self,
        what: ToWorker,
        worker: &WorkerId,
        sealed: &'s [u8],
    ) -> Result<&'s [u8], Unsealed> {
        let line = sealed.iter().position(|byte| *byte == b'\n');
        let (line, body) = line
            .and_then(|end| Some((sealed.get(..end)?, sealed.get(end + 1..)?)))
            .ok_or(Unsealed::NotSealed)?;
        let line = std::str::from_utf8(line).map_err(|_| Unsealed::NotSealed)?;
        let (mac, name) = line.split_once(' ').ok_or(Unsealed::NotSealed)?;
        if name != worker.as_str() {
            let name = name.chars().take(64).collect();
            return Err(Unsealed::NotForUs(name));
        }
        let expected = self.mac_to(what, worker, body);
        if bool::from(expected.as_bytes().ct_eq(mac.as_bytes())) {
            Ok(body)
        } else {
            Err(Unsealed::Forged)
        }
    }

    fn mac_to(&self, what: ToWorker, worker: &WorkerId, body: &[u8]) -> String {
        let key = blake3::derive_key(what.context(), self.0.expose_secret());
        let mut hasher = blake3::Hasher::new_keyed(&key);
        hasher.update(worker.as_str().as_bytes());
        hasher.update(b"\n");
        hasher.update(body);
        hex::encode(hasher.finalize().as_bytes())
    }

    /// The two keys of a session. `nonce` is the worker's, fresh for each session, so that nothing that was said in
    /// another session is believed in this one.
    #[must_use]
    pub fn session(&self, id: SessionId, nonce: [u8; 16]) -> SessionKeys {
        let direction = |context| {
            let base = blake3::derive_key(context, self.0.expose_secret());
            let text = [id.0, nonce].concat();
            SessionKey(hidden(*blake3::keyed_hash(&base, &text).as_bytes()))
        };
        SessionKeys {
            to_worker: direction(INTO_CONTEXT),
            to_master: direction(OUT_CONTEXT),
        }
    }

    /// Proves over HTTP that the sender has this key and knows `token`, and gives neither away.
    #[must_use]
    pub fn proof(&self, token: &str) -> Secret {
        let key = blake3::derive_key(PROOF_CONTEXT, self.0.expose_secret());
        hex::encode(blake3::keyed_hash(&key, token.as_bytes()).as_bytes()).into()
    }
}

/// The keys of one session, one for each direction.
#[derive(Debug, Clone)]
pub struct SessionKeys {
    /// Proves what the master says.
    pub to_worker: SessionKey,
    /// Proves what the worker says.
    pub to_master: SessionKey,
}

/// The key of one direction of a session.
#[derive(Debug, Clone)]
pub struct SessionKey(Key);

impl SessionKey {
    /// The proof for `body`, which is message `number` of its direction.
    #[must_use]
    pub fn mac(&self, number: u64, body: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(self.0.expose_secret());
        hasher.update(&number.to_le_bytes());
        hasher.update(body);
        *hasher.finalize().as_bytes()
    }

    /// Whether `mac` is the proof for that message.
    #[must_use]
    pub fn proves(&self, number: u64, body: &[u8], mac: &[u8]) -> bool {
        self.mac(number, body).ct_eq(mac).into()
    }
}

impl FromStr for WorkerKey {
    type Err = crate::id::ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(hidden(text.parse::<Digest>()?.0)))
    }
}

/// Whose seals are believed.
pub trait WorkerKeys {
    /// The worker's key; `None` when it has none.
    fn of(&self, worker: &WorkerId) -> Option<WorkerKey>;
}

/// Whoever knows the secret is believed.
impl WorkerKeys for ClusterKey {
    fn of(&self, worker: &WorkerId) -> Option<WorkerKey> {
        Some(self.worker(worker))
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
    /// No such worker may speak.
    #[error("worker {0} has no key here")]
    NoKey(WorkerId),
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
    /// Checks the seal in `bytes` against its worker's key; returns who says what.
    ///
    /// # Errors
    /// [`OpenError`] when it cannot be believed or understood.
    pub fn open<T: DeserializeOwned>(
        keys: &dyn WorkerKeys,
        bytes: &[u8],
    ) -> Result<(WorkerId, T), OpenError> {
        let sealed: Self = serde_json::from_slice(bytes).map_err(OpenError::NotSealed)?;
        let worker = sealed.worker;
        let Some(key) = keys.of(&worker) else {
            return Err(OpenError::NoKey(worker));
        };
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

    #[test]
    fn an_own_key_cannot_be_made_from_the_name_and_ends_with_its_salt() {
        struct Nobody;
        impl WorkerKeys for Nobody {
            fn of(&self, _: &WorkerId) -> Option<WorkerKey> {
                None
            }
        }
        let cluster = ClusterKey::from_secret("s");
        let (a, b): (WorkerId, WorkerId) = ("a".parse().expect("name"), "b".parse().expect("name"));
        let own = cluster.own(&a, "1").reveal();
        for other in [
            cluster.worker(&a),
            cluster.own(&a, "2"),
            cluster.own(&b, "1"),
            ClusterKey::from_secret("t").own(&a, "1"),
        ] {
            assert_ne!(other.reveal(), own);
        }
        let sealed = cluster.own(&a, "1").seal(&a, &7).expect("sealed");
        assert!(matches!(
            Sealed::open::<i32>(&Nobody, &sealed),
            Err(OpenError::NoKey(_))
        ));
    }

    #[test]
    fn what_is_said_to_a_worker_is_for_it_alone() {
        let cluster = ClusterKey::from_secret("s");
        let (a, b): (WorkerId, WorkerId) = ("a".parse().expect("name"), "b".parse().expect("name"));
        let (of_a, of_b) = (cluster.own(&a, "1"), cluster.own(&b, "1"));
        let body = b"{\"epoch\":1}\n";
        let sealed = of_a.seal_to(ToWorker::Orders, &a, body);
        let open = |sealed: &[u8]| {
            of_a.open_to(ToWorker::Orders, &a, sealed)
                .map(<[u8]>::to_vec)
        };
        assert_eq!(open(&sealed).expect("opens"), body);

        let mut changed = sealed;
        if let Some(last) = changed.iter_mut().rev().nth(2) {
            *last = b'2';
        }
        for (what, forged) in [
            ("changed on the way", changed),
            (
                "by another worker's key",
                of_b.seal_to(ToWorker::Orders, &a, body),
            ),
            (
                "said for another purpose",
                of_a.seal_to(ToWorker::Standing, &a, body),
            ),
        ] {
            assert!(matches!(open(&forged), Err(Unsealed::Forged)), "{what}");
        }
        let to_b = of_b.seal_to(ToWorker::Orders, &b, body);
        assert!(matches!(open(&to_b), Err(Unsealed::NotForUs(_))));
        for plain in [&b""[..], b"{}", b"\n", b"\xff \n", b"{\"version\":1}\n"] {
            assert!(matches!(open(plain), Err(Unsealed::NotSealed)), "{plain:?}");
        }
    }

    #[test]
    fn a_proof_needs_the_key_and_the_token() {
        let cluster = ClusterKey::from_secret("s");
        let (a, b): (WorkerId, WorkerId) = ("a".parse().expect("name"), "b".parse().expect("name"));
        let proof = cluster.own(&a, "1").proof("token");
        assert!(proof.matches(cluster.own(&a, "1").proof("token").reveal()));
        for other in [
            cluster.own(&a, "1").proof("another"),
            cluster.own(&a, "2").proof("token"),
            cluster.own(&b, "1").proof("token"),
        ] {
            assert!(!proof.matches(other.reveal()));
        }
    }
}
