//! Reads a table of comma-separated values by its columns' names.

use std::str::FromStr;

/// A trace that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// A column is missing.
    #[error("the trace has no column {0:?}")]
    NoColumn(&'static str),
    /// A value is not what its column holds.
    #[error("line {line}: {value:?} is not a {what}")]
    BadValue {
        /// Which line, from 1.
        line: usize,
        /// What stands there.
        value: String,
        /// What should.
        what: &'static str,
    },
    /// There is nothing in it.
    #[error("the trace is empty")]
    Empty,
}

/// The rows of a table.
pub(super) struct Table<'a> {
    columns: Vec<&'a str>,
    rows: Vec<(usize, Vec<&'a str>)>,
}

impl<'a> Table<'a> {
    /// Values hold no commas and are not quoted, as in the traces that are read.
    pub(super) fn read(text: &'a str) -> Result<Self, TraceError> {
        let mut lines = (1..).zip(text.lines());
        let (_, header) = lines.next().ok_or(TraceError::Empty)?;
        let filled = lines.filter(|(_, line)| !line.trim().is_empty());
        Ok(Self {
            columns: header.split(',').map(str::trim).collect(),
            rows: filled
                .map(|(at, line)| (at, line.split(',').map(str::trim).collect()))
                .collect(),
        })
    }

    /// The values of a column, with their lines.
    pub(super) fn column(
        &self,
        name: &'static str,
    ) -> Result<impl Iterator<Item = (usize, &'a str)>, TraceError> {
        let at = self.columns.iter().position(|column| *column == name);
        let at = at.ok_or(TraceError::NoColumn(name))?;
        let rows = self.rows.iter();
        Ok(rows.map(move |(line, row)| (*line, row.get(at).copied().unwrap_or_default())))
    }

    /// The values of a column; empty ones if the table does not have it.
    pub(super) fn optional(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let at = self.columns.iter().position(|column| *column == name);
        let value = move |row: &Vec<&'a str>| row.get(at?).copied();
        let rows = self.rows.iter();
        rows.map(move |(_, row)| value(row).unwrap_or_default())
    }

    /// The values of a column of numbers.
    pub(super) fn numbers<T: FromStr>(&self, name: &'static str) -> Result<Vec<T>, TraceError> {
        let values = self.column(name)?;
        values
            .map(|(line, value)| {
                value.parse().map_err(|_| TraceError::BadValue {
                    line,
                    value: value.to_owned(),
                    what: "whole number",
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_and_faults_by_line() {
        let table = Table::read("a, b\n1,x\n\n2,y\n").expect("a table");
        assert_eq!(table.numbers::<u32>("a"), Ok(vec![1, 2]));
        let fault = TraceError::BadValue {
            line: 2,
            value: "x".to_owned(),
            what: "whole number",
        };
        assert_eq!(table.numbers::<u32>("b"), Err(fault));
        assert_eq!(table.numbers::<u32>("c"), Err(TraceError::NoColumn("c")));
        assert!(Table::read("").is_err());
    }
}
