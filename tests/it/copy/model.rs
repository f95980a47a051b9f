//! Random lives of a repository and of its copy: backups and prunes in the source, copies that are stopped anywhere,
//! damage in both. What a copy says is held against what is there.

use std::{collections::BTreeMap, sync::Arc};

use keyvault_backup::{
    copy::{self, Copy, Fate, Report},
    model::{BackupId, Timestamp},
    report::Progress,
    repository::{BackupRef, Repository, Selector, manifest::Item},
    store::{Store as _, memory::MemoryStore},
};
use proptest::{collection::vec, prelude::*, sample::Index};

use super::{PLACES, Place, VAULT};
use crate::{
    by_hand,
    world::{
        BEGINNING,
        interruption::{Steps, Stop},
    },
};

#[derive(Clone, Debug)]
enum Step {
    /// A backup of these items, of which those with a true bit have changed since the last one.
    BackUp(Vec<(u8, bool)>),
    /// The oldest backup and all that only it names are removed from the source.
    Prune,
    /// All backups, or the one at that place, are copied; the copy is stopped at this step.
    Copy(Option<Index>, Option<(u8, u8)>),
    /// A blob is cut short or removed, in the source or in the target.
    Damage { in_source: bool, blob: Index, removes: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => vec((0..6_u8, any::<bool>()), 0..6).prop_map(Step::BackUp),
        1 => Just(Step::Prune),
        4 => (proptest::option::of(any::<Index>()), proptest::option::of((0..30_u8, 0..4_u8)))
            .prop_map(|(one, stop)| Step::Copy(one, stop)),
        1 => (any::<bool>(), any::<Index>(), any::<bool>())
            .prop_map(|(in_source, blob, removes)| Step::Damage { in_source, blob, removes }),
    ]
}

/// A source whose backups are written by hand, and the place of its copies.
struct Life {
    source: Place,
    target: Place,
    backups: u32,
    /// The newest blob of each item.
    newest: BTreeMap<u8, Item>,
}

impl Life {
    fn new() -> Self {
        let place = || Place { backups: MemoryStore::new(), state: MemoryStore::new() };
        Self { source: place(), target: place(), backups: 0, newest: BTreeMap::new() }
    }

