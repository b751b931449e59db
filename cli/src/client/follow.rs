//! A job's log as one stream: reconnects with `Last-Event-ID` after a break, and returns every piece once.

use dopq_common::api::{ErrorCode, ErrorResponse, Job, LogEnd, LogEvent};
use dopq_common::id::JobName;

use super::call::Client;
use super::error::Error;
use super::events::Events;
use super::filters::LogQuery;
use super::retry::stream_pauses;

/// What comes next.
#[derive(Debug)]
pub(crate) enum Followed {
    /// A piece of the log.
    Piece(Box<LogEvent>),
    /// The end, with the job as it was then.
    End(Box<Job>),
}

/// Follows one job's log.
#[derive(Debug)]
pub(crate) struct LogFollower {
    client: Client,
    job: JobName,
    query: LogQuery,
    /// The end of the last piece: attempt and offset.
    reached: Option<(u32, u64)>,
    events: Option<Events>,
}

impl LogFollower {
    /// Starts where the query says.
    pub(crate) const fn new(client: Client, job: JobName, query: LogQuery) -> Self {
        Self {
            client,
            job,
            query,
            reached: None,
            events: None,
        }
    }

    /// The next piece, or the end.
    ///
    /// # Errors
    ///
    /// Those that persist for minutes.
    pub(crate) async fn next(&mut self) -> Result<Followed, Error> {
        let mut pauses = stream_pauses();
        let mut pause = None;
        loop {
            let mut events = match self.events.take() {
                Some(events) => events,
                None => {
                    if let Some(pause) = pause.take() {
                        tokio::time::sleep(pause).await;
                    }
                    self.client
                        .open_log(self.job, &self.query, self.reached)
                        .await?
                }
            };
            let event = match events.next().await {
                Ok(event) => event,
                Err(broken) => {
                    self.client.output().note(&format!(
                        "the log stream of job {} broke ({broken}); reconnecting",
                        self.job
                    ));
                    pause = pauses.next();
                    if pause.is_none() {
                        return Err(
                            self.strange(format!("its log stream keeps breaking: {broken}"))
                        );
                    }
                    continue;
                }
            };
            self.events = Some(events);
            if event.name != "error" {
                pauses = stream_pauses();
            }
            match event.name.as_str() {
                "log" => {
                    let piece: LogEvent = self.parse(&event.data)?;
                    let end = (piece.attempt, piece.next);
                    if piece.next == 0 {
                        // The master's note on a gap in the log has no offset.
                        return Ok(Followed::Piece(Box::new(piece)));
                    }
                    // The master may repeat pieces after a break.
                    if self.reached.is_none_or(|reached| end > reached) {
                        self.reached = Some(end);
                        return Ok(Followed::Piece(Box::new(piece)));
                    }
                }
                "end" => {
                    let end: LogEnd = self.parse(&event.data)?;
                    return Ok(Followed::End(Box::new(end.job)));
                }
                "error" => {
                    let answer: ErrorResponse = self.parse(&event.data)?;
                    if answer.error.code != ErrorCode::Unavailable {
                        return Err(Error::Refused(Box::new(answer.error)));
                    }
                    self.events = None;
                    pause = pauses.next();
                    if pause.is_none() {
                        return Err(Error::Refused(Box::new(answer.error)));
                    }
                }
                // Events of later versions.
                _ => {}
            }
        }
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, data: &str) -> Result<T, Error> {
        serde_json::from_str(data).map_err(|error| {
            self.strange(format!("cannot read an event of the log stream: {error}"))
        })
    }

    fn strange(&self, detail: String) -> Error {
        Error::Strange {
            url: self.client.url(),
            detail,
            temporary: false,
        }
    }
}
