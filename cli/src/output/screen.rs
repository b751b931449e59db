//! The terminal or pipe that a command writes to.

/// Properties of stdout or stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Screen {
    /// Whether it is a terminal.
    pub(crate) terminal: bool,
    /// Its width, if it is a terminal that reports one.
    pub(crate) width: Option<u16>,
    /// Whether to use colours.
    pub(crate) colour: bool,
}

impl Screen {
    /// Whether what was written can be overwritten.
    pub(crate) fn redraws(&self) -> bool {
        self.terminal && std::env::var_os("TERM").is_none_or(|value| value != "dumb")
    }

    pub(super) fn of(term: &console::Term, terminal: bool) -> Self {
        // https://no-color.org: any non-empty value means no.
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|value| value != "dumb");
        Self {
            terminal,
            width: term
                .size_checked()
                .filter(|_| terminal)
                .map(|(_, columns)| columns),
            colour: terminal && wanted,
        }
    }
}
