//! Holds the lead by a lease in the store, or stands by.
