//! One row of the table: what was measured, in which unit, and beside what.

use serde::{Deserialize, Serialize};

/// Median and range of one measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Unit {
    PerSecond,
    Seconds,
    Mebibytes,
    Percent,
}

/// A measured figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) unit: Unit,
    pub(crate) measured: Spread,
    /// What the project wants to reach.
    pub(crate) reach: Option<f64>,
    /// The same done by the bare engine or the plain tool.
    pub(crate) plain: Option<Plain>,
}

/// The figure of another program that does the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plain {
    pub(crate) tool: String,
    pub(crate) measured: Spread,
}

impl Spread {
    /// Of one value or more.
    pub(crate) fn of(values: &[f64]) -> Self {
        let at = |ratio| percentile(values, ratio);
        Self {
            median: at(0.5),
            low: at(0.0),
            high: at(1.0),
        }
    }
}

/// The value that `ratio` of all values do not exceed. Panics without values.
pub(crate) fn percentile(values: &[f64], ratio: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let at = ((sorted.len() - 1) as f64 * ratio).round() as usize;
    sorted[at]
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, unit: Unit, values: &[f64]) -> Self {
        Self {
            what: what.into(),
            unit,
            measured: Spread::of(values),
            reach: None,
            plain: None,
        }
    }

    pub(crate) fn reach(self, reach: f64) -> Self {
        Self {
            reach: Some(reach),
            ..self
        }
    }

    pub(crate) fn beside(self, tool: &str, values: &[f64]) -> Self {
        let plain = (!values.is_empty()).then(|| Plain {
            tool: tool.to_owned(),
            measured: Spread::of(values),
        });
        Self { plain, ..self }
    }

    /// Whether the median is as good as what the project wants to reach.
    pub(crate) fn is_reached(&self) -> Option<bool> {
        let median = self.measured.median;
        self.reach.map(|reach| match self.unit {
            Unit::PerSecond => median >= reach,
            Unit::Seconds | Unit::Mebibytes | Unit::Percent => median <= reach,
        })
    }

    /// How many times better this is than `before`; below 1 it is worse.
    pub(crate) fn gain(&self, before: &Self) -> f64 {
        let (now, before) = (self.measured.median, before.measured.median);
        match self.unit {
            Unit::PerSecond => now / before,
            Unit::Seconds | Unit::Mebibytes | Unit::Percent => before / now,
        }
    }
}

impl Unit {
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{}/s", number(value)),
            Self::Mebibytes => format!("{} MiB", number(value)),
            Self::Percent => format!("{value:.2} %"),
            Self::Seconds if value < 1e-3 => format!("{} µs", number(value * 1e6)),
            Self::Seconds if value < 1.0 => format!("{} ms", number(value * 1e3)),
            Self::Seconds => format!("{} s", number(value)),
        }
    }
}

/// Three digits or more.
fn number(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
