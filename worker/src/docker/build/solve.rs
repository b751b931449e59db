//! Runs one build: opens the session, starts the build, reads its progress, watches time-outs and cancellation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard_buildkit_proto::moby::buildkit::v1::StatusResponse;
use bytes::Bytes;
use dopq_common::chain::chain;
use hyper::Request;
use parking_lot::Mutex;
use prost::Message as _;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::context::{Bundle, ContextError, DOCKERFILE};
use super::logins::Logins;
use super::secrets::StepSecrets;
use super::session::{Services, Session};
use super::trace::Trace;
use super::transfer::{Files, Transfers};
use super::tree::{Content, Tree};
use super::{BuildRequest, Pull, verdict};
use crate::docker::client::Client;
use crate::docker::error::{BuildError, Error};
use crate::docker::raw::Raw;
use crate::docker::shared_files;
use crate::docker::types::Builder;

const CALL: &str = "build";

/// One message of the engine.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(default)]
    id: String,
    #[serde(borrow)]
    aux: Option<&'a serde_json::value::RawValue>,
    error: Option<String>,
}

/// The image's id in a message.
#[derive(Deserialize)]
struct ImageId {
    #[serde(rename = "ID")]
    id: String,
}

impl Client {
    /// Builds the image of the bundle's Dockerfile; see [`Engine::build`](crate::docker::Engine::build).
    ///
    /// # Errors
    /// [`BuildError`].
    pub async fn build(
        &self,
        request: &BuildRequest,
        output: mpsc::Sender<Bytes>,
        cancel: CancellationToken,
    ) -> Result<String, BuildError> {
        let building = async {
            let builder = self.builder().await?;
            if builder == Builder::Absent {
                return Err(BuildError::NoBuildKit);
            }
            let shared = self.shared_files().iter();
            let secrets = shared.map(|file| file.target().to_owned()).collect();
            let files = open(request, builder, secrets).await?;
            Box::pin(self.solve(request, files, &output)).await
        };
        let image = bounded(building, request.limits.total, cancel).await?;
        self.judge_size(&image, request).await?;
        Ok(image)
    }

    /// Builds from the given files.
    pub(super) async fn solve(
        &self,
        request: &BuildRequest,
        files: Files,
        output: &mpsc::Sender<Bytes>,
    ) -> Result<String, BuildError> {
        let version = self.docker(CALL).await?.client_version();
        let api = format!("/v{}.{}", version.major_version, version.minor_version);
        let id = random_id()?;
        let files = Arc::new(files);
        let registries = self.registries().await;
        let mut args = registries.proxy_args();
        args.extend(request.args.clone());
        let unread = Arc::<Mutex<Option<String>>>::default();
        let services = Services {
            transfers: Transfers(Arc::clone(&files)),
            secrets: StepSecrets {
                user: request.secrets.clone(),
                shared: self.shared_contents().await?,
                failure: Arc::clone(&unread),
            },
            logins: Logins(registries),
        };
        let session = Session::open(
            self.host(),
            &format!("{api}/session"),
            &id,
            &request.space.context,
            services,
        )
        .await?;
        let path = format!("{api}/build?{}", query(request, args, &id)?);
        let answer = Raw::send(CALL, self.host(), Request::post(path)).await;
        let mut trace = Trace::default();
        let built = match answer {
            Ok(answer) => listen(self, answer, &mut trace, output, request).await,
            Err(Error::Other { message, .. }) => Err(verdict::judge(&message, &trace)),
            Err(error) => Err(error.into()),
        };
        drop(session);
        let is_given_up = request.limits.pull == Pull::Never && built.is_err();
        if is_given_up || trace.remote().is_some() {
            // The engine may have been faster. If the image cannot be removed now, the error of the build is still the
            // one to tell.
            self.remove_quietly(&request.tag).await;
        }
        let sent_bytes = *files.sent_bytes.lock();
        tracing::debug!(
            image = request.tag,
            sent_bytes,
            "the engine's part of a build ended"
        );
        if built.is_ok() {
            return built;
        }
        // What failed here explains the engine's error.
        if let Some(error) = files.failure.lock().take() {
            return Err(error.into());
        }
        let unread = unread.lock().take();
        match unread {
            Some(message) => Err(BuildError::Engine(Error::Other {
                call: CALL,
                message,
            })),
            None => built,
        }
    }

