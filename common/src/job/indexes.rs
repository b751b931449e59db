//! A set of an array's task indexes, as short to keep and to write as its ranges are few.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most tasks that a written set may name, repeated ones counted each time. A text is counted before
/// anything is built from it, so that a short one fills neither memory nor time.
pub const INDEXES_MAX: u32 = 100_000;

/// How much of a foreign text an error repeats, in characters.
const QUOTE_MAX_CHARS: usize = 60;

/// Task indexes, kept as ranges: `0-4,7,9-12`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Indexes {
    /// Inclusive, ascending, with a gap between every two.
    ranges: Vec<(u32, u32)>,
}

/// A text that names no set of indexes, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseIndexesError {
    /// It is not written as indexes are.
    #[error("`{0}` is not an index such as 7, or a range such as 0-99 or 0-99:10")]
    NoRange(String),
    /// A range runs backwards.
    #[error("`{0}` ends before it starts")]
    Backwards(String),
    /// It names too many.
    #[error("it names more than {INDEXES_MAX} tasks")]
    TooMany,
}

impl Indexes {
    /// The indexes from `first` to `last`, itself included; none when `last` is before `first`.
    #[must_use]
    pub fn from_range(first: u32, last: u32) -> Self {
        let mut indexes = Self::default();
        indexes.insert_range(first, last);
        indexes
    }

    /// A set of these inclusive ranges, in any order.
    fn from_ranges(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.sort_unstable();
        let mut joined: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match joined.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                Some(_) | None => joined.push((first, last)),
            }
        }
        joined.shrink_to_fit();
        Self { ranges: joined }
    }

    /// How many there are; `u32::MAX` for more.
    #[must_use]
    pub fn len(&self) -> u32 {
        let lengths = self
            .ranges
            .iter()
            .map(|(first, last)| length(*first, *last));
        lengths.fold(0, u32::saturating_add)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The lowest.
    #[must_use]
    pub fn first(&self) -> Option<u32> {
        self.ranges.first().map(|(first, _)| *first)
    }

    /// The highest.
    #[must_use]
    pub fn last(&self) -> Option<u32> {
        self.ranges.last().map(|(_, last)| *last)
    }

    /// Whether the index is in it.
    #[must_use]
    pub fn contains(&self, index: u32) -> bool {
        let at = self.ranges.partition_point(|(_, last)| *last < index);
        self.ranges
            .get(at)
            .is_some_and(|(first, _)| *first <= index)
    }

    /// How many of them are below an index that is in it; `None` for one that is not.
    #[must_use]
    pub fn rank(&self, index: u32) -> Option<u32> {
        let mut below = 0;
        for (first, last) in &self.ranges {
            if index < *first {
                return None;
            }
            if index <= *last {
                return Some(below + (index - first));
            }
            below += length(*first, *last);
        }
        None
    }

    /// The index of which so many are below.
    #[must_use]
    pub fn nth(&self, rank: u32) -> Option<u32> {
        let mut rest = rank;
        for (first, last) in &self.ranges {
            if rest <= last - first {
                return Some(first + rest);
            }
            rest -= length(*first, *last);
        }
        None
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.ranges.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// Adds one. Whether it was new.
    pub fn insert(&mut self, index: u32) -> bool {
        let is_new = !self.contains(index);
        if is_new {
            self.insert_range(index, index);
        }
        is_new
    }

    /// Adds all from `first` to `last`.
    fn insert_range(&mut self, first: u32, last: u32) {
        if last < first {
            return;
        }
        // Ranges that touch the new one, or overlap it, become one with it.
        let from = self
            .ranges
            .partition_point(|(_, end)| end.saturating_add(1) < first);
        let to = self
            .ranges
            .partition_point(|(start, _)| *start <= last.saturating_add(1));
        let touched = self.ranges.get(from..to).unwrap_or_default();
        let first = touched
            .first()
            .map_or(first, |(start, _)| first.min(*start));
        let last = touched.last().map_or(last, |(_, end)| last.max(*end));
        self.ranges.splice(from..to.max(from), [(first, last)]);
    }

    /// Takes one out. Whether it was in it.
    pub fn remove(&mut self, index: u32) -> bool {
        let at = self.ranges.partition_point(|(_, last)| *last < index);
        let found = self.ranges.get(at).copied();
        let Some((first, last)) = found.filter(|(first, _)| *first <= index) else {
            return false;
        };
        let left = (first < index).then(|| (first, index - 1));
        let right = (index < last).then(|| (index + 1, last));
        self.ranges.splice(at..=at, left.into_iter().chain(right));
        true
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: &Self) {
        let mut ranges = std::mem::take(&mut self.ranges);
        ranges.extend(&other.ranges);
        *self = Self::from_ranges(ranges);
    }
}

impl Serialize for Indexes {
    /// Written as text, such as `0-4,7`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Indexes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Indexes {
    type Err = ParseIndexesError;

    /// Reads `7`, `0-99`, `0-99:10` (every tenth) and any of those with commas between.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut left = INDEXES_MAX;
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let Part { first, last, step } = Part::parse(part.trim())?;
            let steps = (last - first) / step;
            left = left
                .checked_sub(steps)
                .and_then(|left| left.checked_sub(1))
                .ok_or(ParseIndexesError::TooMany)?;
            if step == 1 {
                ranges.push((first, last));
            } else {
                let each = (0..=steps).map(|at| first + at * step);
                ranges.extend(each.map(|index| (index, index)));
            }
        }
        Ok(Self::from_ranges(ranges))
    }
}

