//! What is known of a terminal or pipe that a command writes to.

/// What is known of the other end of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Screen {
    /// Whether a person looks at it.
    pub(crate) terminal: bool,
    /// Its columns, where it is a terminal that tells.
    pub(crate) width: Option<u16>,
    /// Whether it is given colours.
    pub(crate) colour: bool,
}

impl Screen {
    pub(super) fn of(term: &console::Term, terminal: bool) -> Self {
        // https://no-color.org: any value but the empty one means no.
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
