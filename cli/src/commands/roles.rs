//! The roles of users, as the command line and tables write them.

use clap::ValueEnum;
use dopq_common::api::Role;

/// The roles on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum RoleWord {
    /// Submit, see and change own jobs
    User,
    /// Also cordon nodes and lock the queue
    Operator,
    /// Everything
    Admin,
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::User => Self::User,
            RoleWord::Operator => Self::Operator,
            RoleWord::Admin => Self::Admin,
        }
    }
}

/// A role's word.
pub(super) const fn word(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Operator => "operator",
        Role::Admin => "admin",
    }
}
