//! Sends one request until it is answered: follows redirects to the leader, repeats what is safe to repeat, and turns
//! failures into an [`Error`].

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use backon::Retryable;
use dopq_common::api::{ErrorBody, ErrorCode, ErrorResponse};
use futures::stream;
use indicatif::ProgressBar;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION,
};
use reqwest::{Body, Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use super::error::{Cause, Error};
use super::http::{Clients, Size};
use super::retry::Patience;
use super::tls::TlsFault;
use crate::bundle::Content;
use crate::config::{Settings, origin_of};
use crate::output::Output;
use crate::output::text::clean;

/// The longest chain of redirects; standbys redirect once.
const REDIRECTS_MAX: usize = 4;

/// How much of a body is read at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// The body of a request.
#[derive(Debug, Clone)]
pub(super) enum Payload {
    None,
    Json(Vec<u8>),
    Content {
        content: Content,
        size_bytes: u64,
        progress: ProgressBar,
    },
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) segments: Vec<String>,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: HeaderMap,
    pub(super) payload: Payload,
    /// Whether it is safe to send twice.
    pub(super) repeatable: bool,
    pub(super) patience: Patience,
    /// Whether its answer may begin only after minutes.
    pub(super) slow: bool,
    /// Whether its connection becomes another protocol.
    pub(super) upgrades: bool,
}

impl Call {
    /// A request to `/v1/` and these segments; GET and DELETE may be repeated.
    pub(super) fn new(method: Method, segments: &[&str]) -> Self {
        let repeatable = matches!(method, Method::GET | Method::DELETE | Method::PUT);
        Self {
            method,
            segments: segments.iter().map(|&text| text.to_owned()).collect(),
            query: Vec::new(),
            headers: HeaderMap::new(),
            payload: Payload::None,
            repeatable,
            patience: Patience::Brief,
            slow: false,
            upgrades: false,
        }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        // Keys and ids that the client made itself are always valid.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    pub(super) fn accept(self, what: &'static str) -> Self {
        self.header(ACCEPT.as_str(), what)
    }

    pub(super) fn json<T: serde::Serialize>(mut self, body: &T) -> Self {
        // The API's types always have a JSON form.
        self.payload = Payload::Json(serde_json::to_vec(body).unwrap_or_default());
        self
    }

    pub(super) fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    pub(super) fn slow(mut self) -> Self {
        self.slow = true;
        self
    }

    pub(super) fn upgrading(mut self) -> Self {
        self.upgrades = true;
        self
    }

    pub(super) fn patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }
}

/// The way to one master. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    clients: Arc<Clients>,
    base: Url,
    named_by: String,
    context: Option<String>,
    token: Option<HeaderValue>,
    /// Tokens that were saved for other masters, by origin.
    others: BTreeMap<String, HeaderValue>,
    output: Output,
}

impl Client {
    /// A client for the master that the settings name.
    pub(crate) fn new(settings: &Settings, output: Output) -> Result<Self, Error> {
        let token = match &settings.token {
            None => None,
            Some(token) => Some(
                token
                    .header()
                    .ok_or_else(|| Error::SetUp("the token cannot be sent".to_owned()))?,
            ),
        };
        Ok(Self {
            clients: Arc::new(Clients::new(settings)),
            base: settings.url.clone(),
            named_by: settings.named_by(),
            context: settings.context.clone(),
            token,
            others: settings
                .tokens
                .iter()
                .filter_map(|(origin, token)| Some((origin.clone(), token.header()?)))
                .collect(),
            output,
        })
    }

    /// The master's URL without the final slash.
    pub(crate) fn url(&self) -> String {
        origin_of(&self.base)
    }

    /// The context that names this master.
    pub(crate) fn context(&self) -> Option<&str> {
        self.context.as_deref()
    }

    /// Where notes go.
    pub(super) fn output(&self) -> &Output {
        &self.output
    }

    /// Sends a call and reads its answer.
    pub(super) async fn fetch<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Error> {
        let response = self.send(call).await?;
        self.read(response).await
    }

    /// Reads an answer.
    pub(super) async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, Error> {
        let url = response.url().to_string();
        let body = response
            .bytes()
            .await
            .map_err(|source| self.unreachable(&url, true, source))?;
        serde_json::from_slice(&body).map_err(|error| Error::Strange {
            url,
            detail: format!("this version of dopq cannot read its JSON ({error})"),
            temporary: false,
        })
    }

    /// Sends a call until it is answered; the answer is a success.
    pub(super) async fn send(&self, call: &Call) -> Result<Response, Error> {
        let mut is_silent = call.patience == Patience::Brief;
        (|| self.follow(call))
            .retry(call.patience.policy())
            .when(|error| may_pass(error, call.repeatable))
            .notify(|error, _| {
                if !std::mem::replace(&mut is_silent, true) {
                    self.output.note(&format!("{error}; retrying"));
                }
            })
            .await
    }