    async fn live(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::BackUp(items) => self.back_up(items).await,
            Step::Prune => self.prune().await,
            Step::Damage { in_source, blob, removes } => self.damage(*in_source, blob, *removes).await,
            Step::Copy(one, stop) => return self.copy(one.as_ref(), *stop).await,
        }
        Ok(())
    }

    async fn back_up(&mut self, items: &[(u8, bool)]) {
        self.backups += 1;
        let began = Timestamp::from_unix(BEGINNING + i64::from(self.backups) * 3600);
        let id = BackupId::new(began, self.backups);
        let mut held = BTreeMap::new();
        for (number, has_changed) in items {
            // What was damaged is read anew, as a backup does after a verification.
            let known = self.newest.get(number).filter(|_| !has_changed).cloned();
            let known = match known {
                Some(item) if is_whole(&self.source.repository(), &item).await => Some(item),
                _ => None,
            };
            let item = match known {
                Some(item) => item,
                None => self.write(*number, &id, began).await,
            };
            self.newest.insert(*number, item.clone());
            held.insert(item.id.clone(), item);
        }
        let items: Vec<Item> = held.into_values().collect();
        let text = Arc::new(by_hand::manifest(VAULT, &id, began, &items).encode().unwrap());
        self.source.backups.create(&reference(&id).manifest(), text.into()).await.unwrap();
    }

    async fn write(&self, number: u8, id: &BackupId, began: Timestamp) -> Item {
        let bytes = format!("item {number} of {id}").into_bytes();
        let item = by_hand::secret(VAULT, id, began, &format!("secret-{number}"), &bytes);
        self.source.backups.create(&item.blob, bytes.into()).await.unwrap();
        item
    }

    async fn prune(&mut self) {
        let repository = self.source.repository();
        let backups = repository.backups(&VAULT.parse().unwrap()).await.unwrap();
        if backups.len() < 2 {
            return;
        }
        self.source.backups.delete(&backups[0].manifest()).await.unwrap();
        let mut named: Vec<Box<str>> = self.newest.values().map(|item| item.blob.clone()).collect();
        for backup in &backups[1..] {
            // A manifest that cannot be read may name any blob.
            let Ok(manifest) = repository.open(backup).await else { return };
            named.extend(manifest.items.to_vec().unwrap().into_iter().map(|item| item.blob));
        }
        for blob in self.source.names().await.iter().filter(|blob| blob.contains("/items/")) {
            if !named.iter().any(|named| **named == **blob) {
                self.source.backups.delete(blob).await.unwrap();
            }
        }
    }

    async fn damage(&self, in_source: bool, blob: &Index, removes: bool) {
        let place = if in_source { &self.source } else { &self.target };
        let names = place.names().await;
        if names.is_empty() {
            return;
        }
        let name = &names[blob.index(names.len())];
        let bytes = place.backups.read(name).await.unwrap();
        if removes {
            place.backups.delete(name).await.unwrap();
        } else {
            place.backups.replace(name, bytes.slice(..bytes.len().saturating_sub(1)).into()).await.unwrap();
        }
    }

    async fn copy(&self, one: Option<&Index>, stop: Option<(u8, u8)>) -> Result<(), TestCaseError> {
        let vault = VAULT.parse().unwrap();
        let before = self.source.repository().backups(&vault).await.unwrap();
        if before.is_empty() {
            return Ok(());
        }
        let whole_before = self.whole_in_target().await;
        let chosen: Vec<_> =
            one.map(|one| Selector::Id(before[one.index(before.len())].id.clone())).into_iter().collect();
        let steps =
            stop.map_or_else(Steps::counted, |(at, how)| Steps::stopped_at(at.into(), Stop::ALL[usize::from(how)]));
        let source = Repository::new(steps.store(self.source.backups.clone()), Arc::new(self.source.state.clone()));
        let target = Repository::new(steps.store(self.target.backups.clone()), Arc::new(self.target.state.clone()));
        let progress = Progress::default();
        let result = steps.run(copy::run(&source, &target, &vault, &chosen, PLACES, &progress)).await;
        let whole = self.whole_in_target().await;
        // Whatever became of the copy: no backup came to be that is not whole, and none is worse than it was.
        for (backup, is_whole) in &whole {
            prop_assert!(*is_whole || whole_before.contains_key(backup), "{backup} came to be and is not whole");
        }
        for (backup, was_whole) in &whole_before {
            prop_assert!(whole.get(backup).is_some_and(|is_whole| is_whole >= was_whole), "{backup} was made worse");
        }
        match result {
            Some(Ok(Copy::Done(report))) => self.judge(&report, &whole).await,
            Some(Ok(Copy::Busy)) => Err(TestCaseError::fail("nobody else is at work")),
            Some(Err(error)) => {
                prop_assert!(stop.is_some(), "{error}");
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Whether the report tells the truth.
    async fn judge(&self, report: &Report, whole: &BTreeMap<BackupId, bool>) -> Result<(), TestCaseError> {
        let source = self.source.repository();
        for row in &report.backups {
            let id = &row.backup.id;
            match row.fate {
                Fate::Present | Fate::Copied | Fate::Completed => {
                    prop_assert_eq!(whole.get(id), Some(&true), "{} is said to be there", id);
                }
                Fate::Damaged => {
                    let is_named = report.damage.iter().any(|damage| damage.backups.contains(id));
                    prop_assert!(is_named, "nothing says what is damaged of {id}");
                    let sound = is_backup_whole(&source, &row.backup).await && whole.get(id) == Some(&true);
                    prop_assert!(!sound, "{id} is whole in both places");
                }
                fate => return Err(TestCaseError::fail(format!("{id} ends {}", fate.as_str()))),
            }
        }
        Ok(())
    }

    async fn whole_in_target(&self) -> BTreeMap<BackupId, bool> {
        let repository = self.target.repository();
        let mut whole = BTreeMap::new();
        for backup in repository.backups(&VAULT.parse().unwrap()).await.unwrap() {
            whole.insert(backup.id.clone(), is_backup_whole(&repository, &backup).await);
        }
        whole
    }
}

async fn is_backup_whole(repository: &Repository, backup: &BackupRef) -> bool {
    let Ok(manifest) = repository.open(backup).await else { return false };
    for item in &manifest.items.to_vec().unwrap() {
        if !is_whole(repository, item).await {
            return false;
        }
    }
    true
}

async fn is_whole(repository: &Repository, item: &Item) -> bool {
    repository.read_item(item).await.is_ok()
}

fn reference(id: &BackupId) -> BackupRef {
    BackupRef { vault: VAULT.parse().unwrap(), id: id.clone(), label: None }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn whatever_happens_a_copy_claims_nothing_that_is_not_there(steps in vec(step(), 1..20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut life = Life::new();
            for step in &steps {
                life.live(step).await?;
            }
            Ok::<_, TestCaseError>(())
        })?;
    }
}
