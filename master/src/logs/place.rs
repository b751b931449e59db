//! A position in a job's log.

use std::fmt;
use std::str::FromStr;

/// An attempt and an offset in its log stream; written `2:4096`, which is the id of a log event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The attempt's number.
    pub attempt: u32,
    /// The next byte to read, the start of a frame.
    pub offset: u64,
}

/// Text that is not a [`Place`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a place in a log: write the id of the last event, such as 1:4096")]
pub struct ParsePlaceError(String);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.attempt, self.offset)
    }
}

impl FromStr for Place {
    type Err = ParsePlaceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text
            .split_once(':')
            .filter(|_| text.bytes().all(|b| b == b':' || b.is_ascii_digit()));
        let numbers =
            parts.and_then(|(attempt, offset)| Some((attempt.parse().ok()?, offset.parse().ok()?)));
        match numbers {
            Some((attempt, offset)) if attempt > 0 => Ok(Self { attempt, offset }),
            Some(_) | None => Err(ParsePlaceError(text.chars().take(64).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_back_as_written() {
        for text in ["1:0", "4294967295:18446744073709551615"] {
            assert_eq!(text.parse::<Place>().expect(text).to_string(), text);
        }
        for text in ["", "1", ":", "0:1", "1:", "+1:2", "1:2:3", "1:-2", "a:b"] {
            assert!(text.parse::<Place>().is_err(), "{text:?}");
        }
    }
}
