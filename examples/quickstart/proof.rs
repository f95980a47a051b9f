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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use simulator::{
        clock::Clock,
        identity::Directory,
        key_vault::{KeyVaults, VaultOptions},
    };

    use super::*;

    /// A vault of ten items: four secrets, three keys and three certificates.
    fn vault() -> Snapshot {
        let clock = Clock::system();
        let vaults = KeyVaults::new(clock.clone(), Directory::new(clock));
        vaults.add_vault(VaultOptions::default());
        vaults.seed("contoso", 10);
        vaults.snapshot("contoso")
    }

    /// The proof when everything was backed up and restored, says the program, and `after` is what is there.
    fn proof(before: &Snapshot, after: &Snapshot) -> Proof {
        let counts = json!({ "secrets": 4, "keys": 3, "certificates": 3, "managedSkipped": 6 });
        let backup = Backup { summary: json!({ "counts": counts }), bytes: BTreeMap::new() };
        let own = before.items.iter().filter(|(_, item)| !item.managed);
        let items: Vec<Value> =
            own.map(|((kind, _), _)| json!({ "kind": kind.plural(), "outcome": "restored" })).collect();
        Proof::of(&backup, &json!({ "items": items }), before, after)
    }

    #[test]
    fn a_vault_that_came_back_is_proven() {
        let before = vault();
        let proof = proof(&before, &before);
        assert_eq!(proof.differences, Vec::<String>::new());
        let expected = json!({
            "backedUp": { "secrets": 4, "keys": 3, "certificates": 3 },
            "managedSkipped": 6,
            "restored": 10,
            "identical": 10,
            "seconds": 1.5,
        });
        assert_eq!(proof.json(Duration::from_millis(1_460)), expected);
    }

    #[test]
    fn one_changed_value_is_found() {
        let before = vault();
        let mut after = before.clone();
        after.items.values_mut().find(|item| !item.managed).unwrap().versions[0].value_hash.clear();
        let proof = proof(&before, &after);
        assert_eq!(proof.identical, 9);
        assert!(proof.differences[0].contains("secret secret-00000"), "{:?}", proof.differences);
    }

    #[test]
    fn one_missing_item_is_found_also_when_it_is_managed() {
        let before = vault();
        for managed in [false, true] {
            let mut after = before.clone();
            let name = before.items.iter().find(|(_, item)| item.managed == managed).unwrap().0;
            after.items.remove(name);
            let found = proof(&before, &after).differences;
            assert!(found.iter().any(|difference| difference.ends_with("is missing")), "{found:?}");
        }
    }

    #[test]
    fn an_item_that_is_there_but_was_not_restored_is_found() {
        let before = vault();
        let backup = Backup { summary: json!({}), bytes: BTreeMap::new() };
        let proof = Proof::of(&backup, &json!({}), &before, &before);
        assert_eq!((proof.identical, proof.differences.len()), (10, 3));
    }
}
