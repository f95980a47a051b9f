//! Others are at work on the source while it is copied: that is no damage.

use std::sync::Arc;

use keyvault_backup::{
    copy::{Fate, Report},
    error::ErrorKind,
    report::Status,
    repository::{Repository, Selector},
    store::Store as _,
};

use super::{Place, VAULT, content, try_copy};
use crate::{
    verify::{
        blobs_of, ids, manifest_of,
        meanwhile::{Acted, Acting},
        three_days,
    },
    world::World,
};

/// As retention does: the manifest first, then what no other manifest names.
#[tokio::test(start_paused = true)]
async fn a_backup_that_is_removed_meanwhile_is_no_damage() {
    let mut removed = 0;
    for at in 0.. {
        let Copied { place, report, calls, .. } = copy_while(at, |world| Box::pin(remove_the_oldest(world))).await;
        assert_eq!((report.status(), &report.damage[..]), (Status::Succeeded, &[][..]), "at call {at}: {report:#?}");
        let copied = report.count(Fate::Copied);
        assert_eq!(place.assert_sound(&format!("at call {at}")).await, copied);
        assert_eq!(copied + report.count(Fate::Removed), if at == 0 { 2 } else { 3 }, "at call {at}");
        removed += report.count(Fate::Removed);
        if calls <= at {
            assert!(at >= 15, "only {at} calls");
            break;
        }
    }
    assert!(removed >= 5, "{removed}");
}

#[tokio::test(start_paused = true)]
async fn a_backup_that_was_asked_for_by_name_and_is_removed_meanwhile_is_missed() {
    for alone in [true, false] {
        let mut removed = 0;
        for at in 0.. {
            let world = Arc::new(three_days().await);
            let place = Place::in_world(&world);
            let all = ids(&world).await;
            let (oldest, newest) = (Selector::Id(all[0].clone()), Selector::Id(all[2].clone()));
            let chosen = if alone { vec![oldest] } else { vec![oldest, newest] };
            let other = world.clone();
            let act = move || -> Acted {
                let (world, manifest) = (other.clone(), manifest_of(&all[0]));
                Box::pin(async move {
                    let blob = blobs_of(&world, "pear").await.remove(0);
                    world.backups.delete(&manifest).await.unwrap();
                    world.backups.delete(&blob).await.unwrap();
                })
            };
            let from = Acting::new(&world.backups, at, act);
            let source = Repository::new(from.clone(), Arc::new(world.state.clone()));
            match try_copy(&source, &place.repository(), &chosen).await {
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "at call {at}: {error}"),
                Ok(report) => {
                    let expected = match report.count(Fate::Removed) {
                        0 => Status::Succeeded,
                        _ if alone => Status::Failed,
                        _ => Status::PartiallySucceeded,
                    };
                    assert_eq!(report.status(), expected, "at call {at}: {report:#?}");
                    removed += report.count(Fate::Removed);
                }
            }
            if from.calls() <= at {
                break;
            }
        }
        assert!(removed >= 2, "{removed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_backup_that_is_made_meanwhile_is_left_to_the_next_copy() {
    for at in 0.. {
        let Copied { world, place, report, calls } = copy_while(at, |world| Box::pin(full_backup(world))).await;
        assert_eq!(report.status(), Status::Succeeded);
        let expected = if at == 0 { 4 } else { 3 };
        assert_eq!(place.assert_sound(&format!("at call {at}")).await, expected, "at call {at}");
        if calls <= at {
            break;
        }
        try_copy(&world.repository(), &place.repository(), &[]).await.unwrap();
        assert_eq!(content(&place.backups).await, content(&world.backups).await);
    }
}

/// A copy, and those who are at work beside it.
struct Copied {
    world: Arc<World>,
    place: Place,
    report: Report,
    /// How often the source was asked for something.
    calls: u64,
}

/// Copies everything; at that call to the source, somebody acts on it.
async fn copy_while(at: u64, act: fn(Arc<World>) -> Acted) -> Copied {
    let world = Arc::new(three_days().await);
    let place = Place::in_world(&world);
    let other = world.clone();
    let from = Acting::new(&world.backups, at, move || act(other.clone()));
    let source = Repository::new(from.clone(), Arc::new(world.state.clone()));
    let report = try_copy(&source, &place.repository(), &[]).await.unwrap();
    Copied { world, place, report, calls: from.calls() }
}

async fn remove_the_oldest(world: Arc<World>) {
    let oldest = ids(&world).await.remove(0);
    let blob = blobs_of(&world, "pear").await.remove(0);
    world.backups.delete(&manifest_of(&oldest)).await.unwrap();
    world.backups.delete(&blob).await.unwrap();
}

async fn full_backup(world: Arc<World>) {
    let mut options = world.backup_options();
    options.full = true;
    world.back_up_with(VAULT, &options).await.unwrap();
}
