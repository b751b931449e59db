//! A setting's value, not yet parsed.

use std::collections::BTreeMap;

/// A value as it was given, not yet understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    One(String),
    List(Vec<String>),
    Map(BTreeMap<String, String>),
}
