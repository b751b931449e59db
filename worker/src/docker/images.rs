//! Images: find, list, tag, pull, remove. `build` creates and loads them.

use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::models::{ImageInspect, ImageSummary};
use bollard::query_parameters::{
    CreateImageOptions, ListImagesOptions, RemoveImageOptions, TagImageOptions,
};
use dopq_common::resources::ByteSize;
use dopq_common::time::Timestamp;
use futures::StreamExt;
use hyper::Request;
use serde::Deserialize;

use super::client::{Client, translate};
use super::error::Error;
use super::lifecycle::label_filter;
use super::raw::Raw;
use super::registries;
use super::types::ImageInfo;

/// Removing tens of gigabytes takes the disk a while.
const PRUNE_DEADLINE: Duration = Duration::from_secs(600);

/// The engine's answer to a prune.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Pruned {
    #[serde(default)]
    space_reclaimed: u64,
}

impl Client {
    /// The image of this name or id, if the engine has it.
    ///
    /// # Errors
    /// Any but [`Error::ImageMissing`] and [`Error::NotFound`].
    pub async fn find_image(&self, name: &str) -> Result<Option<ImageInfo>, Error> {
        const CALL: &str = "inspect image";
        let docker = self.docker(CALL).await?;
        match self.call(CALL, docker.inspect_image(name)).await {
            Ok(found) => Ok(Some(inspected(found))),
            Err(Error::ImageMissing { .. } | Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Images with all these labels, ordered by id.
    ///
    /// # Errors
    /// Any.
    pub async fn list_images(&self, labels: &[(&str, &str)]) -> Result<Vec<ImageInfo>, Error> {
        const CALL: &str = "list images";
        let docker = self.docker(CALL).await?;
        let options = ListImagesOptions {
            filters: Some(label_filter(labels)),
            ..ListImagesOptions::default()
        };
        let found = self.call(CALL, docker.list_images(Some(options))).await?;
        let mut images: Vec<ImageInfo> = found.into_iter().map(listed).collect();
        images.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(images)
    }

    /// Adds a name to an image, `repository:tag`.
    ///
    /// # Errors
    /// [`Error::ImageMissing`]; and any other.
    pub async fn tag_image(&self, image: &str, name: &str) -> Result<(), Error> {
        const CALL: &str = "tag image";
        let docker = self.docker(CALL).await?;
        let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
        let options = TagImageOptions {
            repo: Some(repository.to_owned()),
            tag: Some(tag.to_owned()),
        };
        self.call(CALL, docker.tag_image(image, Some(options)))
            .await
    }

    /// Removes a name, and the image with its last name; an image that is gone is fine.
    ///
    /// # Errors
    /// [`Error::Conflict`] while a container uses it; and any other.
    pub async fn remove_image(&self, name: &str) -> Result<(), Error> {
        const CALL: &str = "remove image";
        let docker = self.docker(CALL).await?;
        let options = RemoveImageOptions {
            force: false,
            noprune: false,
            platforms: None,
        };
        match self
            .call(CALL, docker.remove_image(name, Some(options), None))
            .await
        {
            Ok(_) | Err(Error::ImageMissing { .. } | Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes the oldest unused parts of the build cache until it has no more than `keep`; returns the bytes freed.
    ///
    /// # Errors
    /// Any.
    pub async fn prune_builds(&self, keep: ByteSize) -> Result<u64, Error> {
        const CALL: &str = "prune builds";
        let version = self.docker(CALL).await?.client_version();
        let (major, minor, keep) = (version.major_version, version.minor_version, keep.0);
        // Engines know the limit by the second name since API 1.48, and by the first before. bollard has no field for it.
        let path = format!(
            "/v{major}.{minor}/build/prune?all=1&keep-storage={keep}&reserved-space={keep}"
        );
        let pruning = async {
            let mut answer = Raw::send(CALL, self.host(), Request::post(path)).await?;
            let mut text = Vec::new();
            while let Some(block) = answer.next().await? {
                text.extend_from_slice(&block);
            }
            serde_json::from_slice::<Pruned>(&text).map_err(|error| Error::Other {
                call: CALL,
                message: error.to_string(),
            })
        };
        match tokio::time::timeout(PRUNE_DEADLINE, pruning).await {
            Ok(pruned) => Ok(pruned?.space_reclaimed),
            Err(_) => Err(Error::Deadline {
                call: CALL,
                after: PRUNE_DEADLINE,
            }),
        }
    }

    /// Pulls an image from its registry.
    ///
    /// # Errors
    /// [`Error::ImageMissing`] if the registry lacks it or keeps it to others; [`Error::Deadline`] after `silent` without
    /// progress; and any other.
    pub async fn pull(&self, name: &str, silent: Duration) -> Result<(), Error> {
        const CALL: &str = "pull";
        let docker = self.docker(CALL).await?;
        let options = CreateImageOptions {
            from_image: Some(with_tag(name)),
            ..CreateImageOptions::default()
        };
        let login = self.registries().await.login(registries::host(name));
        let login = login.map(|login| DockerCredentials {
            username: Some(login.username),
            password: Some(login.password),
            identitytoken: Some(login.identity_token).filter(|token| !token.is_empty()),
            ..DockerCredentials::default()
        });
        let mut progress = docker.create_image(Some(options), None, login);
        loop {
            let Ok(next) = tokio::time::timeout(silent, progress.next()).await else {
                return Err(Error::Deadline {
                    call: CALL,
                    after: silent,
                });
            };
            match next {
                None => return Ok(()),
                Some(Ok(step)) => {
                    if let Some(message) = step.error_detail.and_then(|detail| detail.message) {
                        return Err(unpulled(message));
                    }
                }
                Some(Err(error)) => match translate(CALL, error) {
                    Error::Other { message, .. } | Error::NotFound { message } => {
                        return Err(unpulled(message));
                    }
                    error => return Err(error),
                },
            }
        }
    }
}

/// Only a registry's answer means that the image is missing; one that cannot be reached has not answered.
fn unpulled(message: String) -> Error {
    const REFUSALS: [&str; 7] = [
        "manifest unknown",
        "not found",
        "denied",
        "unauthorized",
        "no basic auth credentials",
        "name unknown",
        "invalid reference format",
    ];
    match super::client::classify("pull", 500, message) {
        Error::Other { message, .. } if REFUSALS.iter().any(|words| message.contains(words)) => {
            Error::ImageMissing { message }
        }
        error => error,
    }
}

/// Without a tag the engine would pull all tags.
fn with_tag(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains([':', '@']) {
        name.to_owned()
    } else {
        format!("{name}:latest")
    }
}

/// A name without what the engine adds to it or leaves away: registry, `library/`, the tag `latest`, a tag beside a
/// digest. `None` for an id, of any length.
pub(crate) fn plain_name(name: &str) -> Option<String> {
    let name = ["docker.io/", "index.docker.io/"]
        .iter()
        .find_map(|registry| name.strip_prefix(registry))
        .unwrap_or(name);
    let name = name.strip_prefix("library/").unwrap_or(name);
    if name.starts_with("sha256:") || name.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let (name, digest) = name
        .split_once('@')
        .map_or((name, None), |(n, d)| (n, Some(d)));
    let folder = name.rfind('/').map_or(0, |at| at + 1);
    let (folder, last) = name.split_at(folder);
    let (last, tag) = last.split_once(':').unwrap_or((last, "latest"));
    Some(match digest {
        Some(digest) => format!("{folder}{last}@{digest}"),
        None => format!("{folder}{last}:{tag}"),
    })
}

fn seconds(since_1970: i64) -> Timestamp {
    let seconds = u64::try_from(since_1970).unwrap_or_default();
    Timestamp::from_millis(seconds.saturating_mul(1000))
}

fn inspected(found: ImageInspect) -> ImageInfo {
    let config = found.config.unwrap_or_default();
    ImageInfo {
        id: found.id.unwrap_or_default(),
        tags: found
            .repo_tags
            .into_iter()
            .chain(found.repo_digests)
            .flatten()
            .collect(),
        labels: config.labels.unwrap_or_default().into_iter().collect(),
        size_bytes: found
            .size
            .and_then(|size| u64::try_from(size).ok())
            .unwrap_or_default(),
        created_at: found
            .created
            .map(Timestamp::from_datetime)
            .unwrap_or_default(),
        env: config.env.unwrap_or_default(),
        working_dir: config.working_dir.unwrap_or_default(),
    }
}

fn listed(found: ImageSummary) -> ImageInfo {
    ImageInfo {
        id: found.id,
        tags: found
            .repo_tags
            .into_iter()
            .filter(|tag| tag != "<none>:<none>")
            .collect(),
        labels: found.labels.into_iter().collect(),
        size_bytes: u64::try_from(found.size).unwrap_or_default(),
        created_at: seconds(found.created),
        env: Vec::new(),
        working_dir: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_the_engine_means_them() {
        for (name, plain) in [
            ("python", Some("python:latest")),
            ("docker.io/library/python:3.12", Some("python:3.12")),
            ("index.docker.io/a/b", Some("a/b:latest")),
            ("h:5000/a/b:c", Some("h:5000/a/b:c")),
            ("h:5000/a", Some("h:5000/a:latest")),
            ("a:b@sha256:12", Some("a@sha256:12")),
            ("sha256:12", None),
            ("52", None),
            ("0633ae20", None),
            ("library/beef", None),
            ("beef:1", Some("beef:1")),
        ] {
            assert_eq!(plain_name(name).as_deref(), plain, "{name}");
        }
    }
}
