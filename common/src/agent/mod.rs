//! What a worker does with its attempts: a pure state machine.
//!
//! [`step()`] takes one event and changes [`State`]; [`Effects`] says what must be committed and what is
//! done after that, or at once where [`Act::needs_commit`] says so. The worker's shell owns the disk, the engine and the clock, and sends
//! back what came of each act as one more event. Everything that must survive a crash stands in
//! [`Attempt`] and [`Meta`]; [`Event::Resumed`] derives from them, and from what the engine shows,
//! everything that was under way.
//!
//! - [`state`](State): the attempts, their stages, and what is durable of them
//! - [`mod@step`]: every transition
//! - [`classify`]: how an exit is told, and who is to blame
//! - [`Prefetch`]: which images are made ready before their attempts come; beside the state machine, which it never moves
//!
//! The rule that everything here serves: an attempt is started at most once.

mod adopt;
mod effect;
mod event;
mod exit;
mod prefetch;
mod progress;
mod read;
mod run;
mod state;
mod step;
#[cfg(test)]
mod tests;

pub use effect::{Act, Effects};
pub use event::{Created, Event, Rejected, Seen, StartFault, Status, Stored};
pub use exit::{Ender, Exit, classify};
pub use prefetch::{Expected, Outdated, Prefetch};
pub use read::{Orders, ReadError, read, read_upcoming};
pub use run::{Run, Unreadable};
pub use state::{Attempt, Ended, Gate, Meta, Settings, Stage, State, StopOrder};
pub use step::step;
