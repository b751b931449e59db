//! The result of a run: a Markdown table for people, JSON for comparisons.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::row::{Row, Spread, Unit};

/// Everything that one run measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// What was measured, such as `b3d1565`.
    pub(crate) commit: String,
    /// Cores, load and file system of the machine.
    pub(crate) machine: String,
    pub(crate) rows: Vec<Row>,
    /// What was left out or failed, and why.
    pub(crate) notes: Vec<String>,
}

impl Report {
    /// One table; `before` adds the figures of an earlier run.
    pub(crate) fn markdown(&self, before: Option<&Self>) -> String {
        let mut head = vec!["what", "measured", "reach", "met", "plain tool", "ratio"];
        let titles = before.map(|before| format!("at {}", before.commit));
        if let Some(title) = &titles {
            head.extend([title.as_str(), "better"]);
        }
        let mut text = format!("Commit {}; {}.\n\n", self.commit, self.machine);
        line(&mut text, &head);
        line(&mut text, &vec!["---"; head.len()]);
        for row in &self.rows {
            let mut cells = cells(row);
            if let Some(before) = before {
                let old = before.rows.iter().find(|old| old.what == row.what);
                cells.push(old.map_or_else(String::new, |old| spread(old.unit, old.measured)));
                cells.push(old.map_or_else(String::new, |old| format!("{:.2}×", row.gain(old))));
            }
            line(&mut text, &cells);
        }
        for note in &self.notes {
            text.push_str("\n- ");
            text.push_str(note);
        }
        text.push('\n');
        text
    }
}

fn line<T: AsRef<str>>(text: &mut String, cells: &[T]) {
    for cell in cells {
        // Writing to a string cannot fail.
        write!(text, "| {} ", cell.as_ref()).unwrap_or_default();
    }
    text.push_str("|\n");
}

fn cells(row: &Row) -> Vec<String> {
    let plain = row.plain.as_ref();
    let met = row.is_reached().map(|met| if met { "yes" } else { "no" });
    vec![
        row.what.clone(),
        spread(row.unit, row.measured),
        row.reach.map_or_else(String::new, |at| row.unit.show(at)),
        met.unwrap_or_default().to_owned(),
        plain.map_or_else(String::new, |plain| {
            format!("{}: {}", plain.tool, spread(row.unit, plain.measured))
        }),
        plain.map_or_else(String::new, |plain| {
            format!("{:.2}", row.measured.median / plain.measured.median)
        }),
    ]
}

fn spread(unit: Unit, of: Spread) -> String {
    let [median, low, high] = [of.median, of.low, of.high].map(|value| unit.show(value));
    if low == high {
        return median;
    }
    format!("{median} ({low} to {high})")
}
