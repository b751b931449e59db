//! Runs ingest for as long as this master leads, and only then.

use dopq_common::chain::chain;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::bundles::Intake;
use crate::clock;
use crate::config::Ingest;
use crate::driver::Handle;
use crate::ingest;
use crate::leader::Standing;
use crate::metrics::{Board, Metrics, Part, PartState};

/// Before a place that cannot be opened is tried again.
const PAUSE: Duration = Duration::from_secs(10);

/// What ingest is given.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    pub(super) url: String,
    pub(super) settings: Ingest,
    pub(super) intake: Intake,
    pub(super) handle: Handle,
    pub(super) board: Board,
    pub(super) metrics: Metrics,
}

impl Watched {
    /// Runs until `shutdown`.
    pub(super) async fn run(
        self,
        mut stands: watch::Receiver<Standing>,
        shutdown: CancellationToken,
    ) {
        loop {
            let leads = stands.wait_for(|standing| *standing == Standing::Leads);
            let leads = tokio::select! {
                () = shutdown.cancelled() => return,
                leads = leads => leads.is_ok(),
            };
            if !leads {
                return;
            }
            let term = shutdown.child_token();
            let lost = async {
                // The sender's end is the end of leading as well.
                drop(
                    stands
                        .wait_for(|standing| *standing != Standing::Leads)
                        .await,
                );
                term.cancel();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = self.term(&term) => {}
                () = lost => {}
            }
            if !shutdown.is_cancelled() {
                let detail = "only the leader ingests";
                self.board
                    .set(clock::now(), Part::Ingest, PartState::Off, detail);
            }
        }
    }

    async fn term(&self, term: &CancellationToken) {
        while !term.is_cancelled() {
            let parts = ingest::Parts {
                intake: self.intake.clone(),
                submit: self.handle.clone(),
                board: self.board.clone(),
                metrics: self.metrics.clone(),
            };
            let watched = ingest::run(&self.url, &self.settings, parts, term.clone());
            let Err(error) = watched.await else {
                continue;
            };
            let error = chain(&error);
            tracing::warn!(error, "cannot open the share; trying again");
            self.board
                .set(clock::now(), Part::Ingest, PartState::Down, error);
            tokio::select! {
                () = term.cancelled() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}
