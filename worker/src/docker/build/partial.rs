//! Keeps the layers of a failed build for the user's next one.
//!
//! Only layers of a user's own images serve as cache, so those of a failed build would be unusable. The last of them
//! becomes the user's image `…:partial`. The next build finds it as cache, and a clean-up finds it by its labels.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::debug;

use super::{BuildRequest, context};
use crate::docker::client::Client;
use crate::docker::error::BuildError;
use crate::docker::plan::LABEL_DIGEST;

/// The tag; it cannot be a digest.
const TAG: &str = "partial";

/// Hexadecimal digits of an id as the builder prints it.
const SHORT_ID_LEN: usize = 12;

/// Time-out of keeping a layer.
const DEADLINE: Duration = Duration::from_secs(10);

/// The last layer of a build so far; outlives the build.
#[derive(Debug, Clone, Default)]
pub(super) struct LastLayer(Arc<Mutex<Option<String>>>);

impl LastLayer {
    /// Reads a line of the builder's output, such as ` ---> 0123456789ab`.
    pub(super) fn read(&self, line: &[u8]) {
        let Some(id) = line.strip_prefix(b" ---> ").map(<[u8]>::trim_ascii_end) else {
            return;
        };
        if id.len() == SHORT_ID_LEN && id.iter().all(u8::is_ascii_hexdigit) {
            *self.0.lock() = Some(String::from_utf8_lossy(id).into_owned());
        }
    }
}

impl Client {
    /// Keeps the layers of a build that failed with `error`. Best effort.
    pub(super) async fn keep_layers(
        &self,
        request: &BuildRequest,
        last: &LastLayer,
        error: &BuildError,
    ) {
        let layer = match error {
            BuildError::Failed { .. }
            | BuildError::Cancelled
            | BuildError::Deadline { .. }
            | BuildError::Silent { .. } => last.0.lock().clone(),
            // No disk space, or no engine.
            BuildError::DiskFull { .. } | BuildError::Bundle(_) | BuildError::Engine(_) => None,
        };
        let Some(layer) = layer else { return };
        match tokio::time::timeout(DEADLINE, self.keep(request, &layer)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%layer, %error, "failed to keep the layers of a failed build"),
            Err(_) => debug!(%layer, "keeping the layers of a failed build took too long"),
        }
    }

    async fn keep(&self, request: &BuildRequest, layer: &str) -> Result<(), BuildError> {
        // A build step can print such a line, so do not touch images that have a name.
        let Some(image) = self
            .find_image(layer)
            .await?
            .filter(|image| image.tags.is_empty())
        else {
            return Ok(());
        };
        let mut partial = request.clone();
        let repository = request
            .tag
            .rsplit_once(':')
            .map_or(&*request.tag, |(name, _)| name);
        partial.tag = format!("{repository}:{TAG}");
        partial.labels.remove(LABEL_DIGEST);
        let before = self.find_image(&partial.tag).await?;
        let dockerfile = format!("FROM {}\n", image.id);
        let context = move |pieces| context::send_dockerfile(&dockerfile, pieces);
        let (output, _) = mpsc::channel(1);
        let kept = self
            .build_from(&partial, context, &output, &LastLayer::default())
            .await?;
        if let Some(before) = before.filter(|before| before.id != kept) {
            self.remove_image(&before.id).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_builders_line_names_a_layer() {
        let last = LastLayer::default();
        for line in [
            &b" ---> Running in 0123456789ab\n"[..],
            b" ---> Using cache\n",
            b"---> 0123456789ab\n",
            b" ---> 0123456789abc\n",
            b" ---> --force789ab\n",
        ] {
            last.read(line);
            assert_eq!(*last.0.lock(), None, "{}", line.escape_ascii());
        }
        last.read(b" ---> 0123456789ab\n");
        assert_eq!(last.0.lock().as_deref(), Some("0123456789ab"));
    }
}
