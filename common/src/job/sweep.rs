//! A sweep: variables with several values each, of which an array's tasks get one combination apiece.
//!
//! Ranges are kept as ranges, so that a sweep over 100,000 seeds takes no more memory than its text.

use std::borrow::Cow;

use super::INDEXES_MAX;

/// The environment variable that only DoPQ sets, besides those that begin with [`OUR_PREFIX`].
const OUR_GPUS: &str = "NVIDIA_VISIBLE_DEVICES";

/// What the names of DoPQ's own environment variables begin with.
const OUR_PREFIX: &str = "DOPQ_";

/// How long a text of a variable's values may get before it is cut.
const VALUES_MAX_BYTES: usize = 400;

/// How much of a foreign text an error repeats, in characters.
const QUOTE_MAX_CHARS: usize = 60;

/// Variables and their values. Task `i` of its array gets the `i`th combination, counted from 0; the last
/// variable varies fastest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    /// At least one; the product of their lengths is at most [`INDEXES_MAX`].
    axes: Vec<SweepAxis>,
}

/// One variable of a sweep, with at least one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepAxis {
    name: String,
    pieces: Vec<Piece>,
}

/// One or more values that stand together.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// `count` whole numbers from `first` on, `step` apart.
    Range {
        first: i64,
        step: i64,
        count: u32,
    },
}

/// Whether an environment variable may have this name: a letter or `_`, then letters, digits, `_`, `.` and `-`. Shells
/// cannot read most others, and what else stands there is a slip such as `LR =1`.
#[must_use]
pub fn is_env_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next();
    first.is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// [`is_env_name`] in words.
pub const ENV_NAME_RULE: &str =
    "a name starts with a letter or _, and has only letters, digits, _, . and -";

/// What is no sweep, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SweepError {
    /// No variable, or one without values.
    #[error("no values; write NAME=0.1,0.01 or NAME=1..5")]
    Empty,
    /// Nothing stands between two commas.
    #[error("it contains an empty value; write empty values in a list")]
    EmptyValue,
    /// A name that no environment variable can have.
    #[error("`{0}` is not a name of an environment variable: {ENV_NAME_RULE}")]
    Name(String),
    /// A variable that DoPQ sets itself.
    #[error("DoPQ sets `{0}` itself; use another name")]
    Ours(String),
    /// A range that runs backwards.
    #[error("`{0}` ends before it starts")]
    Backwards(String),
    /// What looks like a range and is none.
    #[error(
        "`{0}` is not a range of whole numbers, such as 1..5 or 1..9..2 for every second; list other values"
    )]
    NoRange(String),
    /// One variable in two places.
    #[error("it contains `{0}` twice")]
    Twice(String),
    /// More combinations than an array may have tasks.
    #[error("it has more than {INDEXES_MAX} combinations")]
    TooMany,
}

impl Sweep {
    /// A sweep over all combinations of these variables' values.
    ///
    /// # Errors
    /// No variable, one that stands there twice, or too many combinations.
    pub fn new(axes: Vec<SweepAxis>) -> Result<Self, SweepError> {
        if axes.is_empty() {
            return Err(SweepError::Empty);
        }
        let mut seen = std::collections::BTreeSet::new();
        let mut total = 1_u32;
        for axis in &axes {
            if !seen.insert(&axis.name) {
                return Err(SweepError::Twice(quote(&axis.name)));
            }
            total = total
                .checked_mul(axis.len())
                .filter(|total| *total <= INDEXES_MAX)
                .ok_or(SweepError::TooMany)?;
        }
        Ok(Self { axes })
    }

    /// The variables, in the order of the sweep.
    pub fn axes(&self) -> impl Iterator<Item = &SweepAxis> {
        self.axes.iter()
    }

