//! The stored formats of what only the master knows: accounts, the leader, the audit log.

use dopq_common::api::Role;
use dopq_common::id::ParseIdError;
use dopq_common::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::types::{Account, AuditEntry, LeaderInfo, TokenRecord};

/// An [`Account`].
#[derive(Serialize, Deserialize)]
pub(super) struct AccountRecord {
    name: String,
    role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    #[serde(default)]
    tokens: Vec<StoredToken>,
}

#[derive(Serialize, Deserialize)]
struct StoredToken {
    id: String,
    #[serde(default)]
    label: String,
    hash: String,
    created_at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<u64>,
}

impl From<&Account> for AccountRecord {
    fn from(account: &Account) -> Self {
        let tokens = account.tokens.iter().map(|token| StoredToken {
            id: token.id.clone(),
            label: token.label.clone(),
            hash: token.hash.clone(),
            created_at_ms: token.created_at.as_millis(),
            expires_at_ms: token.expires_at.map(Timestamp::as_millis),
        });
        Self {
            name: account.name.to_string(),
            role: account.role,
            password: account.password.clone(),
            tokens: tokens.collect(),
        }
    }
}

impl TryFrom<&AccountRecord> for Account {
    type Error = ParseIdError;

    fn try_from(record: &AccountRecord) -> Result<Self, Self::Error> {
        let tokens = record.tokens.iter().map(|token| TokenRecord {
            id: token.id.clone(),
            label: token.label.clone(),
            hash: token.hash.clone(),
            created_at: Timestamp::from_millis(token.created_at_ms),
            expires_at: token.expires_at_ms.map(Timestamp::from_millis),
        });
        Ok(Self {
            name: record.name.parse()?,
            role: record.role,
            password: record.password.clone(),
            tokens: tokens.collect(),
        })
    }
}

/// An [`AuditEntry`].
#[derive(Serialize, Deserialize)]
pub(super) struct AuditRecord {
    at_ms: u64,
    by: String,
    action: String,
    #[serde(default)]
    target: String,
    #[serde(default)]
    detail: String,
}

impl From<&AuditEntry> for AuditRecord {
    fn from(entry: &AuditEntry) -> Self {
        Self {
            at_ms: entry.at.as_millis(),
            by: entry.by.clone(),
            action: entry.action.clone(),
            target: entry.target.clone(),
            detail: entry.detail.clone(),
        }
    }
}

impl From<AuditRecord> for AuditEntry {
    fn from(record: AuditRecord) -> Self {
        Self {
            at: Timestamp::from_millis(record.at_ms),
            by: record.by,
            action: record.action,
            target: record.target,
            detail: record.detail,
        }
    }
}

/// Who leads, as the lease holds it.
#[derive(Serialize, Deserialize)]
pub(super) struct LeaderRecord {
    id: String,
    url: String,
}

impl From<&LeaderInfo> for LeaderRecord {
    fn from(leader: &LeaderInfo) -> Self {
        Self {
            id: leader.id.clone(),
            url: leader.url.clone(),
        }
    }
}

impl From<LeaderRecord> for LeaderInfo {
    fn from(record: LeaderRecord) -> Self {
        Self {
            id: record.id,
            url: record.url,
        }
    }
}
