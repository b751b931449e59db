//! A container's output, from its beginning, each time the same bytes.
//!
//! bollard's own reader takes a terminal's bytes for frames and holds a line until it ends, however long
//! it is, so the bytes are read raw here and frames are taken apart by [`demux`](super::demux).

use bollard::Docker;
use bytes::Bytes;
use chrono::Utc;
use dopq_common::time::Timestamp;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::client::{Client, translate};
use super::demux::Demux;
use super::error::Error;
use super::types::LogPiece;

const CALL: &str = "logs";

/// A download that bollard hands on as raw bytes; its path is exchanged for that of a log.
const CARRIER: &str = "log";
const CARRIER_PATH: &str = "images/log/get";

type RawStream = BoxStream<'static, Result<Bytes, bollard::errors::Error>>;

impl Client {
    /// The container's output from its beginning; see [`Engine::logs`](super::Engine::logs).
    pub fn logs(
        &self,
        id: &str,
        tty: bool,
        follow: bool,
    ) -> BoxStream<'static, Result<LogPiece, Error>> {
        let (client, id) = (self.clone(), id.to_owned());
        let opening = async move { client.open_logs(&id, tty, follow).await };
        futures::stream::once(opening)
            .flat_map(|opened| match opened {
                Ok(reader) => futures::stream::unfold(reader, Reader::next).boxed(),
                Err(error) => futures::stream::iter([Err(error)]).boxed(),
            })
            .boxed()
    }

    async fn open_logs(&self, id: &str, tty: bool, follow: bool) -> Result<Reader, Error> {
        // A follower of a silent container hears nothing for long; that the engine answers at all is
        // seen here.
        if self.inspect(id).await?.is_none() {
            return Err(Error::NotFound {
                message: format!("no such container: {id}"),
            });
        }
        let docker = self.docker(CALL).await?;
        Ok(Reader {
            source: raw(docker, id, tty, follow),
            demux: (!tty).then(Demux::default),
            silence: (!follow).then(|| self.call_deadline()),
            over: false,
        })
    }
}

/// The log as the engine sends it.
fn raw(docker: &Docker, id: &str, tty: bool, follow: bool) -> RawStream {
    let log = format!(
        "containers/{id}/logs?stdout=1&stderr=1&follow={follow}&timestamps={}",
        !tty
    );
    let docker = docker.clone().with_request_modifier(move |mut request| {
        let mut parts = request.uri().clone().into_parts();
        let path = parts
            .path_and_query
            .as_ref()
            .map(|path| path.path().replace(CARRIER_PATH, &log));
        parts.path_and_query = path.and_then(|path| path.parse().ok());
        if let Ok(uri) = parts.try_into() {
            *request.uri_mut() = uri;
        }
        request
    });
    docker.export_image(CARRIER).boxed()
}

struct Reader {
    source: RawStream,
    /// `None` for a terminal, whose bytes come as they are.
    demux: Option<Demux>,
    /// The longest wait for more; a follower waits without end.
    silence: Option<std::time::Duration>,
    over: bool,
}

impl Reader {
    /// The next piece, with the reader for those after it.
    async fn next(mut self) -> Option<(Result<LogPiece, Error>, Self)> {
        if self.over {
            return None;
        }
        let item = self.piece().await?;
        self.over = item.is_err();
        Some((item, self))
    }

    async fn piece(&mut self) -> Option<Result<LogPiece, Error>> {
        loop {
            if let Some(demux) = &mut self.demux {
                match demux.next() {
                    Ok(Some(piece)) => return Some(Ok(piece)),
                    Ok(None) => {}
                    Err(fault) => {
                        return Some(Err(Error::Other {
                            call: CALL,
                            message: fault.to_string(),
                        }));
                    }
                }
            }
            match self.arrived().await {
                Ok(Some(bytes)) => match &mut self.demux {
                    Some(demux) => demux.push(&bytes),
                    None if bytes.is_empty() => {}
                    None => {
                        return Some(Ok(LogPiece {
                            stderr: false,
                            at: Timestamp::from_datetime(Utc::now()),
                            bytes,
                        }));
                    }
                },
                Ok(None) if self.demux.as_ref().is_some_and(Demux::is_within_frame) => {
                    return Some(Err(Error::Unreachable {
                        call: CALL,
                        source: "the engine stopped in the middle of a message".into(),
                    }));
                }
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    async fn arrived(&mut self) -> Result<Option<Bytes>, Error> {
        let next = self.source.next();
        let next = match self.silence {
            None => next.await,
            Some(after) => tokio::time::timeout(after, next)
                .await
                .map_err(|_| Error::Deadline { call: CALL, after })?,
        };
        next.transpose().map_err(|error| translate(CALL, error))
    }
}
