//! What the tests share: private services, programs under test, bundles.