    /// Fails if a step asks for a base image that the engine lacks.
    async fn refuse_pulls(&self, trace: &mut Trace) -> Result<(), BuildError> {
        for base in trace.take_bases() {
            let mut found = self.find_image(&base).await?;
            // A name with a tag may have got the digest that the tag has here.
            let tagged = base.split_once('@').map(|(name, _)| name);
            let has_tag = |name: &&str| name.rsplit('/').next().is_some_and(|n| n.contains(':'));
            if let (None, Some(name)) = (&found, tagged.filter(has_tag)) {
                found = self.find_image(name).await?;
            }
            if found.is_none() {
                return Err(verdict::unpulled(&base));
            }
        }
        Ok(())
    }

    async fn shared_contents(&self) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let read = shared_files::contents(self.shared_files()).await;
        read.map_err(|error| Error::Other {
            call: CALL,
            message: chain(&error),
        })
    }

    /// Removes a name; a failure is logged only.
    pub(super) async fn remove_quietly(&self, name: &str) {
        if let Err(error) = self.remove_image(name).await {
            tracing::warn!(
                image = name,
                error = chain(&error),
                "failed to remove an image"
            );
        }
    }

    /// Removes an image that exceeds the size limit.
    pub(super) async fn judge_size(
        &self,
        image: &str,
        request: &BuildRequest,
    ) -> Result<(), BuildError> {
        let size = self.find_image(image).await?.map(|image| image.size_bytes);
        let limit = request.limits.image;
        if size.is_some_and(|size| size > limit.0) {
            self.remove_quietly(&request.tag).await;
            return Err(BuildError::Failed {
                step: None,
                detail: format!(
                    "the image has {}; the maximum is {limit}",
                    dopq_common::resources::ByteSize(size.unwrap_or_default())
                ),
            });
        }
        Ok(())
    }
}

/// Lists the bundle's files on a thread of its own.
async fn open(
    request: &BuildRequest,
    builder: Builder,
    secrets: Vec<String>,
) -> Result<Files, BuildError> {
    let (path, limits) = (request.bundle.clone(), request.limits.bundle.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let bundle = Bundle::open(&path, &limits)?;
        let text = bundle.dockerfile(builder, &secrets)?;
        Ok(Files {
            dockerfile: dockerfile_alone(text),
            context: bundle.tree(),
            ignore: bundle.ignore()?,
            bundle,
            failure: Mutex::new(None),
            sent_bytes: Mutex::new(0),
        })
    });
    match opened.await {
        Ok(opened) => opened.map_err(|error: ContextError| error.into()),
        Err(error) => Err(BuildError::Bundle(Box::new(error))),
    }
}

/// The folder of the Dockerfile.
pub(super) fn dockerfile_alone(text: String) -> Tree {
    let mut tree = Tree::default();
    tree.add_file(DOCKERFILE, 0o644, Content::Text(Bytes::from(text)));
    tree
}

/// The parameters of the build.
fn query(
    request: &BuildRequest,
    mut args: BTreeMap<String, String>,
    session: &str,
) -> Result<String, BuildError> {
    let unwritable = |error: serde_json::Error| BuildError::Bundle(Box::new(error));
    // Caches of RUN --mount=type=cache are named below it.
    args.insert(
        "BUILDKIT_CACHE_MOUNT_NS".to_owned(),
        request.space.user.clone(),
    );
    let args = serde_json::to_string(&args).map_err(unwritable)?;
    let labels = serde_json::to_string(&request.labels).map_err(unwritable)?;
    // The name is a part of the cache key of each RUN, so no layer that depends on a user's secrets, network or luck is
    // another user's.
    let host = format!("{}.dopq.invalid:127.0.0.1", request.space.user);
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query
        .append_pair("version", "2")
        .append_pair("remote", "client-session")
        .append_pair("session", session)
        .append_pair("buildid", session)
        .append_pair("dockerfile", DOCKERFILE)
        .append_pair("t", &request.tag)
        .append_pair("rm", "1")
        .append_pair("buildargs", &args)
        .append_pair("labels", &labels)
        .append_pair("extrahosts", &host)
        .append_pair("networkmode", request.limits.network.as_str());
    if request.limits.pull == Pull::Always {
        query.append_pair("pull", "1");
    }
    Ok(query.finish())
}

