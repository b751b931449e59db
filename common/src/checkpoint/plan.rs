//! Which chunks must be sent before a manifest can be stored, and which may go afterwards.

use std::collections::BTreeMap;

use super::Manifest;
use crate::id::Digest;

/// The manifest's chunks that are not stored whole. `stored` has the size of each stored chunk.
#[must_use]
pub fn missing(manifest: &Manifest, stored: &BTreeMap<Digest, u64>) -> Vec<Digest> {
    let chunks = manifest.chunks().into_iter();
    chunks
        .filter(|(digest, len)| stored.get(digest) != Some(&u64::from(*len)))
        .map(|(digest, _)| digest)
        .collect()
}

/// The stored chunks that a manifest does not need.
#[must_use]
pub fn unneeded(manifest: &Manifest, stored: &BTreeMap<Digest, u64>) -> Vec<Digest> {
    let needed = manifest.chunks();
    let digests = stored.keys().copied();
    digests
        .filter(|digest| !needed.contains_key(digest))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::{Chunk, Entry, FORMAT, Kind};
    use super::*;
    use crate::time::Timestamp;

    fn manifest(chunks: &BTreeSet<u8>) -> Manifest {
        let chunk = |byte: &u8| Chunk {
            digest: Digest([*byte; 32]),
            len: 10,
        };
        Manifest {
            format: FORMAT,
            attempt: 1,
            taken_at: Timestamp::default(),
            entries: vec![Entry {
                path: "model".to_owned(),
                mode: 0o644,
                uid: 0,
                gid: 0,
                mtime_ns: 0,
                kind: Kind::File(chunks.iter().map(chunk).collect()),
            }],
        }
    }

    proptest! {
        #[test]
        fn what_is_stored_afterwards_is_what_the_manifest_needs(
            needed in prop::collection::btree_set(0_u8..20, 0..20),
            stored in prop::collection::btree_set(0_u8..20, 0..20),
            cut in prop::collection::btree_set(0_u8..20, 0..3),
        ) {
            let manifest = manifest(&needed);
            let mut stored: BTreeMap<_, _> = stored.iter().map(|byte| {
                (Digest([*byte; 32]), if cut.contains(byte) { 9 } else { 10 })
            }).collect();
            for digest in missing(&manifest, &stored) {
                prop_assert_ne!(stored.insert(digest, 10), Some(10), "it was there");
            }
            prop_assert!(missing(&manifest, &stored).is_empty());
            for digest in unneeded(&manifest, &stored) {
                stored.remove(&digest);
            }
            let left: BTreeSet<u8> = stored.keys().map(|digest| digest.0[0]).collect();
            prop_assert_eq!(left, needed);
        }
    }
}
