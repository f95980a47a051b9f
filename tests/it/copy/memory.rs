//! Memory does not grow with what the item blobs hold, and little with their number: the real binary on repositories of
//! two sizes.

use tempfile::TempDir;

use super::VAULT;
use crate::{
    memory::{MIB, measure, tell},
    verify::memory::repository,
};

#[tokio::test]
async fn five_thousand_items_are_copied_in_little_more_memory_than_five_hundred() {
    let mut peaks = Vec::new();
    for items in [500, 5_000_u64] {
        let (folder, place) = (repository(items.try_into().unwrap()), TempDir::new().unwrap());
        let url = format!("file://{}/copy", place.path().display());
        let settings = [("BACKUP_STORE_URL", ""), ("STATE_STORE_URL", "/state")];
        let settings =
            settings.map(|(name, below)| (name.to_owned(), format!("file://{}{below}", folder.path().display())));
        for copied in [items, 0] {
            let arguments = ["copy", "--to", &url, VAULT, "--output", "json"];
            let measured = measure(&settings.clone().into(), &arguments).await;
            let body: serde_json::Value = serde_json::from_str(&measured.stdout).unwrap();
            let body = &body["value"][0];
            assert_eq!((&body["blobs"], &body["status"]), (&copied.into(), &"Succeeded".into()), "{body}");
            tell(&format!("copy of {copied} of {items} items, 2 backups"), &measured);
            peaks.push(measured.peak);
        }
    }
    let [few, _, many, again] = peaks[..] else { unreachable!() };
    assert!(few > MIB && many < 64 * MIB && again < 64 * MIB, "{peaks:?} bytes");
    // The text of a manifest is written at once: three mebibytes here.
    assert!(many < few + 18 * MIB, "{few} bytes for 500 items, {many} for 5,000");
}
