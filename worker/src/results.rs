//! Publishes what an attempt wrote to `/outdir`: one tar, streamed to the masters.
//!
//! The container has ended, so nobody changes the files meanwhile. Links are neither followed nor
//! packed, and neither is anything that is no file or folder.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use reqwest::Body;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::data::{Access, DataPlane};
use crate::retry;

/// Pieces between the reader of the files and the connection; 16 of 64 KiB keep both busy.
const AHEAD: usize = 16;
const PIECE_BYTES: usize = 64 * 1024;

/// Sends the folder's content, if there is any, until the masters have it or refuse it.
pub(crate) async fn publish(data: &DataPlane, access: &Access, folder: PathBuf) {
    let found = folder.clone();
    let empty = tokio::task::spawn_blocking(move || is_empty(&found)).await;
    // A look that failed proves nothing; packing tells.
    if empty.unwrap_or(false) {
        return;
    }
    retry::until(retry::RESULTS, || async {
        match data.put_results(access, || stream(folder.clone())).await {
            Ok(()) => Some(()),
            Err(error) if error.is_final() => {
                tracing::warn!(attempt = %access.attempt, %error, "the masters refuse the results");
                Some(())
            }
            Err(error) => {
                tracing::warn!(attempt = %access.attempt, %error, "sending the results again");
                None
            }
        }
    })
    .await;
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

fn stream(folder: PathBuf) -> Body {
    Body::wrap_stream(pieces(move |writer| pack(&folder, writer)))
}

/// What `pack` writes, with its error at the end.
fn pieces(
    pack: impl FnOnce(Pieces) -> io::Result<()> + Send + 'static,
) -> ReceiverStream<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let writer = Pieces {
        sender: sender.clone(),
        buffer: Vec::with_capacity(PIECE_BYTES),
    };
    let packing = tokio::task::spawn_blocking(move || pack(writer));
    tokio::spawn(async move {
        // The connection is cut by an error or a panic, so the masters never take half a tar for a whole one. A
        // receiver that is gone knows already.
        if let Err(error) = packing.await.map_err(io::Error::other).flatten() {
            sender.send(Err(error)).await.unwrap_or_default();
        }
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
        let (sender, receiver) = mpsc::channel(AHEAD);
        let (packed, pieces) = (path.to_owned(), ReceiverStream::new(receiver));
        let writer = Pieces {
            sender,
            buffer: Vec::new(),
        };
        tokio::task::spawn_blocking(move || pack(&packed, writer))
            .await
            .expect("joined")
            .expect("packed");
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
        let all = pieces(|mut writer| {
            writer.write_all(b"half a tar")?;
            writer.flush()?;
            panic!("this panic is meant");
        });
        let all: Vec<_> = all.collect().await;
        let [Ok(half), Err(_)] = all.as_slice() else {
            panic!("{all:?}");
        };
        assert_eq!(&half[..], b"half a tar");
    }
}
