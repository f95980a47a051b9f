//! Backs up every key, secret and certificate of Azure Key Vaults to Blob Storage, and restores them.
//!
//! Modules in reading order; each may use those above it only (`docs/architecture.md`).

pub mod error;
pub mod events;
pub mod guard;
pub mod model;
pub mod report;
pub mod retention;
pub mod rows;
pub mod spool;
pub mod store;
pub mod telemetry;
pub mod token;
pub mod vault;

pub mod repository;

pub mod backup;
pub mod copy;
pub mod coverage;
pub mod diff;
pub mod operation;
pub mod prune;
pub mod restore;
pub mod verify;

pub mod drill;

pub mod config;
pub mod jobs;
pub mod json;

pub mod app;

pub mod cli;
pub mod functions;
