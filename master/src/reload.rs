//! Reloads the settings while the master runs: at SIGHUP and when an admin asks for it.

use std::fmt;

use dopq_common::sched::Event;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::{Difference, Source};
use crate::driver::{ActError, Handle};
use crate::store::AuditEntry;

/// Why nothing was reloaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration has mistakes; the settings in force stay.
    #[error(transparent)]
    Mistakes(#[from] dopq_common::settings::Mistakes),
    /// The scheduler did not take its settings.
    #[error("the scheduler did not take its settings")]
    Act(#[source] ActError),
}

/// What a reload did.
#[derive(Debug)]
pub struct Reloaded {
    /// All settings that differ from those that were in force.
    pub differences: Vec<Difference>,
    /// Whether its line is in the audit log.
    pub is_audited: bool,
}

/// Reloads; clones share the settings in force.
#[derive(Debug, Clone)]
pub struct Reloader {
    source: Source,
    handle: Handle,
}

impl Reloader {
    /// Reloads from `source` and tells the scheduler behind `handle`.
    #[must_use]
    pub const fn new(source: Source, handle: Handle) -> Self {
        Self { source, handle }
    }

    /// One of a standalone master whose settings nobody changes.
    #[cfg(test)]
    pub(crate) fn of_defaults(handle: Handle) -> Self {
        let args = crate::config::Args {
            standalone: true,
            config: Some("/dev/null".into()),
            ..crate::config::Args::default()
        };
        let (config, _) = crate::config::read(&args, []).expect("the defaults are right");
        Self::new(Source::new(args, &config), handle)
    }

    /// Reads the settings anew and applies those that need no restart. `line` is for the audit log; it is committed with
    /// what is applied.
    ///
    /// # Errors
    /// [`Error`]. With mistakes nothing was changed.
    pub async fn reload(&self, line: AuditEntry) -> Result<Reloaded, Error> {
        let (config, differences) = self.source.reload(std::env::vars())?;
        let applied: Vec<&str> = differences
            .iter()
            .filter(|difference| difference.applies)
            .map(|difference| difference.changed.name.as_str())
            .collect();
        tracing::info!(by = line.by, "{}", Told(&differences));
        let mut is_audited = false;
        if !applied.is_empty() {
            let scheduler = config.settings.scheduler;
            // A standby has them once it leads.
            self.handle.view().set_settings(scheduler.clone());
            let detail = applied.join(", ");
            let event = Event::SettingsChanged {
                settings: Box::new(scheduler),
            };
            match self.handle.act(event, AuditEntry { detail, ..line }).await {
                Ok(()) => is_audited = true,
                Err(ActError::NotLeader { .. }) => {}
                Err(error) => return Err(Error::Act(error)),
            }
        }
        Ok(Reloaded {
            differences,
            is_audited,
        })
    }

    /// Reloads at each SIGHUP until `shutdown`.
    pub(crate) async fn at_signals(self, shutdown: CancellationToken) {
        let mut hung_up = match signal(SignalKind::hangup()) {
            Ok(signals) => signals,
            Err(error) => {
                tracing::warn!(%error, "cannot handle SIGHUP; reload with: dopq reload");
                return;
            }
        };
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = hung_up.recv() => {}
            }
            let line = AuditEntry {
                at: clock::now(),
                by: "SIGHUP".to_owned(),
                action: "reload".to_owned(),
                target: "settings".to_owned(),
                ..AuditEntry::default()
            };
            if let Err(error) = self.reload(line).await {
                let error = dopq_common::chain::chain(&error);
                tracing::error!(error, "reloaded nothing");
            }
        }
    }
}

/// What a reload did, in one line.
struct Told<'a>(&'a [Difference]);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("reloaded the settings")?;
        if self.0.is_empty() {
            return f.write_str("; none changed");
        }
        for Difference { changed, applies } in self.0 {
            let effect = if *applies { "" } else { " (needs a restart)" };
            write!(
                f,
                "; {}: {} -> {}{effect}",
                changed.name,
                shown(&changed.before),
                shown(&changed.now)
            )?;
        }
        Ok(())
    }
}

fn shown(value: &str) -> &str {
    if value.is_empty() { "not set" } else { value }
}
