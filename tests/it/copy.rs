//! Copies of a repository: byte for byte, only what is missing, and sound wherever they are stopped.

mod command;
mod crash;
mod damage;
mod meanwhile;
mod memory;
mod model;
mod places;

use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{TryStreamExt as _, stream::BoxStream};
use keyvault_backup::{
    copy::{self, Copy, Fate, Report},
    error::{ErrorKind, Result},
    model::{BackupId, Label},
    report::{Outcome, Progress, Status},
    repository::{Repository, Selector, guard::Acknowledgement, manifest::Guard},
    restore,
    store::{Content, Create, Entry, Lease, Store, memory::MemoryStore},
};

use crate::{
    backup::DAY,
    verify::{blobs_of, ids, manifest_of, three_days},
    world::World,
};

const VAULT: &str = "contoso-prod";
const TARGET: &str = "contoso-dr";

/// How many items are copied at once, and so how many can be lost half-way.
const PLACES: usize = 2;

/// The place of a copy.
struct Place {
    backups: MemoryStore,
    state: MemoryStore,
}

impl Place {
    /// An empty one on the clock of that world.
    fn in_world(world: &World) -> Self {
        let store = || {
            let clock = world.vaults.clock().clone();
            MemoryStore::with_clock(move || time::OffsetDateTime::from_unix_timestamp(clock.now()).unwrap())
        };
        Self { backups: store(), state: store() }
    }

    fn repository(&self) -> Repository {
        Repository::new(Arc::new(self.backups.clone()), Arc::new(self.state.clone()))
    }

    /// Every backup that exists here is whole. How many there are.
    async fn assert_sound(&self, case: &str) -> usize {
        let repository = self.repository();
        let backups = repository.backups(&VAULT.parse().unwrap()).await.unwrap();
        for backup in &backups {
            let manifest = repository.open(backup).await.unwrap_or_else(|error| panic!("{case}: {error}"));
            for item in &manifest.items.to_vec().unwrap() {
                repository.read_item(item).await.unwrap_or_else(|error| panic!("{case}: {backup}: {error}"));
            }
        }
        backups.len()
    }

    async fn names(&self) -> Vec<String> {
        content(&self.backups).await.into_iter().map(|(name, _)| name).collect()
    }
}

/// All names and bytes of a store.
async fn content(store: &dyn Store) -> Vec<(String, Bytes)> {
    let names: Vec<String> = store.list("", None).map_ok(|entry| entry.name).try_collect().await.unwrap();
    let mut content = Vec::new();
    for name in names {
        let bytes = store.read(&name).await.unwrap();
        content.push((name, bytes));
    }
    content
}

async fn try_copy(source: &Repository, target: &Repository, chosen: &[Selector]) -> Result<Report> {
    match copy::run(source, target, &VAULT.parse().unwrap(), chosen, PLACES, &Progress::default()).await? {
        Copy::Done(report) => Ok(report),
        Copy::Busy => panic!("nobody else is at work on the target"),
    }
}

async fn copy_to(world: &World, place: &Place) -> Report {
    try_copy(&world.repository(), &place.repository(), &[]).await.unwrap()
}

fn fates(report: &Report) -> Vec<Fate> {
    report.backups.iter().map(|row| row.fate).collect()
}

/// A store that writes down what is read and written.
struct Noting {
    inner: MemoryStore,
    notes: Mutex<Vec<String>>,
}

impl Noting {
    fn new(inner: &MemoryStore) -> Arc<Self> {
        Arc::new(Self { inner: inner.clone(), notes: Mutex::default() })
    }

    fn note(&self, verb: &str, name: &str) {
        self.notes.lock().unwrap().push(format!("{verb} {name}"));
    }

    /// What was done to blobs whose names contain this, each time.
    fn notes(&self, verb: &str, part: &str) -> usize {
        let notes = self.notes.lock().unwrap();
        notes.iter().filter(|note| note.starts_with(verb) && note.contains(part)).count()
    }
}

impl fmt::Debug for Noting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Noting")
    }
}

