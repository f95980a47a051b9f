//! Backs up Azure Key Vaults.

pub mod error;
pub mod store;
