//! A bundle during its upload: a private file without a name.
//!
//! The file is never opened by path again, so nobody can replace it between digest, validation and store.
//! After a crash the kernel frees its disk space.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::path::Path;

use bytes::Bytes;
use dopq_common::bundle::Fault;
use dopq_common::id::Digest;
use futures::Stream;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use tokio_util::io::ReaderStream;

use super::IntakeError;

/// Size of reads and writes.
const BUFFER_BYTES: usize = 1 << 20;

/// A bundle's bytes, private to this process, digested while they are written.
#[derive(Debug)]
pub struct Spooled {
    file: tokio::fs::File,
    hasher: Box<blake3::Hasher>,
    size_bytes: u64,
    limit_bytes: u64,
}

impl Spooled {
    /// An empty spool file in `folder` for at most `limit_bytes`.
    pub(super) async fn create(folder: &Path, limit_bytes: u64) -> io::Result<Self> {
        let folder = folder.to_owned();
        let file = tokio::task::spawn_blocking(move || tempfile::tempfile_in(folder)).await??;
        Ok(Self {
            file: tokio::fs::File::from_std(file),
            hasher: Box::default(),
            size_bytes: 0,
            limit_bytes,
        })
    }

    /// What a file contains that nobody else has. Blocks.
    pub(super) fn of(mut file: File, limit_bytes: u64) -> io::Result<Self> {
        file.rewind()?;
        let mut hasher = Box::new(blake3::Hasher::new());
        hasher.update_reader(&file)?;
        let size_bytes = file.metadata()?.len();
        Ok(Self {
            file: tokio::fs::File::from_std(file),
            hasher,
            size_bytes,
            limit_bytes,
        })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`IntakeError::Invalid`] beyond the limit, [`IntakeError::Full`], [`IntakeError::Spool`].
    pub async fn write(&mut self, bytes: &Bytes) -> Result<(), IntakeError> {
        let size = self.size_bytes.saturating_add(bytes.len() as u64);
        if size > self.limit_bytes {
            let message = format!("it exceeds {} bytes", self.limit_bytes);
            return Err(IntakeError::Invalid(vec![Fault::new(
                "too_large",
                "",
                message,
            )]));
        }
        self.file.write_all(bytes).await.map_err(IntakeError::of)?;
        self.hasher.update(bytes);
        self.size_bytes = size;
        Ok(())
    }

    /// The number of bytes written.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The digest of the bytes written.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(*self.hasher.finalize().as_bytes())
    }

    /// A second handle on the file, at its start, after flushing.
    pub(super) async fn reader(&mut self) -> io::Result<File> {
        self.file.flush().await?;
        self.file.seek(SeekFrom::Start(0)).await?;
        Ok(self.file.try_clone().await?.into_std().await)
    }

    /// Its bytes from the beginning.
    pub(super) async fn content(
        &mut self,
    ) -> io::Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>> {
        let file = tokio::fs::File::from_std(self.reader().await?);
        Ok(ReaderStream::with_capacity(file, BUFFER_BYTES))
    }
}