/// One part of a written set: `first`, and every `step`th up to `last`.
struct Part {
    first: u32,
    last: u32,
    step: u32,
}

impl Part {
    fn parse(text: &str) -> Result<Self, ParseIndexesError> {
        let (range, step) = text.split_once(':').unwrap_or((text, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let read = number(first).zip(number(last)).zip(number(step));
        match read {
            None | Some((_, 0)) => Err(ParseIndexesError::NoRange(quote(text))),
            Some(((first, last), _)) if last < first => {
                Err(ParseIndexesError::Backwards(quote(text)))
            }
            Some(((first, last), step)) => Ok(Self { first, last, step }),
        }
    }
}

/// How many indexes a range has; `u32::MAX` for one more than that.
const fn length(first: u32, last: u32) -> u32 {
    (last - first).saturating_add(1)
}

fn quote(text: &str) -> String {
    let mut quoted: String = text.chars().take(QUOTE_MAX_CHARS).collect();
    if quoted.len() < text.len() {
        quoted.push('…');
    }
    quoted
}

fn number(text: &str) -> Option<u32> {
    let is_digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| is_digits)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Indexes {
        text.parse().expect(text)
    }

    #[test]
    fn sets_are_read_and_written_as_ranges() {
        for (text, written) in [
            ("0-99", "0-99"),
            ("7", "7"),
            ("3,1,2", "1-3"),
            ("0-8:4, 9", "0,4,8-9"),
            ("5-9,0-6", "0-9"),
            ("4294967295", "4294967295"),
        ] {
            assert_eq!(read(text).to_string(), written, "{text}");
        }
        for text in [
            "",
            "a",
            "1-",
            "-1",
            "+1-2",
            "5-2",
            "0-9:0",
            "0-9:",
            "1,,2",
            "0-100000",
            "0-4294967295",
            "0-4294967295:2",
            "1-4294967295,0",
            "4294967296",
        ] {
            assert!(text.parse::<Indexes>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_text_is_counted_before_anything_is_built() {
        // Every stepped part alone is within the limit; together they name millions of tasks.
        let wide = (0..20).map(|at| format!("{at}-3999980:40"));
        let wide: Vec<String> = wide.collect();
        assert_eq!(
            wide.join(",").parse::<Indexes>(),
            Err(ParseIndexesError::TooMany)
        );
        assert_eq!(
            "0,".repeat(1 << 19).parse::<Indexes>(),
            Err(ParseIndexesError::TooMany)
        );
        let descending: Vec<String> = (0..100_000).rev().map(|at| (at * 2).to_string()).collect();
        let set = read(&descending.join(","));
        assert_eq!((set.len(), set.last()), (100_000, Some(199_998)));
    }

    #[test]
    fn the_widest_range_has_a_length() {
        let all = Indexes::from_range(0, u32::MAX);
        assert_eq!((all.len(), all.nth(7)), (u32::MAX, Some(7)));
        assert_eq!(all.rank(u32::MAX), Some(u32::MAX));
        assert_eq!(all.nth(u32::MAX), Some(u32::MAX));
    }

    #[test]
    fn sets_of_many_ranges_are_joined_in_one_walk() {
        let (mut even, odd) = (read("0-199998:2"), read("1-199999:2"));
        even.extend(&odd);
        assert_eq!(even.to_string(), "0-199999");
    }

    #[test]
    fn ranks_and_indexes_are_each_others_inverse() {
        let indexes = read("3,10-12,40-42");
        assert_eq!(indexes.len(), 7);
        for (rank, index) in (0_u32..).zip(indexes.iter().collect::<Vec<_>>()) {
            assert_eq!(indexes.rank(index), Some(rank));
            assert_eq!(indexes.nth(rank), Some(index));
        }
        assert_eq!(
            (indexes.rank(9), indexes.rank(43), indexes.nth(7)),
            (None, None, None)
        );
    }

    proptest! {
        #[test]
        fn it_holds_what_a_plain_set_holds(
            edits in proptest::collection::vec((any::<bool>(), 0_u32..40), 0..60)
        ) {
            let (mut indexes, mut plain) = (Indexes::default(), BTreeSet::new());
            for (adds, index) in edits {
                if adds {
                    prop_assert_eq!(indexes.insert(index), plain.insert(index));
                } else {
                    prop_assert_eq!(indexes.remove(index), plain.remove(&index));
                }
            }
            prop_assert_eq!(indexes.iter().collect::<Vec<_>>(), plain.iter().copied().collect::<Vec<_>>());
            let touching = indexes.ranges.windows(2).any(|pair| match pair {
                [(_, end), (start, _)] => end + 1 >= *start,
                _ => false,
            });
            prop_assert!(!touching);
            if !indexes.is_empty() {
                prop_assert_eq!(read(&indexes.to_string()), indexes);
            }
        }
    }
}
