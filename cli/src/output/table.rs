//! Tables without frames, at most as wide as the terminal, one line per row unless they wrap.
//!
//! On a narrow terminal text columns shrink to their least width. If that is not enough, spare columns are dropped.

use std::borrow::Cow;

use comfy_table::presets::NOTHING;
use comfy_table::{
    Attribute, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table as Layout, Width,
};

use super::screen::Screen;
use super::text::clean;

/// A column: its title and how it behaves.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    title: Cow<'static, str>,
    right: bool,
    /// The width that a text column may shrink to.
    least: Option<u16>,
    spare: bool,
}

/// The least width of a text column, unless it says otherwise.
const TEXT_MIN_WIDTH: u16 = 8;

/// Spaces between two columns.
const GAP: u16 = 2;

impl Column {
    /// A column that keeps its width.
    pub(crate) const fn new(title: &'static str) -> Self {
        Self {
            title: Cow::Borrowed(title),
            right: false,
            least: None,
            spare: false,
        }
    }

    /// A column of numbers, aligned to the right.
    pub(crate) const fn number(title: &'static str) -> Self {
        Self {
            title: Cow::Borrowed(title),
            right: true,
            least: None,
            spare: false,
        }
    }

    /// A column of text, which shrinks on a narrow terminal.
    pub(crate) const fn text(title: &'static str) -> Self {
        Self {
            title: Cow::Borrowed(title),
            right: false,
            least: Some(TEXT_MIN_WIDTH),
            spare: false,
        }
    }

    /// The same column with a title that is known at run time.
    #[must_use]
    pub(crate) fn titled(mut self, title: &str) -> Self {
        self.title = Cow::Owned(clean(title));
        self
    }

    /// The same text column with another least width.
    #[must_use]
    pub(crate) const fn at_least(mut self, width: u16) -> Self {
        self.least = Some(width);
        self
    }

    /// The same column, dropped on a narrow terminal; the last spare column goes first.
    #[must_use]
    pub(crate) const fn spare(mut self) -> Self {
        self.spare = true;
        self
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

    /// Adds a row of as many cells as there are columns.
    pub(crate) fn row_of(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// The lines, each ended by a newline and without blanks at its end.
    pub(crate) fn render(&self, screen: &Screen) -> String {
        let kept = self.kept(screen);
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
            let titles = kept.iter().map(|kept| {
                let cell = comfy_table::Cell::new(&kept.column.title);
                if screen.colour {
                    cell.add_attribute(Attribute::Dim)
                } else {
                    cell
                }
            });
            let mut header = comfy_table::Row::from(titles);
            header.max_height(1);
            layout.set_header(header);
        }
        for cells in &self.rows {
            let mut row = comfy_table::Row::from(
                kept.iter()
                    .filter_map(|kept| cells.get(kept.index))
                    .map(|cell| paint(cell, screen)),
            );
            if !self.wraps {
                row.max_height(1);
            }
            layout.add_row(row);
        }
        for (kept, format) in kept.iter().zip(layout.column_iter_mut()) {
            format.set_padding((0, GAP));
            if kept.column.right {
                format.set_cell_alignment(CellAlignment::Right);
            }
            format.set_constraint(if kept.column.least.is_some() {
                ColumnConstraint::LowerBoundary(Width::Fixed(kept.least + GAP))
            } else {
                ColumnConstraint::ContentWidth
            });
        }
        let mut text = String::new();
        for line in layout.trim_fmt().lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// The columns that fit the screen.
    fn kept(&self, screen: &Screen) -> Vec<Kept> {
        let columns = self.columns.iter().cloned().enumerate();
        let mut kept: Vec<Kept> = columns
            .map(|(index, column)| Kept {
                index,
                least: self.least(index, &column),
                column,
            })
            .collect();
        let Some(room) = screen.width.filter(|_| screen.terminal) else {
            return kept;
        };
        let needed = |kept: &Kept| u32::from(kept.least) + u32::from(GAP);
        while kept.iter().map(needed).sum::<u32>() > u32::from(room) {
            match kept.iter().rposition(|kept| kept.column.spare) {
                Some(place) => kept.remove(place),
                None => break,
            };
        }
        kept
    }

    /// The least width of a column: that of its content, or what its text may shrink to.
    fn least(&self, index: usize, column: &Column) -> u16 {
        let cells = self.rows.iter().filter_map(|row| row.get(index));
        let title = if self.titles { width(&column.title) } else { 0 };
        let full = cells.map(|cell| width(&cell.text)).fold(title, u16::max);
        column
            .least
            .map_or(full, |least| full.min(least.max(title)))
    }

    /// The table on a terminal of 80 columns.
    #[cfg(test)]
    pub(crate) fn render_at_80(&self) -> String {
        let text = self.render(&Screen {
            terminal: true,
            width: Some(80),
            colour: false,
        });
        for line in text.lines() {
            assert!(console::measure_text_width(line) <= 80, "too wide:\n{text}");
        }
        text
    }
}

/// A column that is shown.
struct Kept {
    index: usize,
    column: Column,
    least: u16,
}

/// The width of text on a terminal.
fn width(text: &str) -> u16 {
    u16::try_from(console::measure_text_width(text)).unwrap_or(u16::MAX)
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
    fn columns_that_can_be_spared_go_from_the_right() {
        let mut table = Table::new(&[
            Column::number("ID"),
            Column::number("AGE").spare(),
            Column::new("WORKER").spare(),
            Column::text("REMARK"),
        ]);
        table.row([
            "7".into(),
            "3m".into(),
            "gpu01".into(),
            "waits for others".into(),
        ]);
        let at = |width| {
            table.render(&Screen {
                terminal: true,
                width: Some(width),
                colour: false,
            })
        };
        let titles = |width| at(width).lines().next().unwrap_or("").to_owned();
        assert_eq!(titles(40), "ID  AGE  WORKER  REMARK");
        assert_eq!(titles(24), "ID  AGE  REMARK");
        assert_eq!(titles(15), "ID  REMARK");
        assert!(at(24).contains("waits"), "{}", at(24));
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
