//! Proves that a backup can be restored, by restoring it into an empty vault.
