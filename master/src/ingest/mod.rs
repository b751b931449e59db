//! Takes bundles from a watched folder or bucket.
