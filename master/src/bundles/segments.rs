//! The archive's segments, as objects of the bundle store. What they hold is left to [`crate::archive`].

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::path::PathPart;

use super::{Bundles, Error};

/// Where segments lie.
const FOLDER: &str = "archive";

/// Where a segment lies, below the bundle store's root.
pub(crate) fn segment_path(name: &str) -> String {
    format!("{FOLDER}/{name}")
}

impl Bundles {
    /// Stores a segment, named `<day>/<name>`.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Store`].
    pub async fn put_segment(&self, name: &str, body: Bytes) -> Result<(), Error> {
        self.write(&self.path(segment_path(name).split('/')), body)
            .await
    }

    /// The days that have segments, in order.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn list_segment_days(&self) -> Result<Vec<String>, Error> {
        let folder = self.path([FOLDER]);
        let listed = self.objects().list_with_delimiter(Some(&folder)).await;
        let listed = listed.map_err(|source| Error::of("list", &folder, source))?;
        let names = listed.common_prefixes.iter();
        let names = names.filter_map(|path| path.parts().next_back());
        let mut days: Vec<String> = names
            .map(|day: PathPart<'_>| day.as_ref().to_owned())
            .collect();
        days.sort_unstable();
        Ok(days)
    }

    /// The names of the day's segments, oldest first.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn list_segments(&self, day: &str) -> Result<Vec<String>, Error> {
        let folder = self.path([FOLDER, day]);
        let listed: Vec<_> = self
            .objects()
            .list(Some(&folder))
            .try_collect()
            .await
            .map_err(|source| Error::of("list", &folder, source))?;
        let names = listed.iter().filter_map(|meta| meta.location.filename());
        // A local store may hold a write that was cut off.
        let names = names.filter(|name| name.ends_with(".jsonl"));
        let mut names: Vec<String> = names.map(|name| format!("{day}/{name}")).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The content of a segment.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn get_segment(&self, name: &str) -> Result<Bytes, Error> {
        self.read(&self.path(segment_path(name).split('/'))).await
    }
}
