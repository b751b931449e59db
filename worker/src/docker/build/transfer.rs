//! BuildKit's file transfer (fsutil), the sender's side.
//!
//! The engine calls `DiffCopy` for the Dockerfile and for the context. It gets the description of every file, asks by
//! number for those that it does not have, and gets their bytes, read from the zip as they go out.

use dopq_common::bundle::ignore::Ignore;
use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use bollard_buildkit_proto::moby::filesync::packet::file_sync_server::FileSync;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::context::{Bundle, ContextError};
use super::tree::{Content, Tree};

/// Packets in flight between the reader of the zip and the connection: half a mebibyte at most.
const PACKETS: usize = 16;

/// Bytes of content in one packet.
const PACKET_BYTES: usize = 32 * 1024;

/// The folder of the Dockerfile, in the frontend's words.
const DOCKERFILE_DIR: &str = "dockerfile";

/// The folder of the context.
const CONTEXT_DIR: &str = "context";

/// What the engine may read of a build.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) bundle: Bundle,
    /// The Dockerfile alone.
    pub(super) dockerfile: Tree,
    /// The rest.
    pub(super) context: Tree,
    /// What is left out of the context.
    pub(super) ignore: Ignore,
    /// Why a transfer failed here, for which the engine then fails the build.
    pub(super) failure: Mutex<Option<ContextError>>,
    /// Bytes of content sent so far.
    pub(super) sent_bytes: Mutex<u64>,
}

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Transfers(pub(super) Arc<Files>);

/// What one call asks for.
struct Wish {
    is_context: bool,
    /// Only these paths; `None` for all.
    paths: Option<Ignore>,
}

impl Wish {
    fn read(metadata: &MetadataMap) -> Result<Self, Status> {
        let dir = values(metadata, "dir-name").into_iter().next();
        let dir = dir.unwrap_or_default();
        let is_context = dir == CONTEXT_DIR;
        if !is_context && dir != DOCKERFILE_DIR {
            return Err(Status::not_found(format!("no access to the folder {dir}")));
        }
        let mut paths = values(metadata, "followpaths");
        paths.extend(values(metadata, "include-patterns"));
        let paths = (!paths.is_empty())
            .then(|| Ignore::of_paths(paths.iter().map(String::as_str)))
            .flatten();
        Ok(Self { is_context, paths })
    }
}

/// All values of one name. Newer engines escape them if one is not ASCII.
fn values(metadata: &MetadataMap, name: &str) -> Vec<String> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let all = metadata.get_all(name).into_iter();
    let all = all.map(|value| text(value.as_encoded_bytes()));
    if !metadata.contains_key(format!("{name}-encoded")) {
        return all.collect();
    }
    let decoded = all.map(|value| {
        let query = format!("v={value}");
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.next().map_or(value, |(_, value)| value.into_owned())
    });
    decoded.collect()
}

#[tonic::async_trait]
impl FileSync for Transfers {
    type DiffCopyStream = ReceiverStream<Result<Packet, Status>>;
    type TarStreamStream = ReceiverStream<Result<Packet, Status>>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let wish = Wish::read(request.metadata())?;
        let files = Arc::clone(&self.0);
        let (packets, stream) = mpsc::channel(PACKETS);
        let out = Out(packets.clone());
        // Every file can be asked for once, so that a request never waits while descriptions are still going out:
        // the engine would wait as well.
        let most = files.context.len() + files.dockerfile.len() + 1;
        let (asked, requests) = mpsc::channel(most);
        tokio::task::spawn_blocking(move || match files.send(&wish, &out, requests) {
            Ok(()) | Err(ContextError::Unwanted) => {}
            Err(error) => {
                let message = error.to_string();
                // Before the engine fails the build for it.
                files.failure.lock().get_or_insert(error);
                out.error(message);
            }
        });
        tokio::spawn(receive(request.into_inner(), asked, Out(packets)));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn tar_stream(
        &self,
        _request: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::TarStreamStream>, Status> {
        Err(Status::unimplemented("only DiffCopy is served"))
    }
}

/// Hands the engine's requests on, until it has all that it wants.
async fn receive(mut incoming: Streaming<Packet>, asked: mpsc::Sender<u32>, out: Out) {
    while let Ok(Some(packet)) = incoming.message().await {
        match packet.r#type() {
            PacketType::PacketReq if asked.try_send(packet.id).is_ok() => {}
            PacketType::PacketFin => {
                let end = Packet {
                    r#type: PacketType::PacketFin.into(),
                    ..Packet::default()
                };
                // An engine that is gone needs no answer.
                drop(out.0.send(Ok(end)).await);
                return;
            }
            PacketType::PacketReq
            | PacketType::PacketErr
            | PacketType::PacketStat
            | PacketType::PacketData => return,
        }
    }
}

