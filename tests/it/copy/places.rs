//! From each kind of store to each other: the same bytes arrive, and a second copy has nothing to do.

use std::sync::Arc;

use keyvault_backup::{
    copy::Fate,
    repository::Repository,
    store::{Store, local::LocalStore},
};

use super::{Place, VAULT, content, fates, try_copy};
use crate::{azurite::Container, verify::three_days};

/// Memory, a folder, a container, another container, another folder, memory again.
#[tokio::test]
async fn backups_are_the_same_after_a_journey_through_all_kinds_of_stores() {
    let world = three_days().await;
    let before = content(&world.backups).await;
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (near, far) = (Container::create().await, Container::create().await);
    let end = Place::in_world(&world);
    let local = |at: usize, name: &str| -> Arc<dyn Store> {
        Arc::new(LocalStore::open(folders[at].path().join(name)).unwrap())
    };
    let azure = async |container: &Container| {
        let state = container.create_beside("-state").await;
        let stores: [Arc<dyn Store>; 2] = [Arc::new(container.store()), Arc::new(state.store())];
        stores
    };
    let stops = [
        [local(0, "copy"), local(0, "copy-state")],
        azure(&near).await,
        azure(&far).await,
        [local(1, "copy"), local(1, "copy-state")],
        [Arc::new(end.backups.clone()), Arc::new(end.state.clone())],
    ];
    let mut source = world.repository();
    for [backups, state] in stops {
        let target = Repository::new(backups.clone(), state);
        let case = format!("{} to {}", source.describe(), target.describe());
        let report = try_copy(&source, &target, &[]).await.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(fates(&report), [Fate::Copied; 3], "{case}");
        assert_eq!(fates(&try_copy(&source, &target, &[]).await.unwrap()), [Fate::Present; 3], "{case}");
        assert_eq!(content(&*backups).await, before, "{case}");
        source = target;
    }
    assert_eq!(end.assert_sound(VAULT).await, 3);
}
