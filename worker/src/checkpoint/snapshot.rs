//! Takes a checkpoint of a folder whose container may run: nothing holds the container up.
//!
//! A checkpoint is one moment of the folder where that is possible: if anything in it changed while it was read, it is
//! read again. After a few tries the files need not be of one moment; each of them is still whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dopq_common::checkpoint::{
    CHUNK_MAX_BYTES, CHUNK_MIN_BYTES, CHUNK_USUAL_BYTES, Chunk, Entry, Kind,
};
use dopq_common::id::Digest;
use dopq_common::resources::ByteSize;
use fastcdc::v2020::StreamCDC;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::error::{Error, blocking};
use super::paths;
use super::scan::{Seen, SeenKind, Stamp, scan};

/// How often a folder is read that changes meanwhile.
const TRIES: u32 = 4;
/// How often a file is read that changes meanwhile.
const FILE_TRIES: u32 = 5;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// The chunks of files that were read before, so that a file is read again only when it changed.
pub(super) type Index = BTreeMap<String, (Stamp, Vec<Chunk>)>;

/// Where a chunk lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) path: String,
    pub(super) offset: u64,
    pub(super) len: u32,
}

/// Reads the folder.
pub(super) async fn take(
    folder: &Path,
    index: &Arc<Mutex<Index>>,
    max: ByteSize,
    stop: &CancellationToken,
) -> Result<Vec<Entry>, Error> {
    let mut tries = 1;
    loop {
        let (folder, index, stop) = (folder.to_owned(), Arc::clone(index), stop.clone());
        let once = move || once(&folder, &index, max, &stop);
        let (entries, holds_still) = blocking(once).await?;
        if holds_still || tries == TRIES {
            return Ok(entries);
        }
        tries += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Reads the folder once, and tells whether it was the same before and after. Blocks.
fn once(
    folder: &Path,
    index: &Mutex<Index>,
    max: ByteSize,
    stop: &CancellationToken,
) -> Result<(Vec<Entry>, bool), Error> {
    let before = scan(folder, stop)?;
    let is_fresh = before.iter().any(|seen| seen.stamp.is_fresh());
    let is_file = |seen: &&Seen| seen.kind == SeenKind::File;
    let sizes = before.iter().filter(is_file).map(|seen| seen.stamp.bytes);
    let bytes = ByteSize(sizes.fold(0, u64::saturating_add));
    if bytes > max {
        return Err(Error::TooLarge { bytes, max });
    }
    let root = paths::root(folder).map_err(Error::reading)?;
    let mut read = Reading {
        root: &root,
        known: index.lock().clone(),
        index: Index::new(),
        stop,
    };
    let mut entries = Vec::with_capacity(before.len());
    let mut all = before.iter();
    let done = all.try_for_each(|seen| {
        entries.extend(read.entry(seen)?);
        Ok(())
    });
    match done {
        Ok(()) => {
            *index.lock() = read.index;
            Ok((entries, !is_fresh && scan(folder, stop)? == before))
        }
        // What is there and was not looked at again is still known.
        Err(error) => {
            let mut known = index.lock();
            let is_there = |path: &String| before.binary_search_by(|seen| seen.path.cmp(path));
            known.retain(|path, _| is_there(path).is_ok());
            known.extend(read.index);
            Err(error)
        }
    }
}

/// A folder that is being read.
struct Reading<'a> {
    root: &'a File,
    known: Index,
    index: Index,
    stop: &'a CancellationToken,
}

impl Reading<'_> {
    /// The entry of what was seen; `None` if it is gone.
    fn entry(&mut self, seen: &Seen) -> Result<Option<Entry>, Error> {
        let mut mtime_ns = seen.stamp.mtime_ns;
        let kind = match &seen.kind {
            SeenKind::Folder => Kind::Folder,
            SeenKind::Link(target) => Kind::Link(target.clone()),
            SeenKind::File => match self.file(seen)? {
                Some((stamp, chunks)) => {
                    mtime_ns = stamp.mtime_ns;
                    Kind::File(chunks)
                }
                None => return Ok(None),
            },
        };
        Ok(Some(Entry {
            path: seen.path.clone(),
            mode: seen.mode,
            uid: seen.uid,
            gid: seen.gid,
            mtime_ns,
            kind,
        }))
    }

    fn file(&mut self, seen: &Seen) -> Result<Option<(Stamp, Vec<Chunk>)>, Error> {
        let known = self.known.get(&seen.path);
        let found = match known.filter(|(stamp, _)| *stamp == seen.stamp) {
            Some(known) => Some(known.clone()),
            None => self.read(&seen.path)?,
        };
        if let Some(found) = &found {
            self.index.insert(seen.path.clone(), found.clone());
        }
        Ok(found)
    }

    /// Reads a file until it did not change meanwhile.
    fn read(&self, path: &str) -> Result<Option<(Stamp, Vec<Chunk>)>, Error> {
        for _ in 0..FILE_TRIES {
            let file = match paths::file(self.root, path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(Error::reading(error)),
            };
            // A write to memory that is the file's changes its time only if what was there is on the disk.
            file.sync_data().map_err(Error::reading)?;
            let stamp = || rustix::fs::fstat(&file).map(|stat| Stamp::of(&stat));
            let before = stamp().map_err(|error| Error::reading(error.into()))?;
            if before.is_fresh() {
                std::thread::sleep(PAUSE);
                continue;
            }
            let chunks = chunks(&file, before.bytes, self.stop)?;
            let after = stamp().map_err(|error| Error::reading(error.into()))?;
            let read: u64 = chunks.iter().map(|chunk| u64::from(chunk.len)).sum();
            if before == after && read == before.bytes {
                return Ok(Some((after, chunks)));
            }
        }
        Err(Error::Changing(path.to_owned()))
    }
}

