//! What people ask: the queue, reasons, remedies, ranks, receipts and forecasts.

pub(crate) mod explain;
pub(crate) mod forecast;
pub(crate) mod holdings;
mod lookahead;
pub(crate) mod queue;
pub(crate) mod reasons;
pub(crate) mod receipt;
pub(crate) mod remedy;
pub(crate) mod turn;
pub(crate) mod upcoming;
