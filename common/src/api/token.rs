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
    /// When it was last used, to within a minute; absent if never, or while the store does not tell.
    #[serde(default)]
    pub used_at: Option<DateTime<Utc>>,
    /// Whether a login with a password made it.
    #[serde(default)]
    pub by_login: bool,
}

/// `GET /v1/users/{name}/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenList {
    /// [`super::API_VERSION`].
    pub version: u32,
    /// The user's tokens, the oldest first.
    pub tokens: Vec<Token>,
}
