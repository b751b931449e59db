//! Holds the lead by a lease in the store, or stands by.
//!
//! A lease is believed for its whole time from the moment before it was asked for, by the monotonic
//! clock, and not a moment longer: a master that cannot have it confirmed stops leading by itself. That
//! nothing old is written even so is the store's fence. What a leader does is [`crate::driver`]'s.

use dopq_common::chain::chain;
use std::time::Duration;

use dopq_common::id::Epoch;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::driver::{self, ActError, Ended, Inputs, Parts};
use crate::metrics::{Part, PartState};
use crate::store::{Error, LeaderInfo, Store};

/// How to hold the lead.
#[derive(Debug, Clone)]
pub struct Options {
    /// This master, as others find it.
    pub me: LeaderInfo,
    /// How long a lease lasts; renewed three times in that time.
    pub ttl: Duration,
    /// How often a standby looks for a free lead and for what was committed.
    pub poll: Duration,
}

/// Where this master stands, for those that wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The store has not answered yet.
    Unknown,
    /// It leads.
    Leads,
    /// Another leads.
    StandsBy,
}

/// Leads whenever it can and stands by otherwise, until `shutdown`; tells its standing to `standing`.
pub async fn run(
    options: Options,
    parts: Parts,
    mut inputs: Inputs,
    standing: watch::Sender<Standing>,
    shutdown: CancellationToken,
) {
    let mut pause = tokio::time::interval(options.poll);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut standby = Standby::new(&options.me, &parts);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = inputs.refuse_with(|| standby.refusal()) => continue,
            _ = pause.tick() => {}
        }
        let asked_at = Instant::now();
        let taken = tokio::select! {
            () = shutdown.cancelled() => return,
            () = inputs.refuse_with(|| standby.refusal()) => continue,
            taken = parts.store.take_lead(&options.me, options.ttl) => taken,
        };
        match taken {
            Ok(Some(epoch)) => {
                standby.fault = None;
                let term = Term {
                    options: &options,
                    parts: &parts,
                    epoch,
                    asked_at,
                };
                let ended = term.serve(&mut inputs, &standing, &shutdown).await;
                standing.send_replace(Standing::StandsBy);
                if ended == Some(Ended::Shutdown) {
                    return;
                }
            }
            Ok(None) => {
                if standby.refresh().await {
                    standing.send_replace(Standing::StandsBy);
                }
            }
            Err(error) => standby.failed(&error),
        }
    }
}

/// One leadership.
struct Term<'a> {
    options: &'a Options,
    parts: &'a Parts,
    epoch: Epoch,
    asked_at: Instant,
}

impl Term<'_> {
    /// Leads until it ends; `None` when the state could not be loaded.
    async fn serve(
        &self,
        inputs: &mut Inputs,
        standing: &watch::Sender<Standing>,
        shutdown: &CancellationToken,
    ) -> Option<Ended> {
        let lost = CancellationToken::new();
        let serving = async {
            let loaded = tokio::select! {
                () = shutdown.cancelled() => return Some(Ended::Shutdown),
                () = lost.cancelled() => return Some(Ended::LeaseLost),
                loaded = self.parts.store.load() => loaded,
            };
            match loaded {
                Ok(loaded) => {
                    tracing::info!(epoch = %self.epoch, seq = loaded.seq, "leading");
                    self.note(PartState::Up, format!("leads, epoch {}", self.epoch));
                    self.note_store(PartState::Up, self.parts.store.name().to_owned());
                    // Shown before it is told, so that whoever was told sees what was committed.
                    self.parts.handle.view().lead(loaded, self.epoch);
                    standing.send_replace(Standing::Leads);
                    Some(Box::pin(driver::lead(self.parts, inputs, &lost, shutdown)).await)
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::error!(error, "the state cannot be loaded");
                    self.note_store(PartState::Down, error);
                    None
                }
            }
        };
        let keeping = async {
            self.keep(&lost).await;
            lost.cancel();
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = serving => ended,
            () = keeping => None,
        };
        if let Some(ended) = &ended {
            tracing::info!(epoch = %self.epoch, why = %ended, "no longer leading");
        }
        self.note(PartState::Degraded, "wants to lead".to_owned());
        self.parts.handle.view().stand_by(None);
        self.release().await;
        ended
    }

    /// Renews the lease for as long as that is confirmed in time.
    async fn keep(&self, lost: &CancellationToken) {
        let Options { me, ttl, .. } = self.options;
        let mut confirmed_at = self.asked_at;
        let mut next = self.asked_at + *ttl / 3;
        while !lost.is_cancelled() {
            let deadline = confirmed_at + *ttl;
            let asked = async {
                tokio::time::sleep_until(next).await;
                let asked_at = Instant::now();
                let renewed = self.parts.store.renew_lead(me, self.epoch, *ttl).await;
                (asked_at, renewed)
            };
            match tokio::time::timeout_at(deadline, asked).await {
                Ok((asked_at, Ok(true))) => {
                    confirmed_at = asked_at;
                    next = asked_at + *ttl / 3;
                }
                Ok((_, Ok(false))) => return,
                Ok((_, Err(error))) => {
                    tracing::debug!(%error, "failed to renew the lease");
                    next = Instant::now() + *ttl / 10;
                }
                Err(_) => return,
            }
        }
    }

    async fn release(&self) {
        let released = self.parts.store.release_lead(&self.options.me, self.epoch);
        match tokio::time::timeout(self.options.ttl, released).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "the lead was not released; it ends by itself")
            }
            Err(_) => tracing::debug!("the store was slow to release the lead; it ends by itself"),
        }
    }

    fn note_store(&self, state: PartState, detail: String) {
        self.parts
            .board
            .set(clock::now(), Part::Store, state, detail);
    }

    fn note(&self, state: PartState, detail: String) {
        self.parts
            .board
            .set(clock::now(), Part::Leader, state, detail);
    }
}

