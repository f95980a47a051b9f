//! The Azure that `keyvault-backup` can be run against on one machine.
//!
//! It imitates what matters for backing up and restoring Key Vaults, is built from recorded traffic of the real
//! service, and **refuses what it does not know** with a loud failure. It is never linked into the shipped binary.
//!
//! Reading order: [`key_vault`] is the service, [`identity`] says who may call it, [`transport`] and [`proxy`] are its
//! two front doors, [`azurite`] starts Microsoft's own storage emulator beside it, and [`functions_host`] runs the
//! custom handler as the real Functions host does. [`soak`] drives the unmodified program through all of it and checks
//! that nothing is lost.

pub mod azurite;
pub mod clock;
pub mod functions_host;
pub mod identity;
pub mod key_vault;
pub mod mishap;
pub mod proxy;
pub mod soak;
pub mod transport;