    /// Sends a call once, following redirects to the leader.
    async fn follow(&self, call: &Call) -> Result<Response, Error> {
        let mut url = self.target(call);
        for _ in 0..=REDIRECTS_MAX {
            let response = self.once(call, &url).await?;
            let status = response.status();
            if !matches!(
                status,
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
            ) {
                let is_upgraded = call.upgrades && status == StatusCode::SWITCHING_PROTOCOLS;
                return if status.is_success() || is_upgraded {
                    Ok(response)
                } else {
                    Err(refusal(response).await)
                };
            }
            let location = response.headers().get(LOCATION);
            let text = location.and_then(|value| value.to_str().ok()).unwrap_or("");
            let wrong = |why| Error::Redirect {
                from: url.to_string(),
                to: clean(text),
                why,
            };
            let next = url.join(text).map_err(|_| wrong("is not a URL"))?;
            if !matches!(next.scheme(), "http" | "https") {
                return Err(wrong("is not an HTTP URL"));
            }
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(wrong("would send the token unencrypted"));
            }
            if self.token.is_some() && self.token_for(&next).is_none() {
                return Err(wrong(
                    "is another address; if it is your cluster's leader, save a token for it with dopq login",
                ));
            }
            url = next;
        }
        Err(Error::Redirect {
            from: self.url(),
            to: url.to_string(),
            why: "redirects in a circle",
        })
    }

    /// The token for a URL: the master's own at the master's scheme, host and port, and elsewhere only one that was
    /// saved for there.
    fn token_for(&self, url: &Url) -> Option<&HeaderValue> {
        if url.origin() == self.base.origin() {
            self.token.as_ref()
        } else {
            self.others.get(&url.origin().ascii_serialization())
        }
    }

    fn target(&self, call: &Call) -> Url {
        let mut url = self.base.clone();
        // An http URL always has a path to extend.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("v1").extend(&call.segments);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        url
    }

    async fn once(&self, call: &Call, url: &Url) -> Result<Response, Error> {
        let size = match call.payload {
            _ if call.upgrades => Size::Session,
            Payload::None | Payload::Json(_) if !call.slow => Size::Small,
            Payload::None | Payload::Json(_) | Payload::Content { .. } => Size::Large,
        };
        let mut request = self
            .clients
            .get(url, size)?
            .request(call.method.clone(), url.clone())
            .headers(call.headers.clone());
        if let Some(token) = self.token_for(url) {
            request = request.header(AUTHORIZATION, token.clone());
        }
        let request = match &call.payload {
            Payload::None => request,
            Payload::Json(body) => request
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone()),
            Payload::Content {
                content,
                size_bytes,
                progress,
            } => request
                .header(CONTENT_TYPE, "application/zip")
                .header(CONTENT_LENGTH, *size_bytes)
                .body(body(content, progress)),
        };
        request.send().await.map_err(|source| {
            let sent = !source.is_connect() && !source.is_builder();
            self.unreachable(url.as_str(), sent, source)
        })
    }

    fn unreachable(&self, url: &str, sent: bool, source: reqwest::Error) -> Error {
        let asked = Url::parse(url).ok().and_then(|mut url| {
            url.set_query(None);
            url.set_path("");
            (url.origin() != self.base.origin()).then(|| origin_of(&url))
        });
        let named_by = match &asked {
            None => self.named_by.clone(),
            Some(_) => format!("{}, which names it as the leader", self.url()),
        };
        let url = asked.unwrap_or_else(|| self.url());
        if let Some(fault) = TlsFault::of(&source) {
            return Error::Tls { url, fault };
        }
        Error::Unreachable {
            named_by,
            url,
            sent,
            // The URL is already in the message.
            source: Cause(source.without_url()),
        }
    }
}

/// Whether the call may be sent again and may then succeed.
fn may_pass(error: &Error, repeatable: bool) -> bool {
    match error {
        Error::Unreachable { sent, .. } => repeatable || !sent,
        Error::Refused(body) => repeatable && body.code == ErrorCode::Unavailable,
        Error::Strange { temporary, .. } => repeatable && *temporary,
        Error::Tls { .. } | Error::Redirect { .. } | Error::SetUp(_) => false,
    }
}

/// Reads an answer that is not a success.
async fn refusal(response: Response) -> Error {
    let status = response.status();
    let url = response.url().to_string();
    let body = response.bytes().await.unwrap_or_default();
    if let Ok(answer) = serde_json::from_slice::<ErrorResponse>(&body) {
        return Error::Refused(Box::new(answer.error));
    }
    if status == StatusCode::UNAUTHORIZED {
        return Error::Refused(Box::new(ErrorBody {
            code: ErrorCode::Unauthorized,
            message: "you are not logged in".to_owned(),
            hint: "run: dopq login".to_owned(),
            faults: Vec::new(),
        }));
    }
    let text: String = String::from_utf8_lossy(&body).chars().take(120).collect();
    Error::Strange {
        url,
        detail: format!("{status} {}", clean(text.trim()))
            .trim_end()
            .to_owned(),
        temporary: matches!(
            status,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
        ),
    }
}

/// The content from its start, read on a blocking thread.
fn body(content: &Content, progress: &ProgressBar) -> Body {
    progress.set_position(0);
    let start = (content.reader(), progress.clone());
    Body::wrap_stream(stream::try_unfold(start, |(mut content, progress)| async {
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            let bound = u64::try_from(PIECE_BYTES).unwrap_or(u64::MAX);
            content.by_ref().take(bound).read_to_end(&mut piece)?;
            Ok::<_, io::Error>((piece, content))
        });
        let (piece, content) = read.await.map_err(io::Error::other)??;
        progress.inc(u64::try_from(piece.len()).unwrap_or(0));
        Ok::<_, io::Error>((!piece.is_empty()).then_some((piece, (content, progress))))
    }))
}
