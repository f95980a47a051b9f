//! Which vaults are protected how well.
