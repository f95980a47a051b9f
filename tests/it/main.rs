//! The integration tests: one binary, so that there is one link.

mod azurite;
mod closed_pipe;
mod quickstart;
mod round_trip;
mod store;
mod world;
