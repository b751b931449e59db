//! A job's log: as a download, and as a stream that follows it.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dopq_common::api::{self, ErrorCode};
use dopq_common::id::JobId;
use dopq_common::wire::log::Source;
use futures::Stream;
use futures::stream::unfold;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::http::app::Ctx;
use crate::http::error::{Error, Result};
use crate::http::extract::{Named, Params};
use crate::http::routes::jobs::shown;
use crate::http::routes::own_output;
use crate::logs::{self, Item, LastLines, Place, Reader, Want};

/// Proxies close connections on which nothing passes for about a minute.
pub(in crate::http) const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// More lines than that are read with a download.
const TAIL_MAX_LINES: usize = 100_000;

/// `GET /v1/jobs/{id}/logs`: its query string.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct DownloadQuery {
    attempt: Option<u32>,
    /// Sources, with commas between; all of them when absent.
    source: Option<String>,
}

/// What was printed, byte for byte, as far as it is stored.
pub(in crate::http) async fn download(
    State(context): State<Ctx>,
    Named(job): Named,
    Params(query): Params<DownloadQuery>,
) -> Result<Response> {
    let sources = query.source.as_deref().map(sources).transpose()?;
    own_output(&context, job, "a log")?;
    let reader = Reader::new(
        context.log_sources(),
        Want {
            job,
            attempt: attempt(query.attempt)?,
            follow: false,
            from: None,
        },
    );
    let stream = unfold(reader, move |mut reader| {
        let sources = sources.clone();
        async move {
            loop {
                match reader.next().await {
                    Ok(Some(Item::Entry { entry, .. })) => {
                        if sources.as_ref().is_none_or(|s| s.contains(&entry.source)) {
                            return Some((Ok::<_, logs::Error>(entry.payload), reader));
                        }
                    }
                    Ok(Some(Item::Missing { attempt, bytes })) => {
                        return Some((Ok(Bytes::from(missing(attempt, bytes))), reader));
                    }
                    Ok(None) => return None,
                    // The answer has begun, so all that can be done is to break it off.
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, job.id = %job, "a log download was interrupted");
                        return Some((Err(error), reader));
                    }
                }
            }
        }
    });
    let mut response = Body::from_stream(stream).into_response();
    let headers = response.headers_mut();
    // Not `charset=utf-8`: containers print what they like.
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    let name = format!("attachment; filename=\"dopq-{job}.log\"");
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// `GET /v1/jobs/{id}/logs/stream`: its query string.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct StreamQuery {
    attempt: Option<u32>,
    #[serde(default)]
    follow: bool,
    /// A place, as in an event's id.
    from: Option<String>,
    /// Only so many last lines of what is stored.
    tail: Option<usize>,
}

/// Each frame of the log as an event; with `follow`, until the job has finished.
pub(in crate::http) async fn stream(
    State(context): State<Ctx>,
    Named(job): Named,
    headers: HeaderMap,
    Params(query): Params<StreamQuery>,
) -> Result<impl IntoResponse> {
    let attempt = attempt(query.attempt)?;
    own_output(&context, job, "a log")?;
    // A client that reconnects repeats its query; where it got to is the newer truth.
    let resumed = headers
        .get("last-event-id")
        .map(|id| id.to_str().unwrap_or("?"));
    let from: Option<Place> = match resumed.or(query.from.as_deref()) {
        Some(text) => Some(text.parse().map_err(|error: logs::ParsePlaceError| {
            Error::new(ErrorCode::BadRequest, error.to_string())
        })?),
        None => None,
    };
    if let (Some(attempt), Some(from)) = (attempt, from)
        && from.attempt != attempt
    {
        let message = format!("position {from} is outside attempt {attempt}");
        return Err(Error::new(ErrorCode::BadRequest, message));
    }
    let mut want = Want {
        job,
        attempt,
        follow: query.follow,
        from,
    };
    let mut skip_lines = 0;
    if let (Some(lines), None) = (query.tail, from) {
        let lines = lines.min(TAIL_MAX_LINES);
        let last = LastLines::find(context.log_sources(), want, lines).await;
        let last = last.map_err(|error| told(&error))?;
        (want.from, skip_lines) = (last.from, last.skip_lines);
    }
    let events = Events {
        reader: Reader::new(context.log_sources(), want),
        shutdown: context.app.shutdown.clone(),
        context,
        job,
        skip_lines,
        done: false,
    };
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(events.into_stream()).keep_alive(keep_alive))
}

