//! Static rules on a Dockerfile's text.
