//! What ranks the users, side by side: a few numbers of each, kept up to date by [`crate::sched::state::index`].
//!
//! The turn of most users has not come. To see that of each takes one look at their line here, and of them only those
//! whose turn may have come are looked up.

use crate::id::UserName;
use crate::job::Class;
use crate::penalty::usage::Rate;
use crate::time::Timestamp;

use crate::sched::model::shape::{ShapeId, ShapeMask};
use crate::sched::state::user_queue::{Desk, Had};

/// How many shapes of each user's next jobs a line tells.
const NEXT: usize = 6;

/// See the module's text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    lines: Vec<Line>,
    users: Vec<UserName>,
}

/// What ranks one user.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    pub(crate) had: Had,
    pub(crate) rate: Rate,
    /// The shapes of their jobs that may start, or some more.
    pub(crate) shapes: ShapeMask,
    /// The first of those, in the user's own order of the first job of each.
    pub(crate) next: [Option<ShapeId>; NEXT],
    /// The best class of the first of those of each shape, and when the oldest of them was submitted.
    pub(crate) best: (Class, Timestamp),
    /// Whether neither a group nor a floor decides as well when their turn comes.
    pub(crate) is_alone: bool,
}

impl Ledger {
    /// Gives a user a line; what it says is to be written.
    pub(crate) fn open(&mut self, user: UserName) -> usize {
        self.lines.push(Line::of(&Desk::default()));
        self.users.push(user);
        self.lines.len() - 1
    }

    pub(crate) fn write(&mut self, line: usize, desk: &Desk) {
        if let Some(line) = self.lines.get_mut(line) {
            *line = Line::of(desk);
        }
    }

    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Whose a line is.
    pub(crate) fn user(&self, line: usize) -> Option<&UserName> {
        self.users.get(line)
    }
}

impl Line {
    fn of(desk: &Desk) -> Self {
        Self {
            had: desk.had,
            rate: desk.rate,
            shapes: desk.shapes,
            next: std::array::from_fn(|at| desk.shapes_in_order().get(at).copied()),
            best: desk.best,
            is_alone: desk.group.is_none() && desk.floor.is_none(),
        }
    }
}
