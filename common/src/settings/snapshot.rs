//! The values of all settings at one time, to tell what a reload changes.

use super::key::{Key, Raw};
use super::print::shown;

/// Every setting with its value, given or by default.
#[derive(Debug, Clone, Default)]
pub struct Snapshot(pub(super) Vec<(Key, Raw)>);

/// A setting whose value differs between two snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Its name.
    pub name: String,
    /// Its value before, as a TOML file has it; secrets are hidden, and what has no value is empty.
    pub before: String,
    /// Its value now.
    pub now: String,
}

impl Snapshot {
    /// What differs in `now`, in the order of the settings.
    #[must_use]
    pub fn changed(&self, now: &Self) -> Vec<Changed> {
        let changed = now.0.iter().filter_map(|(key, raw)| {
            let before = self.0.iter().find(|(known, _)| known.name == key.name);
            let before = before.map_or(&[][..], |(_, raw)| raw);
            (before != raw.as_slice()).then(|| Changed {
                name: key.name.clone(),
                before: text(key, before),
                now: text(key, raw),
            })
        });
        changed.collect()
    }

    /// Takes the values of those settings of `now` that `takes` names.
    pub fn take(&mut self, now: &Self, takes: impl Fn(&str) -> bool) {
        for (key, raw) in &mut self.0 {
            let newer = now.0.iter().find(|(known, _)| known.name == key.name);
            if let (true, Some((_, newer))) = (takes(&key.name), newer) {
                raw.clone_from(newer);
            }
        }
    }
}

fn text(key: &Key, raw: &[(String, crate::secret::Secret)]) -> String {
    if raw.is_empty() {
        String::new()
    } else {
        shown(key, raw)
    }
}
