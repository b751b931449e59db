//! Lists and removes what the bundle store holds, for [`crate::retention`], which decides.

use dopq_common::id::Digest;
use dopq_common::time::Timestamp;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use super::in_use::{Removal, Using};
use super::{Bundles, Error};

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

impl Bundles {
    /// Everything in a folder of the store, in pages. The next page is asked for when it is polled.
    pub(crate) fn pages(&self, folder: &str) -> BoxStream<'static, Result<Vec<Listed>, Error>> {
        let path = self.path(folder.split('/'));
        let prefix = self.path([]);
        let listed = self.objects().list(Some(&path));
        let named = listed.map_ok(move |meta| {
            let name = meta.location.as_ref();
            let name = name.strip_prefix(prefix.as_ref()).unwrap_or(name);
            Listed {
                name: name.trim_start_matches('/').to_owned(),
                size_bytes: meta.size,
                modified: Timestamp::from_datetime(meta.last_modified),
            }
        });
        named
            .try_chunks(PAGE)
            .map_err(move |error| Error::of("list", &path, error.1))
            .boxed()
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

    /// Removes objects of these names. Those that are gone are fine.
    ///
    /// # Errors
    /// [`Error::Store`] of the first that cannot be removed; others may be.
    pub(crate) async fn remove(&self, names: Vec<String>) -> Result<(), Error> {
        let paths = names.iter().map(|name| Ok(self.path(name.split('/'))));
        let paths: Vec<object_store::Result<Path>> = paths.collect();
        let mut removed = self.objects().delete_stream(stream::iter(paths).boxed());
        let mut failed = None;
        while let Some(result) = removed.next().await {
            match result {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => {
                    failed.get_or_insert_with(|| {
                        Error::of("remove objects of", &self.path([]), source)
                    });
                }
            }
        }
        failed.map_or(Ok(()), Err)
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
