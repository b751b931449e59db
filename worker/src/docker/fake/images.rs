//! The pretended images: built, loaded and pulled by script.

use std::time::Duration;

use bytes::Bytes;
use dopq_common::resources::ByteSize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Fake;
use crate::docker::build::{BuildRequest, bounded};
use crate::docker::error::{BuildError, Error};
use crate::docker::plan::LABEL_DIGEST;
use crate::docker::types::ImageInfo;

impl Fake {
    /// See [`Engine::build`](crate::docker::Engine::build).
    ///
    /// # Errors
    /// As the script says, or as there.
    pub async fn build(
        &self,
        request: &BuildRequest,
        output: mpsc::Sender<Bytes>,
        cancel: CancellationToken,
    ) -> Result<String, BuildError> {
        let build = self
            .call("build", &request.tag, |state| {
                let digest = request.labels.get(LABEL_DIGEST);
                let script = digest.and_then(|digest| state.builds.get(digest));
                Ok(script.cloned().unwrap_or_default())
            })
            .await?;
        let building = async {
            for line in build.lines {
                // A reader that is gone does not want the lines; the image is wanted all the same.
                drop(output.send(line).await);
            }
            if build.takes > request.limits.silent {
                tokio::time::sleep(request.limits.silent).await;
                return Err(BuildError::Silent {
                    after: request.limits.silent,
                });
            }
            tokio::time::sleep(build.takes).await;
            match build.failure {
                None => Ok(self.put_image(&request.tag, request.labels.clone())?),
                Some((step, detail)) => Err(BuildError::Failed {
                    step: Some(step),
                    detail,
                }),
            }
        };
        bounded(building, request.limits.total, cancel).await
    }

    /// See [`Engine::load`](crate::docker::Engine::load).
    ///
    /// # Errors
    /// As the script says, or as there.
    pub async fn load(
        &self,
        request: &BuildRequest,
        output: mpsc::Sender<Bytes>,
        cancel: CancellationToken,
    ) -> Result<String, BuildError> {
        self.build(request, output, cancel).await
    }

    /// See [`Engine::pull`](crate::docker::Engine::pull). Each pull gives a new image.
    ///
    /// # Errors
    /// As there.
    pub async fn pull(&self, name: &str, _silent: Duration) -> Result<(), Error> {
        let offered = self.call("pull", name, |state| match state.registry.contains(name) {
            true => Ok(()),
            false => Err(Error::ImageMissing {
                message: format!("{name} is in no registry"),
            }),
        });
        offered.await?;
        self.put_image(name, [].into()).map(drop)
    }

    /// See [`Engine::find_image`](crate::docker::Engine::find_image).
    ///
    /// # Errors
    /// As there.
    pub async fn find_image(&self, name: &str) -> Result<Option<ImageInfo>, Error> {
        self.call("find image", name, |state| {
            Ok(state.find_image(name).cloned())
        })
        .await
    }

    /// See [`Engine::list_images`](crate::docker::Engine::list_images).
    ///
    /// # Errors
    /// As there.
    pub async fn list_images(&self, labels: &[(&str, &str)]) -> Result<Vec<ImageInfo>, Error> {
        self.call("list images", "", |state| {
            let bears = |image: &&ImageInfo| {
                labels
                    .iter()
                    .all(|(name, value)| image.labels.get(*name).is_some_and(|own| own == value))
            };
            let mut found: Vec<ImageInfo> = state.images.iter().filter(bears).cloned().collect();
            found.sort_by(|a, b| a.id.cmp(&b.id));
            Ok(found)
        })
        .await
    }

    /// See [`Engine::remove_image`](crate::docker::Engine::remove_image).
    ///
    /// # Errors
    /// As there.
    pub async fn remove_image(&self, name: &str) -> Result<(), Error> {
        self.call("remove image", name, |state| {
            let Some(image) = state.find_image(name).cloned() else {
                return Ok(());
            };
            let uses = |plan_image: &str| {
                plan_image == image.id || image.tags.iter().any(|tag| tag == plan_image)
            };
            if state
                .containers
                .values()
                .any(|record| uses(&record.plan.image))
            {
                return Err(Error::Conflict {
                    message: format!("image {name} is used by a container"),
                });
            }
            if name == image.id && image.tags.len() > 1 {
                return Err(Error::Conflict {
                    message: format!("image {name} has several names"),
                });
            }
            for kept in &mut state.images {
                kept.tags
                    .retain(|tag| tag != name && (kept.id != image.id || name != image.id));
            }
            state.drop_nameless(&image.id);
            Ok(())
        })
        .await
    }

    /// See [`Engine::prune_builds`](crate::docker::Engine::prune_builds). It has no build cache.
    ///
    /// # Errors
    /// As there.
    pub async fn prune_builds(&self, keep: ByteSize) -> Result<u64, Error> {
        self.call("prune builds", &keep.to_string(), |_| Ok(0))
            .await
    }
}
