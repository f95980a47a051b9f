//! Others are at work on the same backups while they are verified: that is no damage.

use std::{
    fmt,
    future::Future,
    ops::Range,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use keyvault_backup::{
    error::Result,
    repository::{Repository, findings::Wrong},
    store::{Content, Create, Entry, Lease, Store, memory::MemoryStore},
};

use super::{VAULT, blobs_of, ids, manifest_of, three_days, verify_with};
use crate::world::World;

pub(crate) type Acted = Pin<Box<dyn Future<Output = ()> + Send>>;
type Act = Box<dyn Fn() -> Acted + Send + Sync>;

/// A store that lets somebody else act before its n-th call. It is read only.
pub(crate) struct Acting {
    inner: MemoryStore,
    calls: AtomicU64,
    at: u64,
    act: Act,
}

impl Acting {
    pub(crate) fn new(inner: &MemoryStore, at: u64, act: impl Fn() -> Acted + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { inner: inner.clone(), calls: AtomicU64::new(0), at, act: Box::new(act) })
    }

    /// How many calls there were.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    async fn call(&self) {
        if self.calls.fetch_add(1, Relaxed) == self.at {
            (self.act)().await;
        }
    }
}

impl fmt::Debug for Acting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acting")
    }
}

#[async_trait]
impl Store for Acting {
    async fn create(&self, _name: &str, _content: Content) -> Result<Create> {
        panic!("it writes no backups")
    }

    async fn replace(&self, _name: &str, _content: Content) -> Result<()> {
        panic!("it replaces no backups")
    }

    async fn read(&self, name: &str) -> Result<Bytes> {
        self.call().await;
        self.inner.read(name).await
    }

    async fn read_part(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        self.call().await;
        self.inner.read_part(name, range).await
    }

    fn list(&self, prefix: &str, after: Option<&str>) -> BoxStream<'_, Result<Entry>> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        let rows = async move {
            self.call().await;
            self.inner.list(&prefix, after.as_deref())
        };
        futures::stream::once(rows).flatten().boxed()
    }

    fn folders(&self, prefix: &str) -> BoxStream<'_, Result<String>> {
        self.inner.folders(prefix)
    }

    async fn delete(&self, _name: &str) -> Result<()> {
        panic!("it deletes no backups")
    }

    async fn lease(&self, _name: &str) -> Result<Box<dyn Lease>> {
        panic!("it takes no lease on backups")
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

/// Verifies while `act` is done before each call in turn, and hands what was found to `judge`.
async fn for_each_call(act: fn(Arc<World>) -> Acted, judge: fn(u64, Vec<(Wrong, bool)>)) {
    for at in 0.. {
        let world = Arc::new(three_days().await);
        let other = world.clone();
        let store = Acting::new(&world.backups, at, move || act(other.clone()));
        let repository = Repository::new(store.clone(), Arc::new(world.state.clone()));
        let found = verify_with(&world, &repository, VAULT).await.unwrap();
        if store.calls() <= at {
            assert!(at >= 10, "only {at} calls");
            break;
        }
        judge(at, found.findings.iter().map(|finding| (finding.finding, finding.is_damage())).collect());
        assert_eq!(found.sound_backups, found.backups, "at call {at}: {found:#?}");
    }
}

/// As retention does: the manifest first, then what no other manifest names.
#[tokio::test(start_paused = true)]
async fn a_backup_that_is_removed_meanwhile_is_no_damage() {
    let act = |world: Arc<World>| -> Acted {
        Box::pin(async move {
            let oldest = ids(&world).await.remove(0);
            let blob = blobs_of(&world, "pear").await.remove(0);
            world.backups.delete(&manifest_of(&oldest)).await.unwrap();
            world.backups.delete(&blob).await.unwrap();
        })
    };
    for_each_call(act, |at, found| assert_eq!(found, [], "at call {at}")).await;
}

/// The manifest is gone and its blobs are about to go.
#[tokio::test(start_paused = true)]
async fn blobs_of_a_backup_that_is_just_being_removed_are_not_told_of() {
    let act = |world: Arc<World>| -> Acted {
        Box::pin(async move {
            let oldest = ids(&world).await.remove(0);
            world.backups.delete(&manifest_of(&oldest)).await.unwrap();
        })
    };
    // Removed before anything was looked at, it was removed some time ago.
    for_each_call(act, |at, found| {
        assert_eq!(found.len(), usize::from(at == 0), "at call {at}: {found:?}");
        assert!(found.iter().all(|(wrong, is_damage)| *wrong == Wrong::UnnamedBlobs && !is_damage));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_backup_that_is_made_meanwhile_is_verified_too_or_left_to_the_next_time() {
    let act = |world: Arc<World>| -> Acted {
        Box::pin(async move {
            let mut options = world.backup_options();
            options.full = true;
            world.back_up_with(VAULT, &options).await.unwrap();
        })
    };
    for_each_call(act, |at, found| assert_eq!(found, [], "at call {at}")).await;
}