/// Reads all messages of the engine, forwards the lines, and returns the image's id.
async fn listen(
    client: &Client,
    mut answer: Raw,
    trace: &mut Trace,
    output: &mpsc::Sender<Bytes>,
    request: &BuildRequest,
) -> Result<String, BuildError> {
    let silent = request.limits.silent;
    let mut image = None;
    let mut unread = Vec::new();
    loop {
        let block = match tokio::time::timeout(silent, answer.next()).await {
            Ok(block) => block?,
            Err(_) => return Err(BuildError::Silent { after: silent }),
        };
        let Some(block) = block else { break };
        unread.extend_from_slice(&block);
        let end = unread
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        let whole: Vec<u8> = unread.drain(..end).collect();
        for text in whole.split(|b| *b == b'\n') {
            if text.trim_ascii().is_empty() {
                continue;
            }
            let message: Message<'_> =
                serde_json::from_slice(text).map_err(|error| Error::Other {
                    call: CALL,
                    message: error.to_string(),
                })?;
            for line in read(&message, trace, &mut image) {
                // Ignore a missing reader of the lines; the image is still needed.
                drop(output.send(line).await);
            }
            if request.limits.pull == Pull::Never {
                client.refuse_pulls(trace).await?;
            }
            if let Some(step) = trace.remote() {
                return Err(verdict::remote(step));
            }
            if let Some(error) = message.error {
                if trace.failed().is_none() {
                    let line = format!("ERROR: {}\n", error.trim_end());
                    drop(output.send(Bytes::from(line)).await);
                }
                return Err(verdict::judge(&error, trace));
            }
        }
    }
    image.ok_or_else(|| {
        BuildError::Engine(Error::Unreachable {
            call: CALL,
            source: "the engine closed the connection".into(),
        })
    })
}

/// The lines of a message. What cannot be read is left out; the end of the build tells how it went.
fn read(message: &Message<'_>, trace: &mut Trace, image: &mut Option<String>) -> Vec<Bytes> {
    let Some(aux) = message.aux else {
        return Vec::new();
    };
    match message.id.as_str() {
        "moby.buildkit.trace" => {
            let text: Option<String> = serde_json::from_str(aux.get()).ok();
            let bytes = text.and_then(|text| STANDARD.decode(text).ok());
            let news = bytes.and_then(|bytes| StatusResponse::decode(&bytes[..]).ok());
            news.map(|news| trace.take(news)).unwrap_or_default()
        }
        "moby.image.id" => {
            let id: Option<ImageId> = serde_json::from_str(aux.get()).ok();
            *image = id.map(|image| image.id).or_else(|| image.take());
            Vec::new()
        }
        _ => Vec::new(),
    }
}

fn random_id() -> Result<String, BuildError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| BuildError::Bundle(Box::new(error)))?;
    Ok(hex::encode(bytes))
}

/// Runs `work` with time-out and cancellation. Dropping it closes the connection; then the engine ends the step and
/// removes its containers.
pub(in crate::docker) async fn bounded<T>(
    work: impl Future<Output = Result<T, BuildError>>,
    total: Duration,
    cancel: CancellationToken,
) -> Result<T, BuildError> {
    tokio::select! {
        // If the build ends and is cancelled at the same moment, its end wins.
        biased;
        done = work => done,
        () = cancel.cancelled() => Err(BuildError::Cancelled),
        () = tokio::time::sleep(total) => Err(BuildError::Deadline { after: total }),
    }
}