#[async_trait]
impl Store for Noting {
    async fn create(&self, name: &str, bytes: Content) -> Result<Create> {
        self.note("create", name);
        self.inner.create(name, bytes).await
    }

    async fn replace(&self, name: &str, _bytes: Content) -> Result<()> {
        panic!("{name} is replaced in a container of backups")
    }

    async fn read(&self, name: &str) -> Result<Bytes> {
        self.note("read", name);
        self.inner.read(name).await
    }

    async fn read_part(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        self.note("read", name);
        self.inner.read_part(name, range).await
    }

    fn list(&self, prefix: &str, after: Option<&str>) -> BoxStream<'_, Result<Entry>> {
        self.note("list", prefix);
        self.inner.list(prefix, after)
    }

    fn folders(&self, prefix: &str) -> BoxStream<'_, Result<String>> {
        self.inner.folders(prefix)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        panic!("{name} is deleted from a container of backups")
    }

    async fn lease(&self, name: &str) -> Result<Box<dyn Lease>> {
        self.inner.lease(name).await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_the_same_byte_for_byte_and_everything_comes_back_from_it() {
    let world = three_days().await;
    let place = Place::in_world(&world);
    let before = content(&world.backups).await;
    let report = copy_to(&world, &place).await;
    assert_eq!(report.status(), Status::Succeeded);
    assert_eq!(fates(&report), [Fate::Copied; 3]);
    let copied = content(&place.backups).await;
    assert_eq!(copied, before);
    assert_eq!(content(&world.backups).await, before);
    // Five items, one of them twice; what backups share is copied for the newest.
    let sizes = copied.iter().filter(|(name, _)| name.contains("/items/")).map(|(_, bytes)| bytes.len() as u64);
    assert_eq!(report.total(), (6, sizes.sum()));
    assert_eq!(report.backups.iter().map(|row| row.blobs).collect::<Vec<_>>(), [5, 0, 1]);

    // The first repository is lost with the vault.
    let repository = place.repository();
    world.vaults.lose_everything(TARGET);
    let newest = repository.find(&VAULT.parse().unwrap(), &Selector::Latest).await.unwrap();
    let manifest = repository.open(&newest).await.unwrap();
    let (target, options) = (world.vault(TARGET), world.restore_options());
    let plan = restore::plan(&manifest, &target, &options).await.unwrap();
    let reports = restore::execute(&plan, &manifest, &repository, &target, &options, false, &Progress::default())
        .await
        .unwrap()
        .to_vec()
        .unwrap();
    assert!(reports.iter().all(|report| report.outcome == Outcome::Restored), "{reports:#?}");
    let (source, restored) = (world.vaults.snapshot(VAULT), world.vaults.snapshot(TARGET));
    assert_eq!(source.differences(&restored), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_second_copy_reads_no_item_and_writes_nothing() {
    let world = three_days().await;
    let place = Place::in_world(&world);
    copy_to(&world, &place).await;
    let (from, to) = (Noting::new(&world.backups), Noting::new(&place.backups));
    let source = Repository::new(from.clone(), Arc::new(world.state.clone()));
    let target = Repository::new(to.clone(), Arc::new(place.state.clone()));
    let report = try_copy(&source, &target, &[]).await.unwrap();
    assert_eq!((fates(&report), report.total()), (vec![Fate::Present; 3], (0, 0)));
    assert_eq!((from.notes("read", "/items/"), to.notes("read", "/items/"), to.notes("create", "")), (0, 0, 0));
    // Of each manifest in the source its end, and no listing of items.
    assert_eq!((from.notes("read", "/backups/"), from.notes("list", "")), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn after_another_backup_only_its_own_blobs_and_its_manifest_are_copied() {
    let world = three_days().await;
    let place = Place::in_world(&world);
    copy_to(&world, &place).await;
    world.vaults.set_secret(VAULT, "quince", "value");
    world.pass(crate::backup::SETTLED);
    world.back_up(VAULT).await.unwrap();
    let (from, to) = (Noting::new(&world.backups), Noting::new(&place.backups));
    let source = Repository::new(from.clone(), Arc::new(world.state.clone()));
    let target = Repository::new(to.clone(), Arc::new(place.state.clone()));
    let report = try_copy(&source, &target, &[]).await.unwrap();
    assert_eq!(fates(&report), [Fate::Copied, Fate::Present, Fate::Present, Fate::Present]);
    assert_eq!((from.notes("read", "/items/"), to.notes("create", "/items/")), (1, 1));
    assert_eq!((to.notes("create", ""), report.total().0), (2, 1));
    assert_eq!(content(&place.backups).await, content(&world.backups).await);
}

#[tokio::test(start_paused = true)]
async fn one_backup_is_copied_with_what_it_needs_and_the_others_can_follow() {
    let world = three_days().await;
    let ids = ids(&world).await;
    for (selector, copied) in [
        (Selector::Latest, &ids[2]),
        (Selector::Id(ids[0].clone()), &ids[0]),
        (Selector::At(ids[1].started().plus(DAY / 2)), &ids[1]),
    ] {
        let place = Place::in_world(&world);
        let report = try_copy(&world.repository(), &place.repository(), std::slice::from_ref(&selector)).await.unwrap();
        assert_eq!((fates(&report), &report.backups[0].backup.id), (vec![Fate::Copied], copied), "{selector}");
        assert_eq!(place.assert_sound("one backup").await, 1);
        let blobs = place.names().await.into_iter().filter(|name| name.contains("/items/")).count();
        assert_eq!(blobs, if copied == &ids[2] { 5 } else { 4 }, "{selector}");
        let report = copy_to(&world, &place).await;
        assert_eq!(report.count(Fate::Copied), 2);
        assert_eq!(content(&place.backups).await, content(&world.backups).await);
    }
    let twice = [Selector::Latest, Selector::Id(ids[2].clone()), Selector::Id(ids[0].clone())];
    let place = Place::in_world(&world);
    assert_eq!(try_copy(&world.repository(), &place.repository(), &twice).await.unwrap().backups.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_plan_says_what_a_copy_then_does_and_changes_nothing() {
    let world = three_days().await;
    let place = Place::in_world(&world);
    let (source, target, vault) = (world.repository(), place.repository(), VAULT.parse().unwrap());
    let from = content(&world.state).await;
    let plan = copy::plan(&source, &target, &vault, &[Selector::Latest]).await.unwrap();
    assert_eq!((fates(&plan), plan.total().0), (vec![Fate::Missing], 5));
    let plan = copy::plan(&source, &target, &vault, &[]).await.unwrap();
    assert_eq!((fates(&plan), plan.total().0), (vec![Fate::Missing; 3], 6));
    assert_eq!((content(&place.backups).await, content(&place.state).await), (Vec::new(), Vec::new()));
    assert_eq!(content(&world.state).await, from);
    let progress = Progress::default();
    let Copy::Done(report) = copy::run(&source, &target, &vault, &[], PLACES, &progress).await.unwrap() else {
        unreachable!()
    };
    assert_eq!(report.total(), plan.total());
    let look = progress.look();
    assert_eq!((look.total, look.done, look.bytes), (6, 6, plan.total().1));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_not_found_and_nothing_is_written() {
    let world = three_days().await;
    let place = Place::in_world(&world);
    let (source, target) = (world.repository(), place.repository());
    let label = Selector::Label("before-upgrade".parse::<Label>().unwrap());
    let error = try_copy(&source, &target, &[Selector::Latest, label]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("No backup before-upgrade of vault contoso-prod"), "{error}");
    let vault = "contoso-pord".parse().unwrap();
    let error = copy::run(&source, &target, &vault, &[], PLACES, &Progress::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!((content(&place.backups).await, content(&place.state).await), (Vec::new(), Vec::new()));
}

/// A mark in a manifest and the word that took it down belong together: without the word, a restore from the copy warns,
/// and a prune of the copy removes nothing.
#[tokio::test(start_paused = true)]
async fn what_people_said_of_the_guard_is_copied_and_no_other_state() {
    let world = three_days().await;
    let place = Place::in_world(&world);
    let ids = ids(&world).await;
    let said = |tripped_by: &BackupId, by: &str| Acknowledgement {
        format_version: 1,
        vault: VAULT.parse().unwrap(),
        guard: Guard {
            tripped_by: tripped_by.clone(),
            compared_with: ids[0].clone(),
            items: 9,
            deleted: 9,
            disabled: 0,
        },
        acknowledged_at: world.now(),
        acknowledged_by: by.to_owned(),
        reason: None,
    };
    let (source, target) = (world.repository(), place.repository());
    source.acknowledge(said(&ids[1], "ada")).await.unwrap();
    source.acknowledge(said(&ids[2], "ada")).await.unwrap();
    target.acknowledge(said(&ids[2], "grace")).await.unwrap();
    copy_to(&world, &place).await;
    let state: Vec<String> = content(&place.state).await.into_iter().map(|(name, _)| name).collect();
    let prefix = format!("guard-acknowledgements/{VAULT}");
    let lease = [format!("lease-holders/{VAULT}"), format!("leases/{VAULT}")];
    let words = [&ids[1], &ids[2]].map(|id| format!("{prefix}/{id}.json"));
    assert_eq!(state, [&words[..], &lease].concat());
    let vault = VAULT.parse().unwrap();
    for (id, by) in [(&ids[1], "ada"), (&ids[2], "grace")] {
        let said = target.acknowledgement(&vault, id).await.unwrap().unwrap();
        assert_eq!(said.acknowledged_by, by);
    }
}

#[tokio::test(start_paused = true)]
async fn another_backup_under_the_same_name_is_refused_before_anything_is_written() {
    let world = three_days().await;
    let ids = ids(&world).await;
    let manifest = manifest_of(&ids[0]);
    let text = String::from_utf8(world.backups.read(&manifest).await.unwrap().to_vec()).unwrap();
    let mut other = keyvault_backup::repository::manifest::Manifest::decode(&manifest, text.as_bytes()).unwrap();
    other.header.finished_at = other.header.finished_at.plus(DAY);
    let label: Label = "before-upgrade".parse().unwrap();
    let mut labelled = other.clone();
    labelled.header.label = Some(label.clone());
    let labelled_name = manifest.replace(".json", ".before-upgrade.json");
    for (name, manifest) in [(&manifest, &other), (&labelled_name, &labelled)] {
        let place = Place::in_world(&world);
        place.backups.create(name, Arc::new(manifest.encode().unwrap()).into()).await.unwrap();
        let before = content(&place.backups).await;
        let error = try_copy(&world.repository(), &place.repository(), &[]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.message().contains("holds another backup under the name") && error.message().contains(name));
        assert_eq!(content(&place.backups).await, before);
        let plan = copy::plan(&world.repository(), &place.repository(), &VAULT.parse().unwrap(), &[]).await;
        assert_eq!(plan.unwrap_err().kind(), ErrorKind::Conflict);
        // A backup whose name is free is not in the way.
        let report = try_copy(&world.repository(), &place.repository(), &[Selector::Latest]).await.unwrap();
        assert_eq!(fates(&report), [Fate::Copied]);
    }
}

/// Two apps that back up one vault can be copied to one place.
#[tokio::test(start_paused = true)]
async fn backups_that_the_target_has_of_its_own_stay_as_they_are() {
    let world = three_days().await;
    let place = Place::in_world(&world);
    world.back_up_from(&world.vault(VAULT), &place.repository(), &world.backup_options()).await.unwrap();
    let own = content(&place.backups).await;
    let report = copy_to(&world, &place).await;
    assert_eq!(fates(&report), [Fate::Copied; 3]);
    assert_eq!(place.assert_sound("both").await, 4);
    let all = content(&place.backups).await;
    assert!(own.iter().all(|blob| all.contains(blob)));
    assert_eq!(blobs_of(&world, "apple").await.len(), 1);
}
