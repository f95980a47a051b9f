//! Memory does not grow with what the item blobs hold, and little with their number: the real binary on repositories of
//! two sizes.

use std::io::Write as _;

use tempfile::TempDir;

use super::VAULT;
use crate::verify::memory::{repository, watch};

const MIB: u64 = 1024 * 1024;

#[tokio::test]
async fn five_thousand_items_are_copied_in_little_more_memory_than_five_hundred() {
    let mut peaks = Vec::new();
    for items in [500, 5_000_u64] {
        let (folder, place) = (repository(items.try_into().unwrap()), TempDir::new().unwrap());
        let url = format!("file://{}/copy", place.path().display());
        for copied in [items, 0] {
            let (took, peak, body) = watch(folder.path(), &["copy", "--to", &url, VAULT]).await;
            let body = &body["value"][0];
            assert_eq!((&body["blobs"], &body["status"]), (&copied.into(), &"Succeeded".into()), "{body}");
            let line = format!(
                "copy of {copied} of {items} items, 2 backups: {:.1} MiB at most, {:.2} s",
                peak as f64 / MIB as f64,
                took.as_secs_f64()
            );
            writeln!(std::io::stderr(), "{line}").unwrap();
            peaks.push(peak);
        }
    }
    let [few, _, many, again] = peaks[..] else { unreachable!() };
    assert!(few > MIB && many < 64 * MIB && again < 64 * MIB, "{peaks:?} bytes");
    // The text of a manifest is written at once: three mebibytes here.
    assert!(many < few + 18 * MIB, "{few} bytes for 500 items, {many} for 5,000");
}
