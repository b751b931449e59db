//! A session between a master and a worker: frames with credit, proof and number. Pure; the shells move the messages.
//!
//! Live messages can be lost, repeated and forged. Each direction numbers its messages and proves them with a key that
//! only this session has, so a lost one ends the session with a reason instead of leaving bytes out, and a forged or
//! repeated one has no effect. Pieces of data need credit of the receiver, so neither end holds more than
//! [`WINDOW`] of them.

mod endpoint;
mod frame;

pub use endpoint::{Broken, Endpoint, WINDOW, named, nonce};
pub use frame::{Channel, Frame, PIECE_MAX_BYTES, Unreadable};
