//! Publishes what an attempt wrote to `/outdir`: one tar, streamed to the masters.
//!
//! The container has ended, so nobody changes the files meanwhile. Links are neither followed nor
//! packed, and neither is anything that is no file or folder.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use reqwest::Body;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::data::{Access, DataPlane};
use crate::retry;

/// Pieces between the reader of the files and the connection; 16 of 64 KiB keep both busy.
const AHEAD: usize = 16;
const PIECE_BYTES: usize = 64 * 1024;

/// After so many tries that failed on this machine, the results cannot be read.
const READS_MAX: usize = 3;

/// Why the folder could not be read, a line for each try.
type Unread = Arc<Mutex<Vec<io::Error>>>;

/// Sends the folder's content, if there is any, until the masters have it or refuse it.
///
/// # Errors
/// When the folder cannot be read [`READS_MAX`] times.
pub(crate) async fn publish(data: &DataPlane, access: &Access, folder: PathBuf) -> io::Result<()> {
    let found = folder.clone();
    let empty = tokio::task::spawn_blocking(move || is_empty(&found)).await;
    // A look that failed proves nothing; packing tells.
    if empty.unwrap_or(false) {
        return Ok(());
    }
    send(data, access, move |writer| pack(&folder, writer)).await
}

async fn send(
    data: &DataPlane,
    access: &Access,
    pack: impl Fn(Pieces) -> io::Result<()> + Clone + Send + 'static,
) -> io::Result<()> {
    let unread = Unread::default();
    let body = || Body::wrap_stream(pieces(pack.clone(), unread.clone()));
    retry::until(retry::RESULTS, || async {
        match data.put_results(access, body).await {
            Ok(()) => Some(Ok(())),
            Err(error) if error.is_final() => {
                tracing::warn!(attempt = %access.attempt, %error, "the masters refuse the results");
                Some(Ok(()))
            }
            Err(error) => {
                tracing::warn!(attempt = %access.attempt, %error, "sending the results again");
                let mut unread = unread.lock();
                let fault = (unread.len() >= READS_MAX).then(|| unread.pop());
                fault.flatten().map(Err)
            }
        }
    })
    .await
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

/// What `pack` writes, with its error at the end.
fn pieces(
    pack: impl FnOnce(Pieces) -> io::Result<()> + Send + 'static,
    unread: Unread,
) -> ReceiverStream<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let writer = Pieces {
        sender: sender.clone(),
        buffer: Vec::with_capacity(PIECE_BYTES),
    };
    let packing = tokio::task::spawn_blocking(move || pack(writer));
    tokio::spawn(async move {
        let Err(error) = packing.await.map_err(io::Error::other).flatten() else {
            return;
        };
        let cut = io::Error::new(error.kind(), error.to_string());
        // A receiver that is gone is no fault of the folder.
        if error.kind() != io::ErrorKind::BrokenPipe {
            unread.lock().push(error);
        }
        // The connection is cut by it, so the masters never take half a tar for a whole one.
        sender.send(Err(cut)).await.unwrap_or_default();
    });
    ReceiverStream::new(receiver)
}

/// Writes the folder as a tar. Blocks.
fn pack(folder: &Path, writer: Pieces) -> io::Result<()> {
    let mut tar = tar::Builder::new(writer);
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        let mut entries =
            std::fs::read_dir(folder.join(&below))?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let name = below.join(entry.file_name());
            // This looks at the entry itself, not at what it may link to.
            let found = entry.metadata()?;
            let mut header = tar::Header::new_gnu();
            header.set_metadata_in_mode(&found, tar::HeaderMode::Deterministic);
            if found.is_dir() {
                tar.append_data(&mut header, &name, io::empty())?;
                folders.push(name);
            } else if found.is_file() {
                let file = std::fs::File::open(entry.path())?;
                // What is written keeps to the length that the header tells, whatever the file does.
                let rest = file
                    .take(found.len())
                    .chain(io::repeat(0))
                    .take(found.len());
                tar.append_data(&mut header, &name, rest)?;
            }
        }
    }
    tar.into_inner()?.flush()
}

/// Hands what is written on in pieces, waiting for their taker.
struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE_BYTES));
        self.sender
            .blocking_send(Ok(Bytes::from(piece)))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn links_are_neither_followed_nor_packed() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path();
        std::fs::create_dir(path.join("sub")).expect("sub");
        std::fs::write(path.join("sub/a"), b"abc").expect("file");
        std::os::unix::fs::symlink("/etc/passwd", path.join("link")).expect("link");
        let packed = path.to_owned();
        let pieces = pieces(move |writer| pack(&packed, writer), Unread::default());
        let pieces: Vec<_> = pieces.map(|piece| piece.expect("piece")).collect().await;
        let bytes = pieces.concat();
        let mut archive = tar::Archive::new(&bytes[..]);
        let names: Vec<String> = archive
            .entries()
            .expect("entries")
            .map(|entry| {
                let entry = entry.expect("entry");
                entry.path().expect("path").display().to_string()
            })
            .collect();
        assert_eq!(names, ["sub", "sub/a"]);
    }

    #[tokio::test]
    async fn a_panic_while_packing_breaks_the_stream() {
        let broken = |mut writer: Pieces| {
            writer.write_all(b"half a tar")?;
            writer.flush()?;
            panic!("this panic is meant");
        };
        let all: Vec<_> = pieces(broken, Unread::default()).collect().await;
        let [Ok(half), Err(_)] = all.as_slice() else {
            panic!("{all:?}");
        };
        assert_eq!(&half[..], b"half a tar");
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_read_is_given_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let heard = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                drop(heard);
            }
        });
        let worker = "gpu-1".parse().expect("a name");
        let urls = vec![url.parse().expect("a URL")];
        let data = DataPlane::new(worker, Vec::new()).expect("a client");
        let access = Access::of(
            "1.1-07070707070707070707070707070707"
                .parse()
                .expect("an id"),
            urls,
        );
        let tries = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&tries);
        let unreadable = move |_: Pieces| {
            *counted.lock() += 1;
            Err(io::Error::other("the disk is broken"))
        };
        let error = send(&data, &access, unreadable)
            .await
            .expect_err("unreadable");
        assert_eq!(error.to_string(), "the disk is broken");
        assert_eq!(*tries.lock(), READS_MAX);
    }
}
