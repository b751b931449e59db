//! Loads a bundle's `image.tar`, streamed from the zip, and sets DoPQ's name and labels.

use bollard::errors::Error as ApiError;
use bollard::query_parameters::ImportImageOptions;
use bytes::Bytes;
use dopq_common::bundle::ignore::Ignore;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::context::{Bundle, ContextError};
use super::pieces::Sending;
use super::solve::{bounded, dockerfile_alone};
use super::transfer::Files;
use super::tree::Tree;
use super::{BuildRequest, Pull, image_tar, verdict};
use crate::docker::client::{Client, translate};
use crate::docker::error::{BuildError, Error};
use crate::docker::names::loaded_name;

const CALL: &str = "load";

/// The prefix of a loaded image's id in the engine's output.
const LOADED: &str = "Loaded image ID: ";

impl Client {
    /// Loads the bundle's `image.tar`; see [`Engine::load`](crate::docker::Engine::load).
    ///
    /// # Errors
    /// [`BuildError`].
    pub async fn load(
        &self,
        request: &BuildRequest,
        output: mpsc::Sender<Bytes>,
        cancel: CancellationToken,
    ) -> Result<String, BuildError> {
        let base = loaded_name(&request.tag);
        let loading = async {
            let loaded = self.import(request, &output).await?;
            self.tag_image(&loaded, &base).await?;
            self.label(request, &base, &output).await
        };
        let image = bounded(loading, request.limits.total, cancel).await;
        // The name was needed for the build alone.
        self.remove_quietly(&base).await;
        let image = image?;
        self.judge_size(&image, request).await?;
        Ok(image)
    }

    /// Builds the image with DoPQ's labels from the loaded one, which has its own labels. The build has no steps.
    async fn label(
        &self,
        request: &BuildRequest,
        base: &str,
        output: &mpsc::Sender<Bytes>,
    ) -> Result<String, BuildError> {
        // Its instructions would run in this build.
        if self.has_triggers(base).await? {
            let detail =
                "image.tar: its image has ONBUILD instructions; export it without".to_owned();
            return Err(BuildError::Failed { step: None, detail });
        }
        let (path, limits) = (request.bundle.clone(), request.limits.bundle.clone());
        let dockerfile = dockerfile_alone(format!("FROM {base}\n"));
        let opened = tokio::task::spawn_blocking(move || Bundle::open(&path, &limits)).await;
        let files = Files {
            bundle: opened.map_err(|error| BuildError::Bundle(Box::new(error)))??,
            dockerfile,
            context: Tree::default(),
            ignore: Ignore::default(),
            failure: Mutex::new(None),
            sent_bytes: Mutex::new(0),
        };
        let mut request = request.clone();
        // The base is an image that no registry has.
        request.limits.pull = Pull::Missing;
        Box::pin(self.solve(&request, files, output)).await
    }

    async fn has_triggers(&self, image: &str) -> Result<bool, Error> {
        const CALL: &str = "inspect image";
        let docker = self.docker(CALL).await?;
        let found = self.call(CALL, docker.inspect_image(image)).await?;
        let triggers = found.config.and_then(|config| config.on_build);
        Ok(triggers.is_some_and(|triggers| !triggers.is_empty()))
    }

    /// Sends the archive to the engine without its names, and returns the image's id.
    async fn import(
        &self,
        request: &BuildRequest,
        output: &mpsc::Sender<Bytes>,
    ) -> Result<String, BuildError> {
        let docker = self.docker(CALL).await?;
        let (path, limits) = (request.bundle.clone(), request.limits.bundle.clone());
        let (sending, body) = Sending::start(move |pieces| {
            let bundle = Bundle::open(&path, &limits)?;
            bundle.with_file("image.tar", |content| image_tar::copy(content, pieces))
        });
        let options = ImportImageOptions {
            quiet: true,
            platform: None,
        };
        let mut messages = docker
            .import_image(options, bollard::body_try_stream(body), None)
            .boxed();
        let silent = request.limits.silent;
        let mut image = None;
        let failure = loop {
            match tokio::time::timeout(silent, messages.next()).await {
                Ok(Some(Ok(info))) => {
                    let text = info.stream.unwrap_or_default();
                    for line in text.lines() {
                        let id = line.strip_prefix(LOADED).map(str::to_owned);
                        image = id.or(image);
                        // Ignore a missing reader of the lines; the image is still needed.
                        drop(output.send(Bytes::from(format!("{line}\n"))).await);
                    }
                }
                Ok(Some(Err(error))) => break Some(error),
                Ok(None) => break None,
                // The engine prints nothing before it has the whole archive.
                Err(_) if !sending.is_over() => {}
                Err(_) => return Err(BuildError::Silent { after: silent }),
            }
        };
        drop(messages);
        // A failed thread explains the engine's error.
        match sending.result().await {
            Ok(()) | Err(ContextError::Unwanted) => {}
            Err(error) => return Err(error.into()),
        }
        match (failure, image) {
            (None, Some(image)) => Ok(image),
            (None, None) => Err(BuildError::Engine(Error::Unreachable {
                call: CALL,
                source: "the engine closed the connection".into(),
            })),
            (
                Some(
                    ApiError::DockerStreamError { error: message }
                    | ApiError::DockerResponseServerError { message, .. },
                ),
                _,
            ) => Err(verdict::judge_archive(&message)),
            // Everything else is a fault of the connection.
            (Some(error), _) => Err(translate(CALL, error).into()),
        }
    }
}
