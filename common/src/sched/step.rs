//! The transitions.

use crate::time::Timestamp;

use super::effect::Effects;
use super::event::{Event, Rejected};
use super::state::State;

/// Takes one event.
///
/// # Errors
/// [`Rejected`] when the event is stale or not allowed; then nothing changed.
pub fn step(
    state: &mut State,
    now: Timestamp,
    event: Event,
    effects: &mut Effects,
) -> Result<(), Rejected> {
    let _ = (state, now, event, effects);
    Ok(())
}
