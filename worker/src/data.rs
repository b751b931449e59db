//! The masters' data plane as a worker sees it: bundles out, logs and results in, checkpoints
//! both ways, with the attempt's token and a proof that this worker sends it.
//!
//! Any master will do: the one that answered last is tried first, then those that the order names in turn, then those of
//! the worker's own settings. Retrying over time is left to the callers.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dopq_common::agent::Run;
use dopq_common::checkpoint::{CHUNK_MAX_BYTES, MANIFEST_MAX_BYTES};
use dopq_common::id::{AttemptId, Digest, Epoch, WorkerId};
use dopq_common::secret::Secret;
use dopq_common::wire::{CLUSTER_HEADER, INSTANCE_HEADER, Standing, ToWorker, WorkerKey};
use parking_lot::Mutex;
use reqwest::{Body, Certificate, Method, Response, StatusCode, header};
use url::Url;

/// How often an answer may send us on.
const REDIRECTS: usize = 5;
/// More than any answer to how a worker stands.
const STANDING_MAX_BYTES: usize = 4096;
/// What may lie in a bucket, which gives it to whoever knows its signed URL. All else is at masters.
const BUNDLE: &str = "bundle";
const CONNECT: Duration = Duration::from_secs(5);
/// The longest that a master may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// A request that no master answered as hoped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Every master that answered said that this attempt has no business there, or sends too much.
    #[error("get the masters' leave: {status}")]
    Denied {
        /// What the last one answered.
        status: StatusCode,
    },
    /// A master failed.
    #[error("get an answer from {url}: {status}")]
    Failed {
        /// Which.
        url: Url,
        /// What it answered.
        status: StatusCode,
    },
    /// No master could be reached.
    #[error("reach {url}")]
    Unreachable {
        /// The last that was tried.
        url: Url,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// A master's answer is not one to this question.
    #[error("believe the answer of {url}")]
    Unbelievable {
        /// Which.
        url: Url,
    },
    /// A master serves another cluster.
    #[error("join: the master at {url} serves another cluster; correct cluster or master_urls")]
    OtherCluster {
        /// Which.
        url: Url,
    },
    /// No usable address is known.
    #[error("find a master's address")]
    NoAddress,
}

impl Error {
    /// Whether asking again cannot help.
    pub(crate) const fn is_final(&self) -> bool {
        match self {
            Self::Denied { .. } | Self::OtherCluster { .. } => true,
            Self::Failed { .. }
            | Self::Unreachable { .. }
            | Self::Unbelievable { .. }
            | Self::NoAddress => false,
        }
    }

    /// Whether a master does not know this worker's key.
    pub(crate) const fn is_unknown_key(&self) -> bool {
        matches!(self, Self::Denied { status } if status.as_u16() == 401)
    }
}

/// What opens one attempt's data.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) attempt: AttemptId,
    /// Of this worker's key and the attempt's token.
    proof: Secret,
    urls: Vec<Url>,
}

#[cfg(test)]
impl Access {
    pub(crate) fn of(attempt: AttemptId, urls: Vec<Url>) -> Self {
        Self {
            attempt,
            proof: "proof".into(),
            urls,
        }
    }
}

/// What this worker says of itself when it asks how it stands.
pub(crate) struct Me<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) instance: &'a str,
}

/// What the masters that answered tell a worker of how it stands.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// The latest leadership that one of them knows; `None` where no master is known.
    pub(crate) epoch: Option<Epoch>,
    /// The other machine that has this worker's name, if one is heard from.
    pub(crate) holder: Option<String>,
}

/// Speaks to the data plane. Clones share their connections.
#[derive(Debug, Clone)]
pub(crate) struct DataPlane {
    /// For requests that are answered soon.
    short: reqwest::Client,
    /// For bodies that take as long as they take.
    long: reqwest::Client,
    worker: WorkerId,
    key: WorkerKey,
    own_urls: Vec<Url>,
    /// The master that did last what it was asked. Each request to one that is gone may take [`CONNECT`].
    good: Arc<Mutex<Option<Url>>>,
}

fn builder(trusted: &[Certificate]) -> reqwest::ClientBuilder {
    // Redirects are followed here, since the proof must not go to a bucket.
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .tls_certs_merge(trusted.iter().cloned())
}

impl DataPlane {
    /// With the masters of the worker's own settings. `ca_pem` has certificates of CAs to trust beside the system's.
    pub(crate) fn new(
        worker: WorkerId,
        key: WorkerKey,
        own_urls: Vec<Url>,
        ca_pem: Option<&str>,
    ) -> Result<Self, reqwest::Error> {
        let trusted = Certificate::from_pem_bundle(ca_pem.unwrap_or_default().as_bytes())?;
        Ok(Self {
            short: builder(&trusted).read_timeout(SILENCE).build()?,
            long: builder(&trusted).build()?,
            worker,
            key,
            own_urls,
            good: Arc::default(),
        })
    }

