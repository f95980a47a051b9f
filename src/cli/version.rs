//! What `--version` says: of which source, by what and for what this program was built, and which backups it reads.

use crate::repository::manifest::FORMAT_VERSION;

/// Below the name of the program. `build.rs` finds the facts out.
pub(super) const FACTS: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit         ",
    env!("BUILD_COMMIT"),
    "\ntarget         ",
    env!("BUILD_TARGET"),
    "\ncompiler       ",
    env!("BUILD_COMPILER"),
    "\nstored format  1",
);

// A constant text can hold no number but one that is written out.
const _: () = assert!(FORMAT_VERSION == 1, "correct the stored format in FACTS");
