//! The types that are committed and loaded.

use std::fmt;

use dopq_common::api::Role;
use dopq_common::id::{Epoch, JobId, UserName, WorkerId};
use dopq_common::sched::Change;
use dopq_common::secret::Secret;
use dopq_common::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One transaction, written completely or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The leadership that writes it.
    pub epoch: Epoch,
    /// One more than the last committed batch's. Committing the same batch again is harmless.
    pub seq: u64,
    /// The scheduler's changes.
    pub changes: Vec<Change>,
    /// Changes to accounts of users and keys of workers.
    pub accounts: Vec<AccountChange>,
    /// Ingested files, with their jobs.
    pub ingested: Vec<(IngestMark, JobId)>,
    /// Who did what.
    pub audit: Vec<AuditEntry>,
}

impl Batch {
    /// A batch without content.
    #[must_use]
    pub const fn new(epoch: Epoch, seq: u64) -> Self {
        Self {
            epoch,
            seq,
            changes: Vec::new(),
            accounts: Vec::new(),
            ingested: Vec::new(),
            audit: Vec::new(),
        }
    }
}

/// A user's account and credentials, stored as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Who.
    pub name: UserName,
    /// What they may do.
    pub role: Role,
    /// Their tokens.
    #[serde(default)]
    pub tokens: Vec<TokenRecord>,
    /// The Argon2id hash of their password, as a PHC string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Since when the account is disabled.
    #[serde(
        rename = "disabled_at_ms",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub disabled_at: Option<Timestamp>,
}

impl Account {
    /// An account without token and password.
    #[must_use]
    pub const fn new(name: UserName, role: Role) -> Self {
        Self {
            name,
            role,
            tokens: Vec::new(),
            password: None,
            disabled_at: None,
        }
    }

    /// Whether somebody can use it with this role at `now`.
    #[must_use]
    pub fn opens(&self, now: Timestamp) -> bool {
        let lives = |token: &TokenRecord| token.expires_at.is_none_or(|end| end > now);
        self.disabled_at.is_none() && (self.password.is_some() || self.tokens.iter().any(lives))
    }
}

/// A stored token. Does not contain the secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Its id, for revoking it.
    pub id: String,
    /// What it is for.
    #[serde(default)]
    pub label: String,
    /// BLAKE3 of the secret in hexadecimal.
    pub hash: String,
    /// When it was created.
    #[serde(rename = "created_at_ms")]
    pub created_at: Timestamp,
    /// When it expires.
    #[serde(
        rename = "expires_at_ms",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub expires_at: Option<Timestamp>,
    /// Whether a login with a password made it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_login: bool,
}

impl fmt::Debug for TokenRecord {
    /// Without the hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRecord")
            .field("id", &self.id)
            .field("label", &self.label)
            .field("created_at", &self.created_at)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// That a worker has a key of its own. The key is derived from this and the cluster's secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeKey {
    /// Whose.
    pub worker: WorkerId,
    /// Random; another salt is another key.
    pub salt: String,
    /// When it was made.
    #[serde(rename = "added_at_ms")]
    pub added_at: Timestamp,
    /// Who made it.
    pub added_by: UserName,
}

/// One change to the accounts of users or the keys of workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountChange {
    /// The account's new value.
    Set(Account),
    /// The account is gone, and its tokens with it.
    Removed(UserName),
    /// The worker has this key, and no earlier one.
    NodeSet(NodeKey),
    /// The worker has no key any more.
    NodeRemoved(WorkerId),
}

/// An ingested file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestMark {
    /// Identifies the file's content: path, size and etag.
    pub key: String,
}

/// One line of the audit log, stored as it is. Never contains a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When.
    #[serde(rename = "at_ms")]
    pub at: Timestamp,
    /// Who: a user's name, or the part of the system that acted.
    pub by: String,
    /// The action, such as `job.cancel`.
    pub action: String,
    /// Its object: a job's id, a worker's or user's name.
    #[serde(default)]
    pub target: String,
    /// Details.
    #[serde(default)]
    pub detail: String,
    /// The id of the token that was used; empty if none was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub token: String,
    /// What its owner calls the token.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub token_name: String,
    /// The address that the request came from; empty for a part of the system.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// Why it was not done, as an error's code; empty if it was done.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub refused: String,
    /// Whether a user without a role above it acted. Such lines are kept apart, so that no user can push out those of
    /// operators and admins.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_user: bool,
}

