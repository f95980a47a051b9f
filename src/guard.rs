//! The guard against mass deletion and mass disabling: a pure comparison of what is there with the last good backup.

/// When the guard trips unless a setting says otherwise, in percent of the items.
pub const DEFAULT_PERCENT: f64 = 20.0;

/// From how much on the guard trips.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Percent of the items that may vanish from one backup to the next.
    pub deleted_percent: f64,
    /// Percent of the items that may be disabled from one backup to the next.
    pub disabled_percent: f64,
}
