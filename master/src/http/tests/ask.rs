//! Asking a router and reading its answers, whole or event by event.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::Bytes;
use dopq_common::api::{ErrorBody, ErrorResponse};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tower::ServiceExt;

/// A request in the making.
#[derive(Default)]
pub(super) struct Ask {
    router: Router,
    verb: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    length: Option<Option<u64>>,
    peer: Option<SocketAddr>,
}

impl Ask {
    pub(super) fn new(router: Router, verb: &str, path: &str) -> Self {
        Self {
            router,
            verb: verb.to_owned(),
            path: path.to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn json(self, body: &serde_json::Value) -> Self {
        self.body(body.to_string())
    }

    pub(super) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Comes from this address.
    pub(super) fn peer(mut self, address: &str) -> Self {
        self.peer = Some(SocketAddr::new(address.parse().expect("address"), 1));
        self
    }

    /// Announces another length than the body has.
    pub(super) fn length(mut self, length: u64) -> Self {
        self.length = Some(Some(length));
        self
    }

    pub(super) fn without_length(mut self) -> Self {
        self.length = Some(None);
        self
    }

    async fn answer(self) -> axum::response::Response {
        let mut request = Request::builder()
            .method(self.verb.as_str())
            .uri(&self.path);
        let length = self.length.unwrap_or(Some(self.body.len() as u64));
        if let Some(length) = length {
            request = request.header(header::CONTENT_LENGTH, length);
        }
        for (name, value) in self.headers {
            request = request.header(name, value.into_bytes());
        }
        if let Some(peer) = self.peer {
            request = request.extension(ConnectInfo(peer));
        }
        let request = request.body(Body::from(self.body)).expect("request");
        match self.router.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    /// Sends it and reads the whole answer.
    pub(super) async fn send(self) -> Reply {
        let (parts, body) = self.answer().await.into_parts();
        Reply {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.expect("body").to_bytes(),
        }
    }

    /// Sends it and reads the answer event by event.
    pub(super) async fn open(self) -> Events {
        let (parts, body) = self.answer().await.into_parts();
        assert_eq!(parts.status, StatusCode::OK);
        Events {
            body,
            text: String::new(),
        }
    }
}

pub(super) struct Reply {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> T {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{error}: {} {}", self.status, self.text()),
        }
    }

    pub(super) fn error(&self) -> ErrorBody {
        let body: ErrorResponse = self.json();
        assert!(self.status.is_client_error() || self.status.is_server_error());
        body.error
    }

    pub(super) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).map(|value| value.to_str());
        value.unwrap_or(Ok("")).expect("text")
    }

    pub(super) fn events(&self) -> Vec<Sse> {
        let text = self.text();
        text.split("\n\n").filter_map(Sse::read).collect()
    }
}

/// A server-sent event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sse {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) data: String,
}

impl Sse {
    /// Reads an event's lines; `None` for comments and nothing.
    fn read(lines: &str) -> Option<Self> {
        let field = |name: &str| {
            let mut lines = lines.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value.unwrap_or_default().to_owned()
        };
        let event = Self {
            name: field("event"),
            id: field("id"),
            data: field("data"),
        };
        (!event.name.is_empty()).then_some(event)
    }
}

/// An answer that is read event by event.
pub(super) struct Events {
    body: Body,
    text: String,
}

impl Events {
    pub(super) async fn event(&mut self) -> Sse {
        self.try_event().await.expect("an event")
    }

    /// The next event; `None` at the end.
    pub(super) async fn try_event(&mut self) -> Option<Sse> {
        loop {
            if let Some((lines, rest)) = self.text.split_once("\n\n") {
                let event = Sse::read(lines);
                self.text = rest.to_owned();
                if event.is_some() {
                    return event;
                }
                continue;
            }
            let frame = self.body.frame().await?.expect("frame");
            let data = frame.into_data().expect("data");
            self.text += std::str::from_utf8(&data).expect("text");
        }
    }
}
