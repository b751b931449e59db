//! When each token was last used: kept in memory, and written to the store once a minute by every master.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dopq_common::chain::chain;
use dopq_common::time::Timestamp;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::store::Store;

/// Between two writes.
const EVERY: Duration = Duration::from_secs(60);

/// When tokens were last used; cheap to clone.
#[derive(Debug, Clone)]
pub struct Uses {
    store: Store,
    /// What is not written yet, by the token's id. There are no more than tokens.
    unwritten: Arc<Mutex<BTreeMap<String, Timestamp>>>,
}

impl Uses {
    /// Those of the tokens in `store`. [`Self::run`] writes them.
    #[must_use]
    pub fn of(store: Store) -> Self {
        Self {
            store,
            unwritten: Arc::default(),
        }
    }

    /// The token is used now.
    pub fn note(&self, token: &str, now: Timestamp) {
        let mut unwritten = self.unwritten.lock();
        match unwritten.get_mut(token) {
            Some(at) => *at = now,
            None => drop(unwritten.insert(token.to_owned(), now)),
        }
    }

    /// When each of the tokens was last used. Without the store, since the last write.
    pub async fn last(&self, tokens: &[String]) -> Vec<Option<Timestamp>> {
        let stored = self.store.token_uses(tokens).await;
        let stored = stored.unwrap_or_else(|error| {
            let error = chain(&error);
            tracing::warn!(error, "the store does not tell when tokens were used");
            vec![None; tokens.len()]
        });
        let unwritten = self.unwritten.lock();
        let both = tokens.iter().zip(stored);
        both.map(|(token, at)| unwritten.get(token).copied().max(at))
            .collect()
    }

    /// The tokens are gone.
    pub async fn forget(&self, tokens: &[String]) {
        {
            let mut unwritten = self.unwritten.lock();
            for token in tokens {
                unwritten.remove(token);
            }
        }
        if !tokens.is_empty()
            && let Err(error) = self.store.forget_token_uses(tokens).await
        {
            let error = chain(&error);
            tracing::debug!(error, "the store keeps when revoked tokens were used");
        }
    }

    /// Writes once a minute until `stop`, and then once more.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let stopped = tokio::select! {
                () = stop.cancelled() => true,
                () = tokio::time::sleep(EVERY) => false,
            };
            self.write().await;
            if stopped {
                return;
            }
        }
    }

    async fn write(&self) {
        let uses: Vec<_> = std::mem::take(&mut *self.unwritten.lock())
            .into_iter()
            .collect();
        if uses.is_empty() {
            return;
        }
        if let Err(error) = self.store.note_token_uses(&uses).await {
            let error = chain(&error);
            tracing::debug!(error, "failed to store when tokens were used");
            let mut unwritten = self.unwritten.lock();
            for (token, at) in uses {
                unwritten.entry(token).or_insert(at);
            }
        }
    }
}
