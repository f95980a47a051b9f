//! Backs up Azure Key Vaults.
