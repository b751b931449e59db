//! Reads and judges bundles: the zip, its configuration and its Dockerfile.
