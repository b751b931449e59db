//! Passes a session's data between a client's WebSocket and a worker, with what each of the two can take.
//!
//! What the client sends is read only when the worker has granted room for it, and what the worker sends is credited
//! only once it is written to the client. So nothing piles up here, however slow either of them is.

use std::collections::VecDeque;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use dopq_common::api::{SessionEvent, SessionInput};
use dopq_common::session::{Channel, Frame, PIECE_MAX_BYTES};
use dopq_common::wire::{EndCause, SessionEnd};
use futures::stream::SplitSink;
use futures::{SinkExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::watched::{LOOK, Watch};
use crate::sessions::{self, Session};

/// The longest message of a client.
pub(super) const MESSAGE_MAX_BYTES: usize = 64 * 1024;
/// Proxies close connections on which nothing passes for about a minute.
const PING: Duration = Duration::from_secs(15);
/// Messages that wait for a slow client: a window of data, and what is said beside it.
const WAITING: usize = 48;
/// How long a client whose token does not hold any more may take to hear so.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How a session ended, as its client is told.
#[derive(Debug)]
pub(super) enum Ended {
    /// As the worker says.
    Worker(SessionEnd),
    /// Without it.
    Here(String),
    /// The client left.
    Client,
}

/// The client's side: what is written to it waits for a slow client in a task of its own.
pub(super) struct Client {
    out: mpsc::Sender<Message>,
    written: mpsc::Receiver<()>,
    reader: futures::stream::SplitStream<WebSocket>,
    writer: JoinHandle<()>,
}

impl Client {
    /// The client of `socket`.
    pub(super) fn new(socket: WebSocket) -> Self {
        let (sink, reader) = socket.split();
        let (out, messages) = mpsc::channel(WAITING);
        let (wrote, written) = mpsc::channel(WAITING);
        let writer = tokio::spawn(write(sink, messages, wrote));
        Self {
            out,
            written,
            reader,
            writer,
        }
    }

    /// The client's first message, if it is text and comes in time.
    pub(super) async fn first(&mut self, within: Duration) -> Option<String> {
        match tokio::time::timeout(within, self.reader.next()).await {
            Ok(Some(Ok(Message::Text(text)))) => Some(text.to_string()),
            Ok(_) | Err(_) => None,
        }
    }

    /// Says the last word and closes the connection. What still waits is written first, however slow the client is, for as
    /// long as `watch` holds.
    pub(super) async fn finish(self, event: &SessionEvent, watch: &Watch) {
        let Self { out, writer, .. } = self;
        let abort = writer.abort_handle();
        let saying = async move {
            // A client that is gone need not be told.
            for message in [text(event), Message::Close(None)] {
                out.send(message).await.ok();
            }
            drop(out);
            writer.await
        };
        let revoked = async {
            while watch.holds() {
                tokio::time::sleep(LOOK).await;
            }
            tokio::time::sleep(LAST_WORDS).await;
        };
        tokio::select! {
            _ = saying => {}
            () = revoked => abort.abort(),
        }
    }

    /// Hands a message to the writer; false if the client is gone, or takes nothing and has had its window.
    fn say(&self, message: Message) -> bool {
        self.out.try_send(message).is_ok()
    }
}

async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut messages: mpsc::Receiver<Message>,
    wrote: mpsc::Sender<()>,
) {
    while let Some(message) = messages.recv().await {
        let is_data = matches!(message, Message::Binary(_));
        if sink.send(message).await.is_err() {
            return;
        }
        if is_data && wrote.send(()).await.is_err() {
            // Nobody grants credit any more; what was said is still written.
            continue;
        }
    }
}

/// Passes on in both directions until the session is over.
pub(super) async fn relay(
    client: &mut Client,
    session: &mut Session,
    watch: &Watch,
    shutdown: &CancellationToken,
) -> Ended {
    match passing(client, session, watch, shutdown).await {
        Ok(ended) => {
            if !matches!(ended, Ended::Worker(_)) {
                let bye = SessionEnd::new(EndCause::Done, "");
                if let Err(error) = session.send(&Frame::End(bye)).await {
                    tracing::debug!(%error, "failed to end a session");
                }
            }
            ended
        }
        Err(error) => Ended::Here(error.to_string()),
    }
}

async fn passing(
    client: &mut Client,
    session: &mut Session,
    watch: &Watch,
    shutdown: &CancellationToken,
) -> Result<Ended, sessions::Error> {
    let mut pending: VecDeque<Frame> = VecDeque::new();
    let mut look = tokio::time::interval(LOOK);
    let mut pinged = Instant::now();
    loop {
        tokio::select! {
            frame = session.next() => {
                let said = match frame? {
                    Frame::Data(channel, bytes) => client.say(data(channel, &bytes)),
                    Frame::Started => client.say(text(&SessionEvent::Started)),
                    Frame::Close => {
                        session.taken().await?;
                        client.say(text(&SessionEvent::Close))
                    }
                    Frame::End(end) => return Ok(Ended::Worker(end)),
                    Frame::Challenge(_) | Frame::Begin(_) | Frame::Resize(..) | Frame::Credit(_) => {
                        true
                    }
                };
                if !said {
                    return Ok(Ended::Client);
                }
            }
            Some(()) = client.written.recv() => session.taken().await?,
            () = std::future::ready(()), if session.may_send() && !pending.is_empty() => {
                if let Some(frame) = pending.pop_front() {
                    session.send(&frame).await?;
                }
            }
            message = client.reader.next(), if pending.is_empty() => match message {
                Some(Ok(message)) => match frames(message) {
                    Ok(frames) => pending.extend(frames),
                    Err(ended) => return Ok(ended),
                },
                Some(Err(_)) | None => return Ok(Ended::Client),
            },
            _ = look.tick() => {
                if !watch.holds() {
                    return Ok(Ended::Here("your token is no longer valid".to_owned()));
                }
                session.look().await?;
                if pinged.elapsed() >= PING {
                    pinged = Instant::now();
                    // A client that is only slow has a window of other messages waiting.
                    client.say(Message::Ping(axum::body::Bytes::new()));
                }
                if client.writer.is_finished() {
                    return Ok(Ended::Client);
                }
            }
            () = shutdown.cancelled() => {
                return Ok(Ended::Here("the master is being stopped".to_owned()));
            }
        }
    }
}

/// What a client's message asks for.
fn frames(message: Message) -> Result<Vec<Frame>, Ended> {
    let wrong = |what: &str| Ended::Here(format!("the client sent {what}"));
    match message {
        Message::Binary(bytes) => Ok(bytes
            .chunks(PIECE_MAX_BYTES)
            .map(|piece| Frame::Data(Channel::Input, piece.to_vec()))
            .collect()),
        Message::Text(text) => match serde_json::from_str(&text) {
            Ok(SessionInput::Resize { rows, columns }) => Ok(vec![Frame::Resize(rows, columns)]),
            Ok(SessionInput::Close) => Ok(vec![Frame::Close]),
            Err(_) => Err(wrong("a message that this version does not know")),
        },
        Message::Ping(_) | Message::Pong(_) => Ok(Vec::new()),
        Message::Close(_) => Err(Ended::Client),
    }
}

fn data(channel: Channel, bytes: &[u8]) -> Message {
    Message::Binary([&[channel.code()], bytes].concat().into())
}

fn text(event: &SessionEvent) -> Message {
    // The type always has a JSON form.
    Message::Text(serde_json::to_string(event).unwrap_or_default().into())
}
