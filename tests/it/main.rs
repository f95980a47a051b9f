//! The integration tests: one binary, so that there is one link.

mod azurite;
mod backup;
mod crash;
mod format;
mod restore;
mod round_trip;
mod store;
mod world;
