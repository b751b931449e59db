//! Lists and removes what the bundle store holds, for [`crate::retention`], which decides.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use dopq_common::id::Digest;
use dopq_common::time::Timestamp;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use super::in_use::{Removal, Using};
use super::{Bundles, Error, local};

/// Objects of one page: as many as a bucket lists and removes in one call.
const PAGE: usize = 1000;

/// An object as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its name below the store's root.
    pub(crate) name: String,
    /// Its size.
    pub(crate) size_bytes: u64,
    /// When it was written.
    pub(crate) modified: Timestamp,
}

/// What came of a removal.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    /// The objects that were removed.
    pub(crate) names: BTreeSet<String>,
    /// Why others stay, if they do: the error of the first.
    pub(crate) error: Option<Error>,
}

/// The name of an object below the store's root.
fn below(prefix: &Path, path: &Path) -> String {
    let name = path.as_ref();
    let name = name.strip_prefix(prefix.as_ref()).unwrap_or(name);
    name.trim_start_matches('/').to_owned()
}

impl Bundles {
    /// Everything in a folder of the store, in pages. The next page is asked for when it is polled.
    pub(crate) fn pages(&self, folder: &str) -> BoxStream<'static, Result<Vec<Listed>, Error>> {
        let path = self.path(folder.split('/'));
        let prefix = self.path([]);
        let listed = self.objects().list(Some(&path));
        let named = listed.map_ok(move |meta| Listed {
            name: below(&prefix, &meta.location),
            size_bytes: meta.size,
            modified: Timestamp::from_datetime(meta.last_modified),
        });
        named
            .try_chunks(PAGE)
            .map_err(move |error| Error::of("list", &path, error.1))
            .boxed()
    }

    /// What writes left that were cut off, or go on. A bucket lists none of it.
    ///
    /// # Errors
    /// [`Error::Folder`].
    pub(crate) async fn unfinished(&self) -> Result<Vec<Listed>, Error> {
        let Some(folder) = self.folder() else {
            return Ok(Vec::new());
        };
        let found = local::unfinished(folder.to_owned()).await;
        let found = found.map_err(|source| Error::local(folder, source))?;
        let listed = found.into_iter().filter_map(|(name, metadata)| {
            let modified = DateTime::<Utc>::from(metadata.modified().ok()?);
            Some(Listed {
                name,
                size_bytes: metadata.len(),
                modified: Timestamp::from_datetime(modified),
            })
        });
        Ok(listed.collect())
    }

    /// Removes what is left of a write.
    ///
    /// # Errors
    /// [`Error::Folder`].
    pub(crate) async fn remove_unfinished(&self, listed: &Listed) -> Result<(), Error> {
        let Some(folder) = self.folder() else {
            return Ok(());
        };
        let path = folder.join(&listed.name);
        let removed = local::remove(path.clone()).await;
        removed.map_err(|source| Error::local(&path, source))
    }

    /// A bundle's zip, as it is listed.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) async fn zip(&self, digest: &Digest) -> Result<Option<Listed>, Error> {
        let path = self.zip_path(digest);
        match self.objects().head(&path).await {
            Ok(meta) => Ok(Some(Listed {
                name: format!("bundles/{digest}.zip"),
                size_bytes: meta.size,
                modified: Timestamp::from_datetime(meta.last_modified),
            })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(Error::of("ask for", &path, source)),
        }
    }

    /// Removes objects of these names, as many as can be. Those that are gone already are fine.
    pub(crate) async fn remove(&self, names: Vec<String>) -> Removed {
        let paths = names.iter().map(|name| Ok(self.path(name.split('/'))));
        let paths: Vec<object_store::Result<Path>> = paths.collect();
        let prefix = self.path([]);
        let mut results = self.objects().delete_stream(stream::iter(paths).boxed());
        let mut removed = Removed::default();
        while let Some(result) = results.next().await {
            match result {
                Ok(path) => drop(removed.names.insert(below(&prefix, &path))),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => {
                    let error = || Error::of("remove objects of", &prefix, source);
                    removed.error.get_or_insert_with(error);
                }
            }
        }
        removed
    }

    /// Keeps a bundle from being removed by this process while the answer lives. It may be gone already.
    pub(crate) async fn using(&self, digest: Digest) -> Using {
        self.in_use.using(digest).await
    }

    /// Keeps a bundle from being used by this process while the answer lives; `None` if it is in use.
    pub(crate) fn removing(&self, digest: Digest) -> Option<Removal> {
        self.in_use.removing(digest)
    }
}
