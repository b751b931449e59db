//! Facts about a container from the engine's events, which inspection does not show.

use std::collections::HashMap;

use bollard::query_parameters::EventsOptions;
use dopq_common::time::Timestamp;
use futures::TryStreamExt;

use super::client::Client;
use super::error::Error;

/// All events that the engine keeps; 0 would mean none of the past.
const EVER: &str = "1";

impl Client {
    /// See [`Engine::oom_noted`](super::Engine::oom_noted).
    ///
    /// # Errors
    /// As there.
    pub async fn oom_noted(&self, id: &str, until: Timestamp) -> Result<bool, Error> {
        const CALL: &str = "events";
        let docker = self.docker(CALL).await?;
        let millis = until.as_millis();
        let wanted = |value: &str| vec![value.to_owned()];
        let options = EventsOptions {
            since: Some(EVER.to_owned()),
            until: Some(format!("{}.{:03}", millis / 1000, millis % 1000)),
            filters: Some(HashMap::from([
                ("event".to_owned(), wanted("oom")),
                ("container".to_owned(), wanted(id)),
            ])),
        };
        let mut events = docker.events(Some(options));
        Ok(self.call(CALL, events.try_next()).await?.is_some())
    }
}
