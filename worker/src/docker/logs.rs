//! A container's output from its start, always the same bytes.
//!
//! [`raw`](super::raw) reads the bytes in blocks, and [`demux`](super::demux) splits the frames.

use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use dopq_common::time::Timestamp;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::client::Client;
use super::demux::Demux;
use super::error::Error;
use super::raw::Raw;
use super::types::{LogPiece, Status};

const CALL: &str = "logs";

/// Pause before reading a log again whose container seems to run although its stream ended.
const PAUSE: Duration = Duration::from_millis(200);

impl Client {
    /// The container's output from its start; see [`Engine::logs`](super::Engine::logs).
    pub fn logs(
        &self,
        id: &str,
        tty: bool,
        follow: bool,
    ) -> BoxStream<'static, Result<LogPiece, Error>> {
        let reader = Reader {
            client: self.clone(),
            id: id.to_owned(),
            tty,
            follow,
            given: 0,
            pass: None,
            began: false,
            over: false,
        };
        futures::stream::unfold(reader, Reader::next).boxed()
    }
}

/// Reads a log in passes. An engine up to 20.10 may end a followed stream at the container's end before it has sent
/// everything, so another pass over the finished log follows.
struct Reader {
    client: Client,
    id: String,
    tty: bool,
    follow: bool,
    /// Pieces returned so far; bytes, for a terminal.
    given: u64,
    pass: Option<Box<Pass>>,
    /// Whether this is not the first pass.
    began: bool,
    over: bool,
}

/// One pass from the start.
struct Pass {
    source: Raw,
    demux: Demux,
    /// The time-out for more data; none when following.
    silence: Option<Duration>,
    /// What to skip: pieces, or bytes for a terminal.
    skip: u64,
    /// Whether this is the last pass.
    last: bool,
}

impl Reader {
    /// The next piece and the reader for the rest.
    async fn next(mut self) -> Option<(Result<LogPiece, Error>, Self)> {
        while !self.over {
            let item = match self.step().await {
                Ok(None) => continue,
                Ok(Some(piece)) => Ok(piece),
                Err(error) => {
                    self.over = true;
                    Err(error)
                }
            };
            return Some((item, self));
        }
        None
    }

    /// A piece, or `None` if a pass started, ended or returned known data.
    async fn step(&mut self) -> Result<Option<LogPiece>, Error> {
        let Some(pass) = &mut self.pass else {
            self.pass = Some(Box::new(self.begin().await?));
            return Ok(None);
        };
        let piece = if self.tty {
            pass.raw_piece().await?
        } else {
            pass.piece().await?
        };
        let Some(mut piece) = piece else {
            self.over = pass.last;
            self.pass = None;
            return Ok(None);
        };
        if self.tty {
            let known = usize::try_from(pass.skip)
                .unwrap_or(usize::MAX)
                .min(piece.bytes.len());
            piece.bytes = piece.bytes.slice(known..);
            pass.skip -= known as u64;
            self.given += piece.bytes.len() as u64;
            return Ok((!piece.bytes.is_empty()).then_some(piece));
        }
        if pass.skip > 0 {
            pass.skip -= 1;
            return Ok(None);
        }
        self.given += 1;
        Ok(Some(piece))
    }

    /// Starts the next pass. Inspects the container to check that the engine answers, because a silent container sends
    /// nothing for long.
    async fn begin(&mut self) -> Result<Pass, Error> {
        let alive = match self.client.inspect(&self.id).await? {
            Some(container) => container.status.is_alive() || container.status == Status::Created,
            None => {
                return Err(Error::NotFound {
                    message: format!("no such container: {}", self.id),
                });
            }
        };
        if alive && self.began {
            tokio::time::sleep(PAUSE).await;
        }
        self.began = true;
        let follow = self.follow && alive;
        let silence = (!follow).then(|| self.client.call_deadline());
        let version = self.client.docker(CALL).await?.client_version();
        let path = format!(
            "/v{}.{}/containers/{}/logs?stdout=1&stderr=1&follow={follow}&timestamps={}",
            version.major_version, version.minor_version, self.id, !self.tty
        );
        let source = Raw::get(CALL, self.client.host(), &path);
        Ok(Pass {
            source: unless_silent(silence, source).await?,
            demux: Demux::default(),
            silence,
            skip: self.given,
            last: !follow,
        })
    }
}

impl Pass {
    async fn piece(&mut self) -> Result<Option<LogPiece>, Error> {
        loop {
            match self.demux.next() {
                Ok(Some(piece)) => return Ok(Some(piece)),
                Ok(None) => {}
                Err(fault) => {
                    return Err(Error::Other {
                        call: CALL,
                        message: fault.to_string(),
                    });
                }
            }
            match self.arrived().await? {
                Some(bytes) => self.demux.push(&bytes),
                None if self.demux.is_within_frame() => {
                    return Err(Error::Unreachable {
                        call: CALL,
                        source: "the engine closed the stream within a message".into(),
                    });
                }
                None => return Ok(None),
            }
        }
    }

    /// A terminal's bytes, which the engine sends without frames.
    async fn raw_piece(&mut self) -> Result<Option<LogPiece>, Error> {
        let arrived = self.arrived().await?;
        Ok(arrived.map(|bytes| LogPiece {
            stderr: false,
            at: Timestamp::from_datetime(Utc::now()),
            bytes,
        }))
    }

    async fn arrived(&mut self) -> Result<Option<Bytes>, Error> {
        unless_silent(self.silence, self.source.next()).await
    }
}

/// Waits for the engine, for `silence` at most. A follower waits without a limit: engines send not even the head of
/// the answer before the container prints something.
async fn unless_silent<T>(
    silence: Option<Duration>,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match silence {
        None => answer.await,
        Some(after) => tokio::time::timeout(after, answer)
            .await
            .unwrap_or(Err(Error::Deadline { call: CALL, after })),
    }
}
