//! Removing backups by name: the policy is left aside, the rules of safety are not.

use keyvault_backup::{
    backup,
    model::{BackupId, Label},
    prune::{Choice, Options},
};

use super::{VAULT, assert_whole_and_tidy, by_policy, ids, prune_now, why, world_with_backups};

fn named(ids: &[&BackupId]) -> Options {
    Options { choice: Choice::Named(ids.iter().map(|id| (*id).clone()).collect()), immutable_for: None }
}

#[tokio::test(start_paused = true)]
async fn only_what_is_named_goes() {
    let world = world_with_backups(5).await;
    let all = ids(&world).await;
    let (plan, report) = prune_now(&world, &named(&[&all[1], &all[3]])).await;
    assert_eq!(ids(&world).await, [&all[0], &all[2], &all[4]].map(Clone::clone));
    assert_eq!((report.backups, why(&plan, &all[0])), (2, "not named".to_owned()));
    assert_whole_and_tidy(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_backup_with_a_label_goes_by_name_and_never_by_policy() {
    let world = world_with_backups(1).await;
    let label: Label = "before-upgrade".parse().unwrap();
    let options = backup::Options { label: Some(label), ..world.backup_options() };
    world.back_up_with(VAULT, &options).await.unwrap();
    for _ in 0..2 {
        world.pass(crate::backup::DAY);
        world.back_up(VAULT).await.unwrap();
    }
    let (plan, _) = prune_now(&world, &by_policy("last=1")).await;
    assert_eq!(why(&plan, &options.id), "label before-upgrade");
    let newest = ids(&world).await.pop().unwrap();
    prune_now(&world, &named(&[&options.id])).await;
    assert_eq!(ids(&world).await, [newest]);
}

#[tokio::test(start_paused = true)]
async fn the_newest_backup_stays_even_if_it_is_named() {
    let world = world_with_backups(2).await;
    let all = ids(&world).await;
    let (plan, report) = prune_now(&world, &named(&[&all[0], &all[1]])).await;
    assert_eq!((report.backups, why(&plan, &all[1])), (1, "newest, newest complete".to_owned()));
    let stays: Vec<&BackupId> =
        plan.backups.iter().filter(|row| plan.was_asked_for(row)).map(|row| &row.backup.id).collect();
    assert_eq!(stays, [&all[1]]);
}
