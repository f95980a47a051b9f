//! Checks that every backup of a vault can be restored from what is stored.
