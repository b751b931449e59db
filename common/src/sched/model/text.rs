//! Parts of sentences.

use std::collections::BTreeSet;

use crate::resources::MilliCpu;

/// CPU in cores, as people write it.
pub(crate) fn cores(cpu: MilliCpu) -> String {
    let (whole, milli) = (cpu.0 / 1000, cpu.0 % 1000);
    if milli == 0 {
        return whole.to_string();
    }
    format!("{whole}.{milli:03}")
        .trim_end_matches('0')
        .to_owned()
}

/// A list for a sentence; of a long one the first few items.
pub(crate) fn listed(items: BTreeSet<String>) -> Option<String> {
    const SHOWN: usize = 8;
    let count = items.len();
    let shown: Vec<_> = items.into_iter().take(SHOWN).collect();
    let more = if count > SHOWN { ", …" } else { "" };
    (count > 0).then(|| format!("{}{more}", shown.join(", ")))
}