    /// How many combinations there are; at least one.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "a sweep without combinations cannot be built"
    )]
    pub fn len(&self) -> u32 {
        self.axes.iter().map(SweepAxis::len).product()
    }

    /// The variables and values of one task, in the order of the sweep; none for an index of
    /// [`Self::len`] or above.
    #[must_use]
    pub fn values(&self, index: u32) -> Vec<(&str, Cow<'_, str>)> {
        if index >= self.len() {
            return Vec::new();
        }
        let mut rest = index;
        let mut values: Vec<_> = self
            .axes
            .iter()
            .rev()
            .filter_map(|axis| {
                let length = axis.len().max(1);
                let at = rest % length;
                rest /= length;
                Some((axis.name.as_str(), axis.value(at)?))
            })
            .collect();
        values.reverse();
        values
    }
}

impl SweepAxis {
    /// A variable whose values are written as `0.1,0.01`, `1..5` (both ends included), `1..9..2` (every
    /// second), or several of those with commas between.
    ///
    /// # Errors
    /// What is wrong with the name or a value.
    pub fn parse(name: &str, values: &str) -> Result<Self, SweepError> {
        count(values.bytes().filter(|byte| *byte == b',').count() + 1)?;
        let pieces = values.split(',').map(|item| Piece::parse(item.trim()));
        Self::new(name, pieces.collect::<Result<_, _>>()?)
    }

    /// A variable with these values, each taken as it is.
    ///
    /// # Errors
    /// What is wrong with the name, or no values.
    pub fn from_values(name: &str, values: Vec<String>) -> Result<Self, SweepError> {
        count(values.len())?;
        Self::new(name, values.into_iter().map(Piece::Text).collect())
    }

    fn new(name: &str, pieces: Vec<Piece>) -> Result<Self, SweepError> {
        if !is_env_name(name) {
            return Err(SweepError::Name(quote(name)));
        }
        if name == OUR_GPUS || name.starts_with(OUR_PREFIX) {
            return Err(SweepError::Ours(quote(name)));
        }
        if pieces.is_empty() {
            return Err(SweepError::Empty);
        }
        Ok(Self {
            name: name.to_owned(),
            pieces,
        })
    }

    /// Its variable.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its values as [`Self::parse`] reads them; a long text ends in `…`.
    #[must_use]
    pub fn values_text(&self) -> String {
        let mut text = String::new();
        for (index, piece) in self.pieces.iter().enumerate() {
            if text.len() > VALUES_MAX_BYTES {
                return text + ",…";
            }
            if index > 0 {
                text.push(',');
            }
            text += &piece.text();
        }
        text
    }

    fn len(&self) -> u32 {
        let lengths = self.pieces.iter().map(Piece::len);
        lengths.fold(0, u32::saturating_add)
    }

    fn value(&self, at: u32) -> Option<Cow<'_, str>> {
        let mut rest = at;
        for piece in &self.pieces {
            if rest < piece.len() {
                return Some(piece.value(rest));
            }
            rest -= piece.len();
        }
        None
    }
}

/// Refuses more values than a sweep may have, before anything is built of them.
fn count(values: usize) -> Result<(), SweepError> {
    match u32::try_from(values) {
        Ok(values) if values <= INDEXES_MAX => Ok(()),
        Ok(_) | Err(_) => Err(SweepError::TooMany),
    }
}

impl Piece {
    fn parse(text: &str) -> Result<Self, SweepError> {
        if text.is_empty() {
            return Err(SweepError::EmptyValue);
        }
        let is_range = text.contains("..")
            && text.contains(|c: char| c.is_ascii_digit())
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
        if !is_range {
            return Ok(Self::Text(text.to_owned()));
        }
        let no_range = || SweepError::NoRange(quote(text));
        let mut ends = text.split("..");
        let first = ends.next().and_then(number).ok_or_else(no_range)?;
        let last = ends.next().and_then(number).ok_or_else(no_range)?;
        let step = ends.next().map_or(Some(1), number).ok_or_else(no_range)?;
        if step < 1 || ends.next().is_some() {
            return Err(no_range());
        }
        if last < first {
            return Err(SweepError::Backwards(quote(text)));
        }
        let count = (i128::from(last) - i128::from(first)) / i128::from(step) + 1;
        match u32::try_from(count) {
            Ok(count) if count <= INDEXES_MAX => Ok(Self::Range { first, step, count }),
            Ok(_) | Err(_) => Err(SweepError::TooMany),
        }
    }

