//! Which of the machines that fit is taken: the scorers, and what they remember between decisions.
//!
//! A scorer turns a machine and a request into a score; the lowest is taken. All but `random` depend
//! on the machine and the request alone, so that their scores are kept, by request, until the machine
//! changes. Whether a request fits at all is left to [`super::fits`].

mod frag;
mod mix;
mod ranking;
mod scorer;

pub(crate) use ranking::Rankings;
