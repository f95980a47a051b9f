//! What differs between two backups, or a backup and the live vault.
