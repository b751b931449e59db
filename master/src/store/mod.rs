//! The store: the truth, changed only by fenced commits.

mod types;

pub use types::{Account, AccountChange, AuditEntry, IngestMark, TokenRecord};
