//! Reads configuration documents once each: jobs of one array or sweep share theirs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Error;
use crate::job::JobSpec;

/// Configuration documents that were read already, with what they say.
#[derive(Debug, Default)]
pub struct Specs {
    seen: BTreeMap<Arc<str>, Arc<JobSpec>>,
}

impl Specs {
    /// The document and what it says, both shared with every earlier reader of the same text.
    ///
    /// # Errors
    /// [`Error::Config`] with every fault, when the document breaks a rule.
    pub fn read(&mut self, config: &str) -> Result<(Arc<str>, Arc<JobSpec>), Error> {
        if let Some((text, spec)) = self.seen.get_key_value(config) {
            return Ok((Arc::clone(text), Arc::clone(spec)));
        }
        let spec = crate::bundle::config::parse(config).map_err(|faults| {
            let faults = faults
                .iter()
                .map(|fault| format!("{}: {}", fault.place, fault.message));
            Error::Config(faults.collect::<Vec<_>>().join("; "))
        })?;
        let (text, spec) = (Arc::<str>::from(config), Arc::new(spec));
        self.seen.insert(Arc::clone(&text), Arc::clone(&spec));
        Ok((text, spec))
    }
}
