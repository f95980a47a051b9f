//! The integration tests: one binary, so that there is one link.

mod api;
mod azurite;
mod cli;
mod host_payloads;
mod leaks;
mod local_azure;
mod round_trip;
mod store;
mod tidy;
mod world;
