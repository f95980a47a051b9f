//! Removes the backups that the retention policy does not keep.
