//! Loads a bundle's `image.tar`, streamed from the zip, and sets DoPQ's name and labels.

use bollard::query_parameters::ImportImageOptions;
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::BuildRequest;
use super::context;
use super::image_tar;
use super::partial::LastLayer;
use super::progress::Progress;
use super::run::{Sending, bounded, listen};
use crate::docker::client::Client;
use crate::docker::error::BuildError;

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
        let loading = async {
            let loaded = self.import(request, &output).await?;
            // The archive has its own labels. A build without steps adds DoPQ's.
            let dockerfile = format!("FROM {loaded}\n");
            let context = move |pieces| context::send_dockerfile(&dockerfile, pieces);
            self.build_from(request, context, &output, &LastLayer::default())
                .await
        };
        let image = bounded(loading, request.limits.total, cancel).await?;
        self.judge_size(&image, request).await?;
        Ok(image)
    }

    /// Sends the archive to the engine without its names, and returns the image's id.
    async fn import(
        &self,
        request: &BuildRequest,
        output: &mpsc::Sender<Bytes>,
    ) -> Result<String, BuildError> {
        let docker = self.docker("load").await?;
        let (path, limits) = (request.bundle.clone(), request.limits.bundle.clone());
        let (sending, body) = Sending::start(move |mut pieces| {
            context::with_file(&path, &limits, "image.tar", |_, content| {
                image_tar::copy(content, &mut pieces)
            })?;
            Ok(pieces.finish()?)
        });
        let options = ImportImageOptions {
            quiet: true,
            platform: None,
        };
        let messages = docker
            .import_image(options, bollard::body_try_stream(body), None)
            .boxed();
        listen(
            messages,
            Progress::of_load(),
            sending,
            output,
            request.limits.silent,
        )
        .await
    }
}
