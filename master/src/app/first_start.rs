//! The first start of a cluster: an administrator's account, so that nobody is ever let in without one.

use dopq_common::chain::chain;
use std::sync::Arc;

use dopq_common::id::UserName;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::data_dir::DataDir;
use super::error::{Error, FirstStartError};
use crate::accounts;
use crate::clock;
use crate::driver::{ActError, Handle};
use crate::leader::Standing;
use crate::store::{AccountChange, AuditEntry};

/// Where the admin's first token is written, in the data folder.
pub(super) const TOKEN_FILE: &str = "admin.token";

/// The first administrator's name.
const ADMIN: &str = "admin";

/// Waits until it is known whether this master leads; makes the first account when it does and there is
/// none.
pub(super) async fn prepare(
    handle: &Handle,
    data_dir: &DataDir,
    standing: &mut watch::Receiver<Standing>,
) -> Result<(), Error> {
    // The sender lives as long as the leader's task, which outlives this call.
    let known = standing
        .wait_for(|standing| *standing != Standing::Unknown)
        .await
        .map_or(Standing::StandsBy, |standing| *standing);
    match known {
        Standing::Leads => make_admin(handle, data_dir).await,
        Standing::StandsBy | Standing::Unknown => Ok(()),
    }
}

/// Makes the first account whenever this master takes the lead and there still is none, because the
/// former leader died before it could.
pub(super) async fn stand_by(
    handle: Handle,
    data_dir: Arc<DataDir>,
    mut stands: watch::Receiver<Standing>,
    shutdown: CancellationToken,
) {
    loop {
        let changed = tokio::select! {
            () = shutdown.cancelled() => return,
            changed = stands.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
        let leads = *stands.borrow_and_update() == Standing::Leads;
        if leads && let Err(error) = make_admin(&handle, &data_dir).await {
            tracing::error!(error = chain(&error), "failed to create the first account");
        }
    }
}

async fn make_admin(handle: &Handle, data_dir: &DataDir) -> Result<(), Error> {
    if handle.view().read(|model| !model.accounts.is_empty()) {
        return Ok(());
    }
    let Ok(name) = ADMIN.parse::<UserName>() else {
        return Ok(());
    };
    let now = clock::now();
    let (secret, account) = accounts::first_admin(name, now)
        .map_err(|error| Error::FirstStart(FirstStartError::Random(error)))?;
    // The file first: a crash between the two leaves a token that opens nothing and is replaced at the
    // next start, rather than an account that nobody can use.
    let path = data_dir.write_private(TOKEN_FILE, secret.reveal())?;
    let audit = AuditEntry {
        at: now,
        by: "first start".to_owned(),
        action: "user.add".to_owned(),
        target: ADMIN.to_owned(),
        detail: "no account existed".to_owned(),
        ..AuditEntry::default()
    };
    match handle
        .change_account(AccountChange::Set(account), audit)
        .await
    {
        Ok(()) => {
            tracing::info!(path = %path.display(), "wrote the admin's token");
            Ok(())
        }
        // Another master took the lead meanwhile; it makes the account.
        Err(ActError::NotLeader { .. }) => Ok(()),
        Err(error) => Err(Error::FirstStart(FirstStartError::Commit(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::tests::cluster::Cluster;

    #[tokio::test]
    async fn the_first_account_is_made_once() {
        let cluster = Cluster::new().await;
        let dir = tempfile::tempdir().expect("temporary folder");
        let data_dir = DataDir::open(dir.path()).expect("opens");
        let token = || std::fs::read_to_string(dir.path().join(TOKEN_FILE)).expect("written");
        let mut tokens = Vec::new();
        for _ in 0..2 {
            let mut master = cluster.start("a");
            let prepared = prepare(&master.handle, &data_dir, &mut master.stands).await;
            prepared.expect("prepared");
            let accounts = master.handle.view().read(|model| model.accounts.clone());
            let presented = token();
            let who = accounts::identify(&accounts, presented.trim(), clock::now());
            assert!(matches!(who, accounts::Identified::As { .. }), "{who:?}");
            tokens.push(presented);
            master.stop().await;
        }
        assert_eq!(tokens.first(), tokens.last());
    }
}
