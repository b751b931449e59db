//! Tables without frames, as wide as the terminal at most, one line a row unless they may wrap.

use comfy_table::presets::NOTHING;
use comfy_table::{
    Attribute, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table as Layout,
};

use super::Screen;
use super::text::clean;

/// A column: its title and how it behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    right: bool,
    shrinks: bool,
}

impl Column {
    /// A column that keeps its width.
    pub(crate) const fn new(title: &'static str) -> Self {
        Self {
            title,
            right: false,
            shrinks: false,
        }
    }

    /// A column of numbers, aligned to the right.
    pub(crate) const fn number(title: &'static str) -> Self {
        Self {
            title,
            right: true,
            shrinks: false,
        }
    }

    /// A column of free text, which gives way on a narrow terminal.
    pub(crate) const fn text(title: &'static str) -> Self {
        Self {
            title,
            right: false,
            shrinks: true,
        }
    }
}

/// What a cell's colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing special.
    Plain,
    /// All is well.
    Good,
    /// Something failed.
    Bad,
    /// Something goes on.
    Busy,
    /// Waiting, or worth a look.
    Waiting,
}

/// One cell; its text is harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell of that tone.
    pub(crate) fn toned(text: &str, tone: Tone) -> Self {
        Self {
            text: clean(text),
            tone,
        }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::toned(text.as_ref(), Tone::Plain)
    }
}

/// Rows under titles.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    titles: bool,
    wraps: bool,
}

impl Table {
    /// A table that cuts long cells off at the terminal's width.
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
            titles: true,
            wraps: false,
        }
    }

    /// Breaks long cells into lines instead.
    #[must_use]
    pub(crate) fn wrapping(mut self) -> Self {
        self.wraps = true;
        self
    }

    /// Leaves the titles out: names on the left, values on the right.
    #[must_use]
    pub(crate) fn untitled(mut self) -> Self {
        self.titles = false;
        self
    }

    /// Adds a row, a cell for each column.
    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(N, self.columns.len(), "a cell for each column");
        self.rows.push(cells.to_vec());
    }

    /// The lines, each ended by a newline and without blanks at its end.
    pub(crate) fn render(&self, screen: &Screen) -> String {
        let mut layout = Layout::new();
        layout.load_style(NOTHING).force_no_tty();
        if let Some(width) = screen.width.filter(|_| screen.terminal) {
            layout
                .set_width(width)
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_truncation_indicator("…");
        } else {
            layout.set_content_arrangement(ContentArrangement::Disabled);
        }
        if screen.colour {
            layout.enforce_styling();
        }
        if self.titles {
            let titles = self.columns.iter().map(|column| {
                let cell = comfy_table::Cell::new(column.title);
                if screen.colour {
                    cell.add_attribute(Attribute::Dim)
                } else {
                    cell
                }
            });
            layout.set_header(titles);
        }
        for cells in &self.rows {
            let mut row = comfy_table::Row::from(cells.iter().map(|cell| paint(cell, screen)));
            if !self.wraps {
                row.max_height(1);
            }
            layout.add_row(row);
        }
        for (column, format) in self.columns.iter().zip(layout.column_iter_mut()) {
            // Two blanks between columns, none before the first.
            format.set_padding((0, 2));
            if column.right {
                format.set_cell_alignment(CellAlignment::Right);
            }
            if !column.shrinks {
                format.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        let mut text = String::new();
        for line in layout.trim_fmt().lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn paint(cell: &Cell, screen: &Screen) -> comfy_table::Cell {
    let painted = comfy_table::Cell::new(&cell.text);
    if !screen.colour {
        return painted;
    }
    match cell.tone {
        Tone::Plain => painted,
        Tone::Good => painted.fg(Color::Green),
        Tone::Bad => painted.fg(Color::Red),
        Tone::Busy => painted.fg(Color::Cyan),
        Tone::Waiting => painted.fg(Color::Yellow),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Screen = Screen {
        terminal: false,
        width: None,
        colour: false,
    };

    const COLUMNS: [Column; 3] = [
        Column::number("ID"),
        Column::text("REASON"),
        Column::new("STATE"),
    ];

    fn table() -> Table {
        let mut table = Table::new(&COLUMNS);
        table.row([
            "7".into(),
            "needs 2 GPUs where only one is free for now".into(),
            Cell::toned("queued", Tone::Waiting),
        ]);
        table.row(["1423".into(), "\u{1b}[2J".into(), "running".into()]);
        table
    }

    #[test]
    fn a_pipe_gets_every_word() {
        insta::assert_snapshot!(table().render(&PIPE), @r"
          ID  REASON                                       STATE
           7  needs 2 GPUs where only one is free for now  queued
        1423  \u{1b}[2J                                    running
        ");
    }

    #[test]
    fn a_narrow_terminal_cuts_free_text_only() {
        let screen = Screen {
            terminal: true,
            width: Some(40),
            colour: false,
        };
        let text = table().render(&screen);
        assert!(
            text.lines().all(|line| line.chars().count() <= 40),
            "{text}"
        );
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("queued") && text.contains("…"), "{text}");
    }

    #[test]
    fn colours_only_where_wanted() {
        let screen = Screen {
            terminal: true,
            width: Some(120),
            colour: true,
        };
        assert!(
            table().render(&screen).contains("\u{1b}[38;5;11mqueued"),
            "{:?}",
            table().render(&screen)
        );
        assert!(!table().render(&PIPE).contains('\u{1b}'));
    }
}
