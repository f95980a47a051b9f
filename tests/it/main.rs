//! The integration tests: one binary, so that there is one link.

mod azurite;
mod e2e;
mod round_trip;
mod store;
mod world;
