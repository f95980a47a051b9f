//! Memory hardly grows with the number of items: the real binary on vaults of two sizes, behind the proxy.

use serde_json::Value;

use super::{SOURCE, TARGET};
use crate::{
    local_azure::{LocalAzure, Settings},
    memory::{Measured, assert_hardly_grows, measure, measure_to, tell},
};

/// What is measured of a vault with so many secrets.
struct Size {
    items: usize,
    settings: Settings,
    /// The most memory of each command, in bytes.
    peaks: Vec<(String, u64)>,
}

impl Size {
    /// Runs a command that ends with this code; what it printed.
    async fn measure(&mut self, code: i32, arguments: &[&str]) -> String {
        let measured: Measured = measure_to(code, &self.settings, arguments).await;
        let command = arguments.join(" ");
        tell(&format!("{} items, {command}", self.items), &measured);
        self.peaks.push((command, measured.peak));
        measured.stdout
    }

    /// The same of a command that prints a list under this name, which must have a row for each item.
    async fn measure_list(&mut self, code: i32, arguments: &[&str], list: &str) -> Value {
        let arguments = [arguments, &["--output", "json"]].concat();
        let body: Value = serde_json::from_str(&self.measure(code, &arguments).await).unwrap();
        assert_eq!(body[list].as_array().unwrap().len(), self.items, "{arguments:?}");
        body
    }
}

async fn peaks(items: usize) -> Vec<(String, u64)> {
    let azure = LocalAzure::with(&[SOURCE, TARGET]).await;
    for number in 0..items {
        azure.vaults.set_secret(SOURCE, &format!("secret-{number:06}"), "value");
    }
    let mut size = Size { items, settings: azure.settings(), peaks: Vec::new() };
    measure(&size.settings, &["backup", SOURCE]).await;

    let show = size.measure(0, &["show", SOURCE]).await;
    assert!(show.contains(&format!("None of {items} items needs attention. --all-rows shows every one.")), "{show}");
    size.measure_list(0, &["show", SOURCE], "items").await;
    let all = size.measure(0, &["show", SOURCE, "--all-rows"]).await;
    assert_eq!(all.matches("secrets/secret-").count(), items);

    let plan = ["restore", SOURCE, "--to", TARGET, "--dry-run"];
    let text = size.measure(0, &plan).await;
    assert!(text.contains(&format!("{items} to restore. It takes")) && text.lines().count() < 10, "{text}");
    size.measure_list(0, &plan, "items").await;
    // Nothing of it is in the target.
    let body = size.measure_list(1, &["diff", SOURCE, "--with", TARGET, "--live"], "differences").await;
    assert_eq!(body["counts"]["removed"], items);

    let body = size.measure_list(0, &["restore", SOURCE, "--to", TARGET], "items").await;
    assert_eq!(body["counts"], serde_json::json!({ "restored": items }));
    // All of it is in the target, and the plan has looked at each.
    let body = size.measure_list(0, &plan, "items").await;
    assert_eq!(body["counts"]["alreadyPresent"], items);
    azure.assert_all_known();
    size.peaks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_items_take_little_more_memory_than_a_thousand() {
    assert_hardly_grows(peaks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_long_lists_nothing_is_restored_and_the_remedy_is_named() {
    let azure = LocalAzure::with(&[SOURCE, TARGET]).await;
    for number in 0..1_000 {
        azure.vaults.set_secret(SOURCE, &format!("secret-{number:06}"), "value");
    }
    measure(&azure.settings(), &["backup", SOURCE]).await;
    let restore = ["restore", SOURCE, "--to", TARGET];
    let nowhere = azure.folder().join("nowhere");
    let refused = azure.run_with(&[("TMPDIR", nowhere.to_str().unwrap())], &restore).await;
    assert!(refused.code == 6 && refused.stderr.contains("Set TMPDIR to a folder"), "{refused:?}");
    assert!(azure.vaults.snapshot(TARGET).items.is_empty());
    let restored = azure.run(&restore).await;
    assert_eq!((restored.code, azure.vaults.snapshot(TARGET).items.len()), (0, 1_000), "{restored:?}");
}