/// What a master does that does not lead.
struct Standby<'a> {
    me: &'a LeaderInfo,
    parts: &'a Parts,
    store: &'a Store,
    leader_url: Option<String>,
    fault: Option<String>,
    loaded: bool,
}

impl<'a> Standby<'a> {
    const fn new(me: &'a LeaderInfo, parts: &'a Parts) -> Self {
        Self {
            me,
            parts,
            store: &parts.store,
            leader_url: None,
            fault: None,
            loaded: false,
        }
    }

    /// What those are told who want something done.
    fn refusal(&self) -> ActError {
        match &self.fault {
            Some(fault) => ActError::Unavailable(fault.clone()),
            None => ActError::NotLeader {
                leader_url: self.leader_url.clone(),
            },
        }
    }

    /// Learns who leads and what was committed; true when it could.
    async fn refresh(&mut self) -> bool {
        match self.follow().await {
            Ok(()) => {
                if self.fault.take().is_some() {
                    tracing::info!("the store answers again");
                }
                let view = self.parts.handle.view();
                view.set_store_fault(None);
                view.stand_by(self.leader_url.clone());
                let at = clock::now();
                let standing = match &self.leader_url {
                    Some(url) => format!("stands by; {url} leads"),
                    None => "stands by; waits for the last leader's lease to end".to_owned(),
                };
                let board = &self.parts.board;
                board.set(at, Part::Leader, PartState::Up, standing);
                board.set(at, Part::Store, PartState::Up, self.store.name());
                true
            }
            Err(error) => {
                self.failed(&error);
                false
            }
        }
    }

    async fn follow(&mut self) -> Result<(), Error> {
        let leader = self.store.leader().await?.map(|leader| leader.url);
        // A lease with this master's own URL is left over from its last run: nobody leads there until it ends.
        self.leader_url = leader.filter(|url| *url != self.me.url);
        let view = self.parts.handle.view();
        let shown = view.read(|model| model.seq);
        if self.loaded {
            let seq = self.store.seq().await?;
            if seq == shown {
                return Ok(());
            }
            // A store that is behind what is shown has lost something: then only all of it is true.
            if seq > shown
                && let Some(since) = self.store.load_since(shown).await?
            {
                view.follow(since);
                return Ok(());
            }
        }
        view.reload(self.store.load().await?);
        self.loaded = true;
        Ok(())
    }

    fn failed(&mut self, error: &Error) {
        let fault = chain(error);
        if self.fault.is_none() {
            tracing::warn!(error = fault, "waiting for the store");
        }
        let board = &self.parts.board;
        board.set(clock::now(), Part::Store, PartState::Down, fault.clone());
        self.parts
            .handle
            .view()
            .set_store_fault(Some(fault.clone()));
        self.fault = Some(fault);
    }
}
