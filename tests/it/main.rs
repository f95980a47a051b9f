//! The integration tests: one binary, so that there is one link.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests arrange and look at the outside")]

mod abandoned;
mod api;
mod azurite;
mod backup;
mod cli;
mod closed_pipe;
mod crash;
mod ctrl_c;
mod dependencies;
mod diff;
mod drill;
mod e2e;
mod faults;
mod format;
mod format_docs;
mod funcignore;
mod fuzz;
mod guard;
mod host_payloads;
mod hostile;
mod infra;
mod leaks;
mod links_docs;
mod local_azure;
mod openapi_docs;
mod pacing;
mod prune;
mod quickstart;
mod refusals;
mod restore;
mod retention;
mod rights;
mod roles_docs;
mod round_trip;
mod schemathesis;
mod settings_docs;
mod status;
mod store;
mod telemetry;
mod tidy;
mod verify;
mod world;