    /// As it is written.
    fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Range { first, step, count } => {
                let steps = i128::from(count.saturating_sub(1));
                let last = i128::from(*first) + i128::from(*step) * steps;
                Cow::Owned(match step {
                    1 => format!("{first}..{last}"),
                    step => format!("{first}..{last}..{step}"),
                })
            }
        }
    }

    const fn len(&self) -> u32 {
        match self {
            Self::Text(_) => 1,
            Self::Range { count, .. } => *count,
        }
    }

    fn value(&self, at: u32) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Range { first, step, .. } => {
                let number = i128::from(*first) + i128::from(*step) * i128::from(at);
                Cow::Owned(number.to_string())
            }
        }
    }
}

/// A whole number in the one form in which it is written again, since `01..10` may mean that every value
/// is to have two digits.
fn number(text: &str) -> Option<i64> {
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

fn quote(text: &str) -> String {
    let mut quoted: String = text.chars().take(QUOTE_MAX_CHARS).collect();
    if quoted.len() < text.len() {
        quoted.push('…');
    }
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sweep(axes: &[(&str, &str)]) -> Result<Sweep, SweepError> {
        let axes = axes
            .iter()
            .map(|(name, values)| SweepAxis::parse(name, values));
        Sweep::new(axes.collect::<Result<_, _>>()?)
    }

    fn values(values: &str) -> Vec<String> {
        let sweep = sweep(&[("A", values)]).expect(values);
        (0..sweep.len())
            .map(|index| sweep.values(index)[0].1.to_string())
            .collect()
    }

    #[test]
    fn values_are_texts_and_ranges() {
        for (text, expected) in [
            ("0.1,0.01", &["0.1", "0.01"][..]),
            ("1..3", &["1", "2", "3"]),
            ("-1..1", &["-1", "0", "1"]),
            ("1..9..3", &["1", "4", "7"]),
            ("a, 7..8 ,b", &["a", "7", "8", "b"]),
            ("../data,..", &["../data", ".."]),
            ("5..5", &["5"]),
            (
                "-9223372036854775808..9223372036854775807..9223372036854775807",
                &["-9223372036854775808", "-1", "9223372036854775806"],
            ),
        ] {
            assert_eq!(values(text), expected, "{text}");
        }
    }

    #[test]
    fn values_are_told_as_they_are_written() {
        for text in ["0.1,0.01", "1..5", "1..9..2", "a,1..3,b"] {
            let axis = SweepAxis::parse("A", text).expect("an axis");
            assert_eq!(axis.values_text(), text);
        }
        let axis = SweepAxis::parse("A", "2..9..3").expect("an axis");
        assert_eq!((axis.name(), &*axis.values_text()), ("A", "2..8..3"));
        let many = vec!["value".to_owned(); 1000];
        let axis = SweepAxis::from_values("A", many).expect("an axis");
        let text = axis.values_text();
        assert!(text.len() < 500 && text.ends_with(",…"), "{text}");
    }

    #[test]
    fn what_is_no_sweep_is_refused() {
        let text = |text: &str| text.to_owned();
        for (name, values, error) in [
            ("A", "", SweepError::EmptyValue),
            ("A", "1,,2", SweepError::EmptyValue),
            ("", "1", SweepError::Name(text(""))),
            ("A\n", "1", SweepError::Name(text("A\n"))),
            ("LR ", "1", SweepError::Name(text("LR "))),
            ("1A", "1", SweepError::Name(text("1A"))),
            ("DOPQ_JOB_ID", "1", SweepError::Ours(text("DOPQ_JOB_ID"))),
            (
                "NVIDIA_VISIBLE_DEVICES",
                "0",
                SweepError::Ours(text("NVIDIA_VISIBLE_DEVICES")),
            ),
            ("A", "5..1", SweepError::Backwards(text("5..1"))),
            ("A", "0.1..0.5", SweepError::NoRange(text("0.1..0.5"))),
            ("A", "1..", SweepError::NoRange(text("1.."))),
            ("A", "1..5..0", SweepError::NoRange(text("1..5..0"))),
            ("A", "1..5..1..1", SweepError::NoRange(text("1..5..1..1"))),
            ("A", "01..10", SweepError::NoRange(text("01..10"))),
            ("A", "0..100000", SweepError::TooMany),
            ("A", &"1,".repeat(100_000), SweepError::TooMany),
            (
                "A",
                "-9223372036854775808..9223372036854775807",
                SweepError::TooMany,
            ),
        ] {
            assert_eq!(sweep(&[(name, values)]), Err(error), "{name}={values}");
        }
        assert_eq!(Sweep::new(Vec::new()), Err(SweepError::Empty));
        assert_eq!(
            SweepAxis::from_values("A", Vec::new()),
            Err(SweepError::Empty)
        );
        assert_eq!(
            sweep(&[("A", "1"), ("A", "2")]),
            Err(SweepError::Twice(text("A")))
        );
        assert_eq!(
            sweep(&[("A", "1..1000"), ("B", "0..100")]),
            Err(SweepError::TooMany)
        );
        assert!(sweep(&[("A", "1..1000"), ("B", "1..100")]).is_ok());
    }

    #[test]
    fn the_last_variable_varies_fastest() {
        let sweep = sweep(&[("lr", "0.1,0.01"), ("seed", "1..3")]).expect("valid");
        let lines: Vec<String> = (0..=sweep.len())
            .map(|index| {
                let pairs = sweep.values(index).into_iter();
                let pairs: Vec<_> = pairs
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                pairs.join(" ")
            })
            .collect();
        let expected = [
            "lr=0.1 seed=1",
            "lr=0.1 seed=2",
            "lr=0.1 seed=3",
            "lr=0.01 seed=1",
            "lr=0.01 seed=2",
            "lr=0.01 seed=3",
            "",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn values_of_a_list_are_taken_as_they_are() {
        let values = vec!["1..5".to_owned(), "a,b".to_owned(), String::new()];
        let axis = SweepAxis::from_values("A", values).expect("valid");
        let sweep = Sweep::new(vec![axis]).expect("valid");
        assert_eq!(sweep.values(0), [("A", Cow::Borrowed("1..5"))]);
        assert_eq!(sweep.values(1), [("A", Cow::Borrowed("a,b"))]);
        assert_eq!(sweep.values(2), [("A", Cow::Borrowed(""))]);
    }

    proptest! {
        #[test]
        fn every_combination_stands_there_once(lengths in proptest::collection::vec(1_u32..5, 1..5)) {
            let named = (0..lengths.len()).map(|at| format!("V{at}"));
            let axes = named.zip(&lengths).map(|(name, length)| {
                SweepAxis::parse(&name, &format!("1..{length}"))
            });
            let sweep = Sweep::new(axes.collect::<Result<_, _>>().expect("axes")).expect("a sweep");
            let all: std::collections::BTreeSet<_> = (0..sweep.len()).map(|at| sweep.values(at)).collect();
            prop_assert_eq!(all.len(), lengths.iter().product::<u32>() as usize);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9.,eE+a-]{0,30}") {
            if let Ok(sweep) = sweep(&[("A", &text)]) {
                prop_assert_eq!(sweep.values(sweep.len() - 1).len(), 1);
            }
        }
    }
}
