//! Decides which images go: those that nobody needs, the longest unused first.

use dopq_common::time::Timestamp;

use crate::docker::ImageInfo;

/// The images that may be removed, in the order in which they go.
pub(super) fn removable(
    images: Vec<ImageInfo>,
    is_needed: impl Fn(&ImageInfo) -> bool,
    used_at: impl Fn(&ImageInfo) -> Timestamp,
) -> Vec<ImageInfo> {
    let mut found: Vec<_> = images
        .into_iter()
        .filter(|image| !is_needed(image))
        .map(|image| (used_at(&image), image))
        .collect();
    found.sort_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.id.cmp(&other.id)));
    found.into_iter().map(|(_, image)| image).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_needed_stays_and_the_rest_goes_by_last_use(
            uses in prop::collection::vec((0_u64..50, any::<bool>()), 0..40),
        ) {
            let images: Vec<_> = (0..uses.len()).map(|at| ImageInfo {
                id: format!("{at:02}"),
                ..ImageInfo::default()
            }).collect();
            let of = |image: &ImageInfo| uses[image.id.parse::<usize>().expect("a number")];
            let gone = removable(
                images.clone(),
                |image| of(image).1,
                |image| Timestamp::from_millis(of(image).0),
            );
            prop_assert!(gone.iter().all(|image| !of(image).1));
            prop_assert!(gone.is_sorted_by_key(|image| (of(image).0, image.id.clone())));
            let ids: BTreeSet<_> = gone.iter().map(|image| &image.id).collect();
            for image in &images {
                prop_assert_eq!(ids.contains(&image.id), !of(image).1);
            }
        }
    }
}
