//! Access tokens, without their secrets.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A token as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its id, with which it is revoked: `DELETE /v1/users/{name}/tokens/{id}`.
    pub id: String,
    /// What it is for.
    pub label: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ends.
    pub expires_at: Option<DateTime<Utc>>,
}
