//! Sessions in running containers: a request that becomes a WebSocket.
//!
//! The request goes the way of every call, with its TLS, proxies, redirects and errors. Only then the connection is
//! another protocol.

use dopq_common::id::JobName;
use reqwest::header::{CONNECTION, UPGRADE};
use reqwest::{Method, StatusCode, Upgraded};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::call::{Call, Client};
use super::error::{Cause, Error};

/// A session's connection.
pub(crate) type Socket = WebSocketStream<Upgraded>;

impl Client {
    /// `GET /v1/jobs/{id}/exec` as a WebSocket.
    pub(crate) async fn exec(&self, id: JobName) -> Result<Socket, Error> {
        self.session(Call::new(Method::GET, &["jobs", &id.to_string(), "exec"]))
            .await
    }

    /// `GET /v1/jobs/{id}/forward` as a WebSocket.
    pub(crate) async fn forward(&self, id: JobName, port: u16) -> Result<Socket, Error> {
        let call = Call::new(Method::GET, &["jobs", &id.to_string(), "forward"]);
        self.session(call.query("port", port.to_string())).await
    }

    async fn session(&self, call: Call) -> Result<Socket, Error> {
        let key = generate_key();
        let call = call
            .header(CONNECTION.as_str(), "Upgrade")
            .header(UPGRADE.as_str(), "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", &key)
            .upgrading();
        let response = self.send(&call).await?;
        let url = response.url().to_string();
        let accepted = response.headers().get("sec-websocket-accept");
        let is_ours = accepted.is_some_and(|accepted| {
            accepted.as_bytes() == derive_accept_key(key.as_bytes()).as_bytes()
        });
        if response.status() != StatusCode::SWITCHING_PROTOCOLS || !is_ours {
            return Err(Error::Strange {
                url,
                detail: "it opens no session; a proxy between may not pass WebSockets on"
                    .to_owned(),
                temporary: false,
            });
        }
        let upgraded = response
            .upgrade()
            .await
            .map_err(|source| Error::Unreachable {
                url: self.url(),
                named_by: "the request for a session".to_owned(),
                sent: true,
                source: Cause(source.without_url()),
            })?;
        Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await)
    }
}