/// Cuts a file where its content says so, so that what moves inside a file is still the same chunk.
fn chunks(file: &File, bytes: u64, stop: &CancellationToken) -> Result<Vec<Chunk>, Error> {
    let chunk = |data: &[u8]| Chunk {
        digest: digest(data),
        len: u32::try_from(data.len()).unwrap_or(u32::MAX),
    };
    let mut content = file.take(bytes);
    if bytes <= u64::from(CHUNK_MIN_BYTES) {
        let mut data = Vec::new();
        content.read_to_end(&mut data).map_err(Error::reading)?;
        return Ok(match data.as_slice() {
            [] => Vec::new(),
            data => vec![chunk(data)],
        });
    }
    let [min, usual, max] = [CHUNK_MIN_BYTES, CHUNK_USUAL_BYTES, CHUNK_MAX_BYTES]
        .map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let mut chunks = Vec::new();
    for data in StreamCDC::new(content, min, usual, max) {
        if stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        let data = data.map_err(|error| Error::reading(error.into()))?;
        chunks.push(chunk(&data.data));
    }
    Ok(chunks)
}

fn digest(data: &[u8]) -> Digest {
    Digest(*blake3::hash(data).as_bytes())
}

/// Where the chunks of a checkpoint lie.
pub(super) fn places(entries: &[Entry]) -> BTreeMap<Digest, Place> {
    let mut places = BTreeMap::new();
    for entry in entries {
        let mut offset = 0;
        for chunk in entry.chunks() {
            places.entry(chunk.digest).or_insert_with(|| Place {
                path: entry.path.clone(),
                offset,
                len: chunk.len,
            });
            offset += u64::from(chunk.len);
        }
    }
    places
}

/// Reads a chunk again; `None` if the file was changed since.
pub(super) async fn chunk(
    folder: PathBuf,
    place: Place,
    wanted: Digest,
) -> Result<Option<Vec<u8>>, Error> {
    blocking(move || {
        let read = || {
            let file = paths::file(&paths::root(&folder)?, &place.path)?;
            let mut data = vec![0; usize::try_from(place.len).unwrap_or(0)];
            file.read_exact_at(&mut data, place.offset)?;
            Ok::<_, io::Error>(data)
        };
        match read() {
            Ok(data) if digest(&data) == wanted => Ok(Some(data)),
            Ok(_) => Ok(None),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => Ok(None),
                _other => Err(Error::reading(error)),
            },
        }
    })
    .await
}
