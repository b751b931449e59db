//! The broker over RabbitMQ.
//!
//! Two connections, one to publish and one to consume, so that a broker which takes no publications
//! (its memory or disk alarm) still delivers. Each is supervised from outside ([`lane`]) and built anew
//! when it fails, with everything that it needs declared again ([`topology`]); the library's own recovery
//! is not used, because it gives up on channels that the broker closed. Channels are disposable.

mod broker;
mod consumer;
mod dead;
mod lane;
mod live;
mod options;
mod publisher;
mod rights;
mod settings;
mod topology;

pub use broker::Broker;
pub(super) use consumer::{Claim, Consumer};
pub use options::Options;
pub(super) use publisher::Sent;
pub use rights::{Rights, worker_client};
pub use settings::Settings;
