//! What people ask: the queue, reasons, remedies, receipts and forecasts.

pub(crate) mod explain;
pub(crate) mod forecast;
pub(crate) mod lookahead;
pub(crate) mod queue;
pub(crate) mod receipt;
pub(crate) mod remedy;