/// A master, as the others know it and the lease stores it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderInfo {
    /// Unique for each start of the master.
    pub id: String,
    /// The URL of its API.
    pub url: String,
}

/// The store's content.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The number of the last committed batch.
    pub seq: u64,
    /// The highest epoch that was given.
    pub epoch: Epoch,
    /// To be applied to an empty state.
    pub changes: Vec<Change>,
    /// Every account, by name.
    pub accounts: Vec<Account>,
    /// The key of every worker that has one of its own, by name.
    pub nodes: Vec<NodeKey>,
}

/// The changes since a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Delta {
    /// The number of the last committed batch.
    pub seq: u64,
    /// The highest epoch that was given.
    pub epoch: Epoch,
    /// To apply to the state of the earlier batch, in order.
    pub changes: Vec<Change>,
    /// Accounts and keys that changed or went away.
    pub accounts: Vec<AccountChange>,
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use serde::de::DeserializeOwned;

    use super::*;

    /// `value` is stored as `json`, and read back from it and from it with a field of a later version.
    fn stored<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, json: &str) {
        assert_eq!(serde_json::to_string(value).expect("JSON"), json);
        assert_eq!(&serde_json::from_str::<T>(json).expect(json), value);
        let later = json.replacen('{', r#"{"later":[1],"#, 1);
        assert_eq!(&serde_json::from_str::<T>(&later).expect(&later), value);
    }

    #[test]
    fn stored_forms_stay() {
        let token = |expires_at| TokenRecord {
            id: "t1".to_owned(),
            label: "laptop".to_owned(),
            hash: "ab".to_owned(),
            created_at: Timestamp::from_millis(5),
            expires_at,
            by_login: false,
        };
        let account = Account {
            tokens: vec![token(None), token(Some(Timestamp::from_millis(9)))],
            ..Account::new("anna".parse().expect("a name"), Role::User)
        };
        let tokens = concat!(
            r#""tokens":[{"id":"t1","label":"laptop","hash":"ab","created_at_ms":5},"#,
            r#"{"id":"t1","label":"laptop","hash":"ab","created_at_ms":5,"expires_at_ms":9}]}"#,
        );
        stored(
            &account,
            &format!(r#"{{"name":"anna","role":"user",{tokens}"#),
        );
        let closed = Account {
            tokens: Vec::new(),
            password: Some(Secret::from("$argon2id$x")),
            disabled_at: Some(Timestamp::from_millis(8)),
            ..account
        };
        stored(
            &closed,
            r#"{"name":"anna","role":"user","tokens":[],"password":"$argon2id$x","disabled_at_ms":8}"#,
        );
        assert!(!format!("{closed:?}").contains("argon2id"));
        let node = NodeKey {
            worker: "gpu-01".parse().expect("a name"),
            salt: "ab".to_owned(),
            added_at: Timestamp::from_millis(5),
            added_by: "root".parse().expect("a name"),
        };
        stored(
            &node,
            r#"{"worker":"gpu-01","salt":"ab","added_at_ms":5,"added_by":"root"}"#,
        );
        let line = AuditEntry {
            at: Timestamp::from_millis(7),
            by: "root".to_owned(),
            action: "job.cancel".to_owned(),
            target: "1423".to_owned(),
            ..AuditEntry::default()
        };
        let json = r#"{"at_ms":7,"by":"root","action":"job.cancel","target":"1423","detail":""}"#;
        stored(&line, json);
        let line = AuditEntry {
            token: "ab".to_owned(),
            token_name: "laptop".to_owned(),
            from: "192.0.2.1".to_owned(),
            refused: "forbidden".to_owned(),
            by_user: true,
            ..line
        };
        let more = r#","token":"ab","token_name":"laptop","from":"192.0.2.1","refused":"forbidden","by_user":true}"#;
        stored(&line, &json.replace('}', more));
        let leader = LeaderInfo {
            id: "m1".to_owned(),
            url: "http://m:7070".to_owned(),
        };
        stored(&leader, r#"{"id":"m1","url":"http://m:7070"}"#);
    }

    #[test]
    fn a_stored_account_without_a_valid_name_is_refused() {
        for name in ["", "a/b", "..", "a b"] {
            let json = format!(r#"{{"name":"{name}","role":"user"}}"#);
            assert!(serde_json::from_str::<Account>(&json).is_err(), "{name:?}");
        }
        let least: Account = serde_json::from_str(r#"{"name":"a","role":"user"}"#).expect("read");
        assert_eq!(least.tokens, Vec::new());
    }
}