/// What a stream of log events goes through.
struct Events {
    context: Ctx,
    reader: Reader,
    shutdown: CancellationToken,
    job: JobId,
    skip_lines: u64,
    done: bool,
}

impl Events {
    fn into_stream(self) -> impl Stream<Item = std::result::Result<Event, Infallible>> {
        unfold(self, |mut events| async move {
            let event = events.next().await?;
            Some((Ok(event), events))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        if self.done {
            return None;
        }
        let item = tokio::select! {
            item = self.reader.next() => item,
            // No `end`: the client comes back to another master, and goes on.
            () = self.shutdown.cancelled() => return None,
        };
        match item {
            Ok(Some(Item::Entry { attempt, entry })) => {
                let place = Place {
                    attempt,
                    offset: entry.next,
                };
                let payload = logs::without_lines(entry.payload, &mut self.skip_lines);
                let data = api::LogEvent {
                    attempt,
                    next: entry.next,
                    source: entry.source.as_str().to_owned(),
                    at: entry.at.to_datetime(),
                    data: STANDARD.encode(payload),
                };
                Some(event("log", &data).id(place.to_string()))
            }
            Ok(Some(Item::Missing { attempt, bytes })) => {
                let data = api::LogEvent {
                    attempt,
                    next: 0,
                    source: Source::Dopq.as_str().to_owned(),
                    at: crate::clock::now().to_datetime(),
                    data: STANDARD.encode(missing(attempt, bytes)),
                };
                Some(event("log", &data))
            }
            Ok(None) => {
                self.done = true;
                match shown(&self.context, self.job) {
                    Ok(job) => Some(event("end", &api::LogEnd { job })),
                    Err(error) => Some(event("error", &error.into_body())),
                }
            }
            Err(logs::Error::Stopping) => None,
            Err(error) => {
                self.done = true;
                Some(event("error", &told(&error).into_body()))
            }
        }
    }
}

/// Why a log cannot be read. A reader may come again while the store is away, and need not when the log
/// itself is broken.
fn told(error: &logs::Error) -> Error {
    match error {
        logs::Error::Store(_) | logs::Error::Stopping => {
            Error::unavailable("cannot read the log now", error)
        }
        logs::Error::Damaged { .. } => Error::internal("cannot read the log from there", error),
    }
}

/// An event with JSON data; what cannot be written, which no type of the API can be, becomes a comment.
pub(in crate::http) fn event<T: serde::Serialize>(name: &str, data: &T) -> Event {
    match serde_json::to_string(data) {
        Ok(data) => Event::default().event(name).data(data),
        Err(error) => {
            tracing::error!(%error, "failed to encode an event");
            Event::default().comment("unwritable")
        }
    }
}

fn missing(attempt: u32, bytes: u64) -> String {
    format!("\n[dopq: {bytes} bytes of attempt {attempt}'s log are missing from the store]\n")
}

fn attempt(attempt: Option<u32>) -> Result<Option<u32>> {
    match attempt {
        Some(0) => Err(Error::new(
            ErrorCode::BadRequest,
            "attempt numbers start at 1",
        )),
        Some(_) | None => Ok(attempt),
    }
}

fn sources(text: &str) -> Result<Vec<Source>> {
    let all = [Source::Dopq, Source::Build, Source::Stdout, Source::Stderr];
    let words = text.split(',').map(str::trim);
    let sources = words.map(|word| {
        let source = all.into_iter().find(|source| source.as_str() == word);
        source.ok_or_else(|| {
            Error::new(ErrorCode::BadRequest, format!("{word:?} is not a source"))
                .hint("sources are dopq, build, stdout and stderr")
        })
    });
    sources.collect()
}
