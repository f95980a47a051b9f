//! How the simulated Key Vault behaves, seen over HTTP and through Microsoft's own Rust clients.

#[path = "key_vault/bench.rs"]
mod bench;
#[path = "key_vault/clients.rs"]
mod clients;
#[path = "key_vault/lifecycle.rs"]
mod lifecycle;
#[path = "key_vault/recordings.rs"]
mod recordings;
