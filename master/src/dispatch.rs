//! Performs effects: fills orders and publishes them, archives records.
