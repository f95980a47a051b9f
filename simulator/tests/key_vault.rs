//! How the simulated Key Vault behaves, seen over HTTP and through Microsoft's own Rust clients.

#[path = "key_vault/access.rs"]
mod access;
#[path = "key_vault/backups.rs"]
mod backups;
#[path = "key_vault/bench.rs"]
mod bench;
#[path = "key_vault/clients.rs"]
mod clients;
#[path = "key_vault/faults.rs"]
mod faults;
#[path = "key_vault/identities.rs"]
mod identities;
#[path = "key_vault/lifecycle.rs"]
mod lifecycle;
#[path = "key_vault/limits.rs"]
mod limits;
#[path = "key_vault/pages.rs"]
mod pages;
#[path = "key_vault/recordings.rs"]
mod recordings;
