//! What `dopq doctor` asks for.

use chrono::{DateTime, Utc};
use dopq_common::api::{Doctor, Status};
use reqwest::header::DATE;
use reqwest::tls::TlsInfo;
use reqwest::{Method, Response};

use super::call::{Call, Client};
use super::error::Error;
use super::expiry::not_after;

/// What an answer tells beside its content.
#[derive(Debug)]
pub(crate) struct Probe {
    /// The content.
    pub(crate) status: Result<Status, Error>,
    /// The master's clock, in whole seconds.
    pub(crate) date: Option<DateTime<Utc>>,
    /// When its certificate ends, where there is one.
    pub(crate) certificate: Option<DateTime<Utc>>,
}

impl Client {
    /// `GET /v1/status`, and what its answer tells beside its content.
    pub(crate) async fn probe(&self) -> Probe {
        match self.send(&Call::new(Method::GET, &["status"])).await {
            Ok(response) => Probe {
                date: date(&response),
                certificate: certificate(&response),
                status: self.read(response).await,
            },
            Err(error) => Probe {
                status: Err(error),
                date: None,
                certificate: None,
            },
        }
    }

    /// `GET /v1/doctor`.
    pub(crate) async fn doctor(&self) -> Result<Doctor, Error> {
        self.fetch(&Call::new(Method::GET, &["doctor"])).await
    }
}

fn date(response: &Response) -> Option<DateTime<Utc>> {
    let text = response.headers().get(DATE)?.to_str().ok()?;
    let date = DateTime::parse_from_rfc2822(text).ok()?;
    Some(date.to_utc())
}

fn certificate(response: &Response) -> Option<DateTime<Utc>> {
    let info = response.extensions().get::<TlsInfo>()?;
    not_after(info.peer_certificate()?)
}