    /// What the run order opens.
    pub(crate) fn access(&self, attempt: AttemptId, run: &Run) -> Access {
        let mut urls: Vec<Url> = Vec::new();
        let named = run.order.data_urls.iter();
        let named = named.filter_map(|url| Url::parse(url).ok());
        for url in named.chain(self.own_urls.iter().cloned()) {
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        Access {
            attempt,
            proof: self.key.proof(run.order.token.reveal()),
            urls,
        }
    }

    /// How the masters of the worker's own settings say that it stands, which also shows that they accept its key.
    pub(crate) async fn standing(&self, nonce: &str, me: &Me<'_>) -> Result<Told, Error> {
        let proof = self.key.proof(&Standing::question(nonce));
        let mut told = Told::default();
        let mut last = None;
        for base in &self.own_urls {
            let mut url = base.clone();
            if let Ok(mut segments) = url.path_segments_mut() {
                segments
                    .pop_if_empty()
                    .extend(["data", "v1", "standing", nonce]);
            }
            match self.ask(url, &proof, nonce, me).await {
                Ok(standing) => {
                    told.epoch = told.epoch.max(Some(standing.epoch));
                    told.holder = told.holder.or(standing.holder);
                }
                Err(error) => last = Some(error),
            }
        }
        match (told.epoch, last) {
            (None, Some(error)) => Err(error),
            (Some(_), _) | (None, None) => Ok(told),
        }
    }

    async fn ask(
        &self,
        url: Url,
        proof: &Secret,
        nonce: &str,
        me: &Me<'_>,
    ) -> Result<Standing, Error> {
        let request = self
            .short
            .get(url.clone())
            .bearer_auth(proof.reveal())
            .header("Dopq-Worker", self.worker.as_str())
            .header(CLUSTER_HEADER, me.cluster)
            .header(INSTANCE_HEADER, me.instance);
        let unreachable = |source: reqwest::Error| Error::Unreachable {
            url: url.clone(),
            source: source.without_url(),
        };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if status == StatusCode::CONFLICT {
            return Err(Error::OtherCluster { url });
        }
        if !status.is_success() {
            return Err(if is_denial(status) {
                Error::Denied { status }
            } else {
                Error::Failed { url, status }
            });
        }
        let mut sealed = Vec::new();
        while let Some(part) = response.chunk().await.map_err(unreachable)? {
            sealed.extend_from_slice(&part);
            if sealed.len() > STANDING_MAX_BYTES {
                return Err(Error::Unbelievable { url });
            }
        }
        let opened = self.key.open_to(ToWorker::Standing, &self.worker, &sealed);
        let standing = opened
            .ok()
            .and_then(|body| serde_json::from_slice::<Standing>(body).ok())
            .filter(|standing| standing.nonce == nonce);
        standing.ok_or(Error::Unbelievable { url })
    }

    /// The bundle's bytes.
    pub(crate) async fn bundle(&self, access: &Access) -> Result<Response, Error> {
        self.send(&self.short, Method::GET, access, BUNDLE, || None)
            .await
    }

    /// Stores a piece of the log under the offset of its first byte.
    pub(crate) async fn put_log(
        &self,
        access: &Access,
        offset: u64,
        bytes: Bytes,
    ) -> Result<(), Error> {
        let path = format!("logs/{offset}");
        let body = || Some(Body::from(bytes.clone()));
        self.send(&self.short, Method::PUT, access, &path, body)
            .await
            .map(drop)
    }

    /// Stores the results; `body` is called anew for each master that is tried.
    pub(crate) async fn put_results(
        &self,
        access: &Access,
        body: impl Fn() -> Body,
    ) -> Result<(), Error> {
        self.send(&self.long, Method::PUT, access, "results", || Some(body()))
            .await
            .map(drop)
    }

    /// The manifest of the job's checkpoint, if it has one.
    pub(crate) async fn checkpoint(&self, access: &Access) -> Result<Option<Bytes>, Error> {
        let response = self
            .send(&self.short, Method::GET, access, "checkpoint", || None)
            .await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        read(response, MANIFEST_MAX_BYTES).await.map(Some)
    }

    /// A chunk of the job's checkpoint.
    pub(crate) async fn chunk(&self, access: &Access, digest: Digest) -> Result<Bytes, Error> {
        let path = format!("checkpoint/chunks/{digest}");
        let response = self
            .send(&self.short, Method::GET, access, &path, || None)
            .await?;
        let most = usize::try_from(CHUNK_MAX_BYTES).unwrap_or(usize::MAX);
        read(response, most).await
    }

    /// Stores a chunk of the job's checkpoint.
    pub(crate) async fn put_chunk(
        &self,
        access: &Access,
        digest: Digest,
        bytes: Bytes,
    ) -> Result<(), Error> {
        let path = format!("checkpoint/chunks/{digest}");
        let body = || Some(Body::from(bytes.clone()));
        self.send(&self.short, Method::PUT, access, &path, body)
            .await
            .map(drop)
    }

    /// Stores the manifest of the job's checkpoint, if no chunk of it is missing. Gives the masters' answer.
    pub(crate) async fn put_checkpoint(
        &self,
        access: &Access,
        manifest: Bytes,
    ) -> Result<Bytes, Error> {
        let body = || Some(Body::from(manifest.clone()));
        let response = self
            .send(&self.short, Method::PUT, access, "checkpoint", body)
            .await?;
        read(response, MANIFEST_MAX_BYTES).await
    }

    async fn send(
        &self,
        client: &reqwest::Client,
        method: Method,
        access: &Access,
        path: &str,
        body: impl Fn() -> Option<Body>,
    ) -> Result<Response, Error> {
        let mut last = Error::NoAddress;
        let good = self.good.lock().clone();
        let is_good = |url: &&Url| Some(*url) == good.as_ref();
        let (first, others): (Vec<_>, Vec<_>) = access.urls.iter().partition(is_good);
        for base in first.into_iter().chain(others) {
            let mut url = base.clone();
            if let Ok(mut segments) = url.path_segments_mut() {
                segments
                    .pop_if_empty()
                    .extend(["data", "v1", "attempts"])
                    .push(&access.attempt.to_string())
                    .extend(path.split('/'));
            }
            let followed = self.follow(client, &method, access, (url, path), &body);
            match followed.await {
                Ok(response) => {
                    if good.as_ref() != Some(base) {
                        *self.good.lock() = Some(base.clone());
                    }
                    return Ok(response);
                }
                // A master that failed may be followed by one that does not, and a refusal counts only
                // while nobody says anything else.
                Err(error) => {
                    if matches!(last, Error::NoAddress) || !error.is_final() {
                        last = error;
                    }
                }
            }
        }
        Err(last)
    }

    async fn follow(
        &self,
        client: &reqwest::Client,
        method: &Method,
        access: &Access,
        (first, path): (Url, &str),
        body: &impl Fn() -> Option<Body>,
    ) -> Result<Response, Error> {
        let is_encrypted = first.scheme() == "https";
        let mut url = first;
        for _ in 0..REDIRECTS {
            let mut request = client.request(method.clone(), url.clone());
            let is_known = access.urls.iter().any(|base| base.origin() == url.origin());
            // A master that was shown the proof sends us on to the leader, which no setting may name.
            let is_master = path != BUNDLE && (!is_encrypted || url.scheme() == "https");
            let is_shown = is_known || is_master;
            if is_shown {
                request = request
                    .bearer_auth(access.proof.reveal())
                    .header("Dopq-Worker", self.worker.as_str());
            }
            if let Some(body) = body() {
                request = request
                    .header(header::CONTENT_TYPE, "application/octet-stream")
                    .body(body);
            }
            let response = match request.send().await {
                Ok(response) => response,
                Err(source) => {
                    // An URL may be a signed one, which is a secret.
                    let source = source.without_url();
                    url.set_query(None);
                    return Err(Error::Unreachable { url, source });
                }
            };
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            let location = response.headers().get(header::LOCATION);
            let next = location
                .filter(|_| status.is_redirection())
                .and_then(|location| location.to_str().ok())
                .and_then(|location| url.join(location).ok());
            match next {
                Some(next) => url = next,
                // Who was not shown the token has not judged it.
                None if is_denial(status) && (is_shown || status != StatusCode::UNAUTHORIZED) => {
                    return Err(Error::Denied { status });
                }
                None => {
                    url.set_query(None);
                    return Err(Error::Failed { url, status });
                }
            }
        }
        url.set_query(None);
        Err(Error::Failed {
            url,
            status: StatusCode::LOOP_DETECTED,
        })
    }
}

/// The body of an answer that has at most so many bytes.
async fn read(mut response: Response, most: usize) -> Result<Bytes, Error> {
    let (url, status) = (without_query(response.url()), response.status());
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(body.freeze()),
            Ok(Some(piece)) if piece.len() <= most.saturating_sub(body.len()) => {
                body.extend_from_slice(&piece);
            }
            Ok(Some(_)) => return Err(Error::Failed { url, status }),
            Err(source) => {
                let source = source.without_url();
                return Err(Error::Unreachable { url, source });
            }
        }
    }
}

fn without_query(url: &Url) -> Url {
    let mut url = url.clone();
    url.set_query(None);
    url
}

const fn is_denial(status: StatusCode) -> bool {
    matches!(status.as_u16(), 401 | 403 | 404 | 409 | 410 | 413)
}

#[cfg(test)]
mod tests;
