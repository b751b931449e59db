//! Network namespaces that containers join.

use super::{Fake, Program};
use crate::docker::error::Error;
use crate::docker::namespace::{NetworkFiles, Traces, holder_image};

impl Fake {
    /// See [`Engine::add_holder_image`](crate::docker::Engine::add_holder_image).
    ///
    /// # Errors
    /// As there.
    pub async fn add_holder_image(&self) -> Result<(), Error> {
        self.call("import image", "", |_| Ok(())).await?;
        self.script(&holder_image(), Program::new().runs_on());
        self.put_image(&holder_image(), [].into()).map(drop)
    }

    /// See [`Engine::network_files`](crate::docker::Engine::network_files).
    ///
    /// # Errors
    /// As there.
    pub async fn network_files(&self, id: &str) -> Result<NetworkFiles, Error> {
        self.call("read /etc", id, |state| {
            let name = state.find(id)?.seen.name.clone();
            Ok(["127.0.0.1 localhost".into(), name.into(), "".into()])
        })
        .await
    }

    /// See [`Engine::traces`](crate::docker::Engine::traces).
    #[must_use]
    pub fn traces(&self, name: &str) -> Option<Traces> {
        let mut state = self.shared.state.lock();
        let traces = state.traces.get(name).copied().unwrap_or_default();
        let is_hidden = state.hides_traces;
        let found = state.find(name).ok()?;
        (found.seen.status.is_alive() && !is_hidden).then_some(traces)
    }

    /// Lets nobody look into namespaces.
    pub fn hide_namespaces(&self) {
        self.shared.state.lock().hides_traces = true;
    }

    /// Has a job leave traces in the namespace of the container `name`.
    pub fn leave_traces(&self, name: &str, traces: Traces) {
        self.shared
            .state
            .lock()
            .traces
            .insert(name.to_owned(), traces);
    }
}