impl Files {
    /// Sends descriptions, then what is asked for. Blocking.
    fn send(
        &self,
        wish: &Wish,
        out: &Out,
        mut requests: mpsc::Receiver<u32>,
    ) -> Result<(), ContextError> {
        let tree = if wish.is_context {
            &self.context
        } else {
            &self.dockerfile
        };
        let wanted = |path: &str| {
            // Matching stops when the build does.
            (!out.0.is_closed()).then(|| {
                wish.paths.as_ref().is_none_or(|paths| paths.covers(path))
                    && !(wish.is_context && self.ignore.covers(path))
            })
        };
        let selected = tree.select(wanted).ok_or(ContextError::Unwanted)?;
        for (stat, _) in &selected {
            out.stat(Some(stat.clone()))?;
        }
        out.stat(None)?;
        let mut given = BTreeSet::new();
        while let Some(id) = requests.blocking_recv() {
            let place = usize::try_from(id).unwrap_or(usize::MAX);
            let content = selected.get(place).and_then(|(_, content)| *content);
            let Some(content) = content.filter(|_| given.insert(id)) else {
                return Err(ContextError::Invalid(format!(
                    "the engine asked for file {id}, which it was not offered"
                )));
            };
            match content {
                Content::Text(text) if text.is_empty() => {}
                Content::Text(text) => out.data(id, text)?,
                Content::Entry { index, .. } => {
                    self.bundle
                        .read(*index, |content| self.copy(id, content, out))?;
                }
            }
            out.data(id, &[])?;
        }
        Ok(())
    }

    fn copy(&self, id: u32, content: &mut dyn Read, out: &Out) -> Result<(), ContextError> {
        let mut buffer = vec![0; PACKET_BYTES];
        loop {
            let read = content.read(&mut buffer)?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
                return Ok(());
            };
            out.data(id, bytes)?;
            *self.sent_bytes.lock() += read as u64;
        }
    }
}

/// The way to the engine.
struct Out(mpsc::Sender<Result<Packet, Status>>);

impl Out {
    fn stat(&self, stat: Option<Stat>) -> Result<(), ContextError> {
        self.send(Packet {
            r#type: PacketType::PacketStat.into(),
            stat,
            ..Packet::default()
        })
    }

    fn data(&self, id: u32, data: &[u8]) -> Result<(), ContextError> {
        self.send(Packet {
            r#type: PacketType::PacketData.into(),
            id,
            data: data.to_vec(),
            ..Packet::default()
        })
    }

    fn error(&self, message: String) {
        let packet = Packet {
            r#type: PacketType::PacketErr.into(),
            data: message.into_bytes(),
            ..Packet::default()
        };
        // An engine that is gone needs no reason.
        drop(self.send(packet));
    }

    fn send(&self, packet: Packet) -> Result<(), ContextError> {
        let sent = self.0.blocking_send(Ok(packet));
        sent.map_err(|_| ContextError::Unwanted)
    }
}

#[cfg(test)]
mod tests;
