//! A request on a connection of its own, whose answer is read raw and in blocks or which becomes another protocol.
//!
//! bollard offers no raw reader of a log: its decoder takes a terminal's bytes for frames, trusts any length and
//! drops the engine's own error messages. It also hands every chunk of the answer, which for a log is one line, from
//! one task to another. Here the reader drives the connection, so that all lines that arrived come as one block.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::http::request::Builder;
use hyper::upgrade::Upgraded;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use url::Url;

use super::client::classify;
use super::error::Error;

/// A block is handed on when it is this long, even if more has arrived.
const BLOCK_BYTES: usize = 256 * 1024;

/// The longest error message that is read.
const MESSAGE_MAX_BYTES: usize = 64 * 1024;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Connection = http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

/// An answer that is being read.
pub(super) struct Raw {
    call: &'static str,
    /// `None` once it has ended.
    connection: Option<Connection>,
    body: Incoming,
    /// Why the connection ended early.
    broken: Option<hyper::Error>,
}

/// How the engine words a refusal.
#[derive(Deserialize)]
struct Refusal {
    message: String,
}

impl Raw {
    /// Sends a GET for `path` to the engine at `host`, and reads the head of its answer.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or what the engine said.
    pub(super) async fn get(call: &'static str, host: &str, path: &str) -> Result<Self, Error> {
        Self::send(call, host, Request::get(path)).await
    }

    /// The same for any request without a body.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn send(
        call: &'static str,
        host: &str,
        request: Builder,
    ) -> Result<Self, Error> {
        let gone = |error: hyper::Error| unreachable(call, error);
        let (mut sender, connection) = shake_hands(call, host).await?;
        let request = with_body(call, request, Bytes::new())?;
        let mut connection = Some(connection);
        let mut broken = None;
        let mut answer = std::pin::pin!(sender.send_request(request));
        let response = std::future::poll_fn(|cx| {
            drive(&mut connection, &mut broken, cx);
            answer.as_mut().poll(cx)
        })
        .await
        .map_err(gone)?;
        let (head, body) = response.into_parts();
        let mut raw = Self {
            call,
            connection,
            body,
            broken,
        };
        if head.status == StatusCode::OK {
            return Ok(raw);
        }
        let message = raw.message().await;
        Err(classify(call, head.status.as_u16(), message))
    }

    /// The engine's words in an answer that is an error.
    async fn message(&mut self) -> String {
        let Self {
            connection,
            body,
            broken,
            ..
        } = self;
        let mut whole = std::pin::pin!(Limited::new(body, MESSAGE_MAX_BYTES).collect());
        let read = std::future::poll_fn(|cx| {
            drive(connection, broken, cx);
            whole.as_mut().poll(cx)
        })
        .await;
        let bytes = read.map(|read| read.to_bytes()).unwrap_or_default();
        refusal(&bytes)
    }

    /// Everything that has arrived, at most a little more than [`BLOCK_BYTES`]; waits for the first byte. `None` at
    /// the end of the answer. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when the answer broke off.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let call = self.call;
        let block = std::future::poll_fn(|cx| self.poll_block(cx)).await;
        block.map_err(|error| unreachable(call, error))
    }

    fn poll_block(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, hyper::Error>> {
        let mut block = BytesMut::new();
        let mut is_driven = false;
        loop {
            // An error or the end waits for the next call, when there is something to hand on first.
            if block.len() >= BLOCK_BYTES || (!block.is_empty() && self.body.is_end_stream()) {
                return Poll::Ready(Ok(Some(block.freeze())));
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    is_driven = false;
                    if let Ok(data) = frame.into_data() {
                        block.extend_from_slice(&data);
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    if block.is_empty() {
                        return Poll::Ready(Err(error));
                    }
                    self.broken = Some(error);
                    return Poll::Ready(Ok(Some(block.freeze())));
                }
                Poll::Ready(None) => {
                    if !block.is_empty() {
                        return Poll::Ready(Ok(Some(block.freeze())));
                    }
                    return Poll::Ready(self.broken.take().map_or(Ok(None), Err));
                }
                Poll::Pending if is_driven => {
                    if block.is_empty() {
                        return Poll::Pending;
                    }
                    return Poll::Ready(Ok(Some(block.freeze())));
                }
                Poll::Pending => {
                    drive(&mut self.connection, &mut self.broken, cx);
                    is_driven = true;
                }
            }
        }
    }
}

/// Sends a request with `body` to leave HTTP, and returns the connection once the engine agreed.
///
/// # Errors
/// [`Error::Unreachable`], or what the engine said.
pub(super) async fn upgrade(
    call: &'static str,
    host: &str,
    request: Builder,
    body: Bytes,
) -> Result<Upgraded, Error> {
    let gone = |error: hyper::Error| unreachable(call, error);
    let (mut sender, connection) = shake_hands(call, host).await?;
    let request = with_body(call, request, body)?;
    // It ends when the connection is handed over.
    let driving = tokio::spawn(connection.with_upgrades());
    let response = sender.send_request(request).await.map_err(gone)?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return hyper::upgrade::on(response).await.map_err(gone);
    }
    let (head, body) = response.into_parts();
    let read = Limited::new(body, MESSAGE_MAX_BYTES).collect().await;
    driving.abort();
    let bytes = read.map(|read| read.to_bytes()).unwrap_or_default();
    Err(classify(call, head.status.as_u16(), refusal(&bytes)))
}

async fn shake_hands(
    call: &'static str,
    host: &str,
) -> Result<(http1::SendRequest<Full<Bytes>>, Connection), Error> {
    let stream = connect(host)
        .await
        .map_err(|error| unreachable(call, error))?;
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    shaken.map_err(|error| unreachable(call, error))
}

fn with_body(
    call: &'static str,
    request: Builder,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, Error> {
    let request = request.header("host", "docker").body(Full::new(body));
    request.map_err(|error| Error::Other {
        call,
        message: error.to_string(),
    })
}

/// The engine's words in the body of an answer that is an error.
fn refusal(bytes: &[u8]) -> String {
    match serde_json::from_slice::<Refusal>(bytes) {
        Ok(refusal) => refusal.message,
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Lets the connection read and write what it can.
fn drive(
    connection: &mut Option<Connection>,
    broken: &mut Option<hyper::Error>,
    cx: &mut Context<'_>,
) {
    let Some(running) = connection else {
        return;
    };
    if let Poll::Ready(ended) = Pin::new(running).poll(cx) {
        *connection = None;
        *broken = broken.take().or_else(|| ended.err());
    }
}

/// Opens a connection to `unix:///path`, `tcp://host:port` or `http://host:port`.
async fn connect(host: &str) -> io::Result<Box<dyn Stream>> {
    if let Some(path) = host.strip_prefix("unix://") {
        return Ok(Box::new(UnixStream::connect(path).await?));
    }
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, host.to_owned());
    let url = Url::parse(&host.replacen("tcp://", "http://", 1)).map_err(|_| wrong())?;
    let name = url.host_str().ok_or_else(wrong)?;
    let port = url.port_or_known_default().ok_or_else(wrong)?;
    let name = name.trim_matches(['[', ']']);
    Ok(Box::new(TcpStream::connect((name, port)).await?))
}

fn unreachable(call: &'static str, error: impl Into<super::error::Source>) -> Error {
    Error::Unreachable {
        call,
        source: error.into(),
    }
}
