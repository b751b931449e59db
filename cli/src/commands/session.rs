//! Runs a session: keys and input to the master, output from it, until it ends.

use std::io;
use std::time::Duration;

use dopq_common::api::{ErrorBody, SessionEvent, SessionInput};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::client::{Error, Socket};
use crate::exit;
use crate::failure::Failure;
use crate::terminal::{self, Raw};

/// How much input is read at a time; a message of a session holds twice as much.
const INPUT_BYTES: usize = 32 * 1024;
/// The longest silence of a master, which gives a sign of life every 15 seconds.
const SILENCE: Duration = Duration::from_secs(60);

/// What a session is given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ways {
    /// Standard input.
    pub(super) input: bool,
    /// The terminal: keys as they are, and its size.
    pub(super) tty: bool,
}

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The command ended; there may be more to say about it.
    Exited(i32, String),
    /// There was no command, or nothing was waited for.
    Done,
    /// Something else ended it.
    Reason(String),
    /// This process was told to end.
    Signal(u8),
}

/// Sends `first`, and runs the session.
pub(super) async fn run(socket: Socket, first: &str, ways: Ways) -> Result<Ended, Failure> {
    let (mut sink, stream) = socket.split();
    sink.send(Message::text(first)).await.map_err(broken)?;
    if ways.tty
        && let Some((rows, columns)) = terminal::size()
    {
        let size = SessionInput::Resize { rows, columns };
        sink.send(said(&size)).await.map_err(broken)?;
    }
    let raw = match ways.tty && ways.input {
        true => Some(Raw::enter().map_err(Failure::Output)?),
        false => None,
    };
    let mut signals = Signals::new().map_err(Failure::Start)?;
    let ended = tokio::select! {
        ended = output(stream) => ended,
        error = input(sink, ways) => Err(error),
        signal = signals.next() => Ok(Ended::Signal(signal)),
    };
    drop(raw);
    ended
}

/// The signals that end a session. With a raw terminal Ctrl-C is a key like any other.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The exit code for the next of them.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => exit::INTERRUPTED,
            _ = self.terminate.recv() => 128 + 15,
            _ = self.hang_up.recv() => 128 + 1,
        }
    }
}

/// Passes input and sizes on, until that fails. What became of the session is then told by the output.
async fn input(mut sink: SplitSink<Socket, Message>, ways: Ways) -> Failure {
    let mut stdin = tokio::io::stdin();
    let mut bytes = vec![0; INPUT_BYTES];
    let mut is_open = ways.input;
    let mut resized = match signal(SignalKind::window_change()) {
        Ok(resized) => resized,
        Err(error) => return Failure::Start(error),
    };
    loop {
        let message = tokio::select! {
            read = stdin.read(&mut bytes), if is_open => match read {
                Ok(0) => {
                    is_open = false;
                    said(&SessionInput::Close)
                }
                Ok(count) => {
                    let read = bytes.get(..count).unwrap_or_default();
                    Message::binary(read.to_vec())
                }
                Err(source) => return Failure::File {
                    doing: "read",
                    path: "standard input".into(),
                    source,
                },
            },
            _ = resized.recv(), if ways.tty => match terminal::size() {
                Some((rows, columns)) => said(&SessionInput::Resize { rows, columns }),
                None => continue,
            },
            else => std::future::pending().await,
        };
        if sink.send(message).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Writes what the session says, until it ends.
async fn output(mut stream: SplitStream<Socket>) -> Result<Ended, Failure> {
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    loop {
        let message = match tokio::time::timeout(SILENCE, stream.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => return Err(broken(error)),
            Ok(None) => return Ok(cut()),
            Err(_) => return Ok(Ended::Reason("the master does not answer".to_owned())),
        };
        match message {
            Message::Binary(bytes) => match bytes.split_first() {
                Some((2, bytes)) => write(&mut stderr, bytes).await?,
                Some((_, bytes)) => write(&mut stdout, bytes).await?,
                None => {}
            },
            Message::Text(text) => match serde_json::from_str(&text) {
                Ok(SessionEvent::End { exit_code, reason }) => {
                    return Ok(match exit_code {
                        Some(code) => Ended::Exited(code, reason),
                        None if reason.is_empty() => Ended::Done,
                        None => Ended::Reason(reason),
                    });
                }
                Ok(SessionEvent::Error { error }) => return Err(refused(error)),
                Ok(SessionEvent::Started | SessionEvent::Close | SessionEvent::Unknown)
                | Err(_) => {}
            },
            Message::Close(_) => return Ok(cut()),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}

fn cut() -> Ended {
    Ended::Reason("the master closed the connection".to_owned())
}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), Failure> {
    to.write_all(bytes).await?;
    Ok(to.flush().await?)
}

fn said(input: &SessionInput) -> Message {
    // The type always has a JSON form.
    Message::text(serde_json::to_string(input).unwrap_or_default())
}

fn refused(error: ErrorBody) -> Failure {
    Failure::call("run it")(Error::Refused(Box::new(error)))
}

fn broken(error: tungstenite::Error) -> Failure {
    Failure::Session(error.to_string())
}
