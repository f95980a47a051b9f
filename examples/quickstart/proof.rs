//! The proof: every item of the lost vault is in the other one, and nothing about it has changed.

use std::time::Duration;

use serde_json::{Map, Value, json};
use simulator::key_vault::{Kind, Snapshot};

use crate::{
    app::Backup,
    story::{Story, count, number},
};

/// What came of it, by kind and as a whole.
pub(crate) struct Proof {
    kinds: [OfKind; 3],
    managed_skipped: u64,
    /// Items that are as they were.
    pub(crate) identical: u64,
    /// What is not as it was, one sentence each.
    pub(crate) differences: Vec<String>,
}

/// The items of one kind, and on how many of them each step did its work.
struct OfKind {
    kind: Kind,
    items: u64,
    versions: u64,
    backed_up: u64,
    restored: u64,
    identical: u64,
}

impl Proof {
    /// Compares what was there with what is there now, and with what the backup and the restore say they did.
    pub(crate) fn of(backup: &Backup, operation: &Value, before: &Snapshot, after: &Snapshot) -> Self {
        let counts = &backup.summary["counts"];
        let kinds = Kind::ALL.map(|kind| {
            let own = || before.items.iter().filter(move |((of, _), item)| *of == kind && !item.managed);
            let is_restored = |report: &&Value| report["kind"] == kind.plural() && report["outcome"] == "restored";
            OfKind {
                kind,
                items: own().count() as u64,
                versions: own().map(|(_, item)| item.versions.len() as u64).sum(),
                backed_up: number(&counts[kind.plural()]),
                restored: operation["items"].as_array().into_iter().flatten().filter(is_restored).count() as u64,
                identical: own().filter(|(name, item)| after.items.get(name) == Some(item)).count() as u64,
            }
        });
        let mut differences = before.differences(after);
        differences.extend(kinds.iter().filter_map(OfKind::difference));
        let identical = kinds.iter().map(|of| of.identical).sum();
        Self { kinds, managed_skipped: number(&counts["managedSkipped"]), identical, differences }
    }

    /// For people.
    pub(crate) fn show(&self, story: &mut Story) {
        let rows = self.kinds.iter().map(|of| {
            let [items, versions, restored, identical] = [of.items, of.versions, of.restored, of.identical].map(count);
            [of.kind.plural().to_owned(), items, versions, restored, identical]
        });
        story.table(["Kind", "Items", "Versions", "Restored", "Identical"], rows);
        story.line("   Compared: values, every version and its dates, tags, enabled or not, policies of certificates.");
    }

    /// For programs.
    pub(crate) fn json(&self, took: Duration) -> Value {
        let backed_up: Map<String, Value> =
            self.kinds.iter().map(|of| (of.kind.plural().to_owned(), of.backed_up.into())).collect();
        json!({
            "backedUp": backed_up,
            "managedSkipped": self.managed_skipped,
            "restored": self.kinds.iter().map(|of| of.restored).sum::<u64>(),
            "identical": self.identical,
            "seconds": (took.as_secs_f64() * 10.0).round() / 10.0,
        })
    }
}

impl OfKind {
    fn difference(&self) -> Option<String> {
        let Self { kind, items, backed_up, restored, identical, .. } = self;
        let all_the_same = [backed_up, restored, identical].iter().all(|number| *number == items);
        (!all_the_same).then(|| {
            let kind = kind.plural();
            format!("of {items} {kind}, {backed_up} were backed up, {restored} restored, {identical} are identical")
        })
    }
}
