//! Runs one build: sends the context, reads the lines, watches time-outs and cancellation.

use std::io;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error as ApiError;
use bollard::models::BuildInfo;
use bollard::query_parameters::{BuildImageOptions, BuilderVersion, ListImagesOptions};
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::blame;
use super::context::{self, ContextError, PIECES, Pieces};
use super::partial::LastLayer;
use super::progress::Progress;
use super::{BuildLimits, BuildRequest};
use crate::docker::client::Client;
use crate::docker::error::{BuildError, Error};

const CALL: &str = "build";

/// The scheduler's period for the CPU limit, in microseconds; the kernel's usual one.
const CPU_PERIOD_US: u64 = 100_000;

/// The most tries of a build whose layers are removed meanwhile.
const TRIES: u32 = 3;

/// The log line before another try.
const AGAIN: &str = "The engine removed layers during the build (docker prune?); building again\n";

/// The engine's messages.
pub(super) type Messages<'a> = BoxStream<'a, Result<BuildInfo, ApiError>>;

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
        let last = LastLayer::default();
        let building = async {
            let mut tries = 0;
            loop {
                tries += 1;
                let (path, limits) = (request.bundle.clone(), request.limits.bundle.clone());
                let context = move |pieces| context::send(&path, &limits, pieces);
                match self.build_from(request, context, &output, &last).await {
                    Err(error) if tries < TRIES && blame::is_taken_away(&error) => {
                        // Ignore a missing reader of the lines; the image is still needed.
                        drop(output.send(Bytes::from_static(AGAIN.as_bytes())).await);
                    }
                    done => return done,
                }
            }
        };
        let image = match bounded(building, request.limits.total, cancel).await {
            Ok(image) => image,
            Err(error) => {
                self.keep_layers(request, &last, &error).await;
                return Err(error);
            }
        };
        self.judge_size(&image, request).await?;
        Ok(image)
    }

    /// Builds from the given context.
    pub(super) async fn build_from(
        &self,
        request: &BuildRequest,
        context: impl FnOnce(Pieces) -> Result<(), ContextError> + Send + 'static,
        output: &mpsc::Sender<Bytes>,
        last: &LastLayer,
    ) -> Result<String, BuildError> {
        let docker = with_limits(self.docker(CALL).await?, &request.limits);
        let options = options(request, self.own_images(&request.tag).await?);
        let (sending, body) = Sending::start(context);
        let body = bollard::body_try_stream(body);
        let messages = docker.build_image(options, None, Some(body)).boxed();
        listen(
            messages,
            Progress::of_build(last.clone()),
            sending,
            output,
            request.limits.silent,
        )
        .await
    }

    /// The user's own images. Only their layers may serve as cache, so that no build can inject layers into another
    /// user's. The added name never exists; it keeps the list from being empty, which would allow all layers of the
    /// machine.
    async fn own_images(&self, tag: &str) -> Result<Vec<String>, Error> {
        const CALL: &str = "list images";
        let repository = tag
            .rsplit_once(':')
            .map_or(tag, |(repository, _)| repository);
        let docker = self.docker(CALL).await?;
        let options = ListImagesOptions {
            filters: Some([("reference".to_owned(), vec![repository.to_owned()])].into()),
            ..ListImagesOptions::default()
        };
        let found = self.call(CALL, docker.list_images(Some(options))).await?;
        let mut images: Vec<String> = found.into_iter().map(|image| image.id).collect();
        images.sort();
        images.push(format!("{repository}:no-such-image"));
        Ok(images)
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
            self.remove_image(&request.tag).await?;
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

/// The thread that reads the bundle and writes the request's body.
pub(super) struct Sending {
    task: tokio::task::JoinHandle<Result<(), ContextError>>,
}

impl Sending {
    /// Starts the thread and returns the body. If the thread fails, the body and the request fail.
    pub(super) fn start(
        send: impl FnOnce(Pieces) -> Result<(), ContextError> + Send + 'static,
    ) -> (Self, ReceiverStream<io::Result<Bytes>>) {
        let (pieces, body) = mpsc::channel(PIECES);
        let task = tokio::task::spawn_blocking(move || {
            let sent = send(Pieces::new(pieces.clone()));
            if sent.is_err() {
                // The engine must not accept a truncated archive. A missing receiver already knows.
                drop(pieces.blocking_send(Err(io::ErrorKind::InvalidData.into())));
            }
            sent
        });
        (Self { task }, ReceiverStream::new(body))
    }

    /// Whether the thread has ended.
    fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Its result.
    async fn result(self) -> Result<(), ContextError> {
        match self.task.await {
            Ok(sent) => sent,
            Err(error) => Err(ContextError::Io(Box::new(error))),
        }
    }
}

/// Reads all messages of the engine, forwards the lines, and returns the image's id.
pub(super) async fn listen(
    mut messages: Messages<'_>,
    mut progress: Progress,
    sending: Sending,
    output: &mpsc::Sender<Bytes>,
    silent: Duration,
) -> Result<String, BuildError> {
    let failure = loop {
        let message = match tokio::time::timeout(silent, messages.next()).await {
            Ok(message) => message,
            // The engine prints nothing before it has the whole context.
            Err(_) if !sending.is_over() => continue,
            Err(_) => return Err(BuildError::Silent { after: silent }),
        };
        let (lines, end) = match message {
            Some(Ok(info)) => (progress.take(info), None),
            Some(Err(error)) => (progress.fail(&error), Some(Some(error))),
            None => (progress.rest(), Some(None)),
        };
        for line in lines {
            // Ignore a missing reader of the lines; the image is still needed.
            drop(output.send(line).await);
        }
        if let Some(end) = end {
            break end;
        }
    };
    drop(messages);
    // A failed context explains the engine's error.
    match sending.result().await {
        Ok(()) | Err(ContextError::Unwanted) => {}
        Err(error) => return Err(error.into()),
    }
    match (failure, progress.image()) {
        (Some(error), _) => Err(blame::judge(CALL, error, &progress)),
        (None, Some(image)) => Ok(image.to_owned()),
        (None, None) => Err(BuildError::Engine(Error::Unreachable {
            call: CALL,
            source: "the engine closed the connection".into(),
        })),
    }
}

fn options(request: &BuildRequest, cache_from: Vec<String>) -> BuildImageOptions {
    BuildImageOptions {
        dockerfile: "Dockerfile".to_owned(),
        t: Some(request.tag.clone()),
        rm: true,
        forcerm: true,
        cachefrom: Some(cache_from),
        labels: Some(request.labels.clone().into_iter().collect()),
        networkmode: Some(request.limits.network.clone()),
        version: BuilderVersion::BuilderV1,
        ..BuildImageOptions::default()
    }
}

/// Adds the limits to the request by hand, because bollard's fields are limited to 2 GiB.
fn with_limits(docker: &Docker, limits: &BuildLimits) -> Docker {
    let memory = limits.memory.0;
    let quota = limits.cpu.0.saturating_mul(CPU_PERIOD_US / 1000);
    let extra =
        format!("&memory={memory}&memswap={memory}&cpuperiod={CPU_PERIOD_US}&cpuquota={quota}");
    docker.clone().with_request_modifier(move |mut request| {
        let mut parts = request.uri().clone().into_parts();
        let path = parts
            .path_and_query
            .as_ref()
            .map(|path| format!("{path}{extra}"));
        parts.path_and_query = path.and_then(|path| path.parse().ok());
        if let Ok(uri) = parts.try_into() {
            *request.uri_mut() = uri;
        }
        request
    })
}
