//! The data actions that docs/roles.md gives the identities: enough, and none too many.

use std::collections::BTreeSet;

use keyvault_backup::{
    report::{Progress, Status},
    restore,
};
use simulator::key_vault::Kind;

use crate::{format_docs::read, world::World};

#[tokio::test(start_paused = true)]
async fn the_backup_identity_needs_each_of_its_documented_rights_and_no_more() {
    let rights = documented("backup identity");
    assert!(rights.iter().all(|right| !right.contains("getSecret")), "{rights:?}");
    assert!(backs_up_with(&rights).await);
    for right in &rights {
        assert!(!backs_up_with(&without(&rights, right)).await, "{right} is not needed");
    }
}

#[tokio::test(start_paused = true)]
async fn the_restore_identity_needs_each_of_its_documented_rights_and_no_more() {
    let rights = documented("restore identity");
    assert!(restores_with(&rights).await);
    for right in &rights {
        assert!(!restores_with(&without(&rights, right)).await, "{right} is not needed");
    }
}

async fn backs_up_with(rights: &[String]) -> bool {
    let mut world = world();
    act_with(&mut world, rights);
    world.back_up("contoso-prod").await.is_ok_and(|header| header.status == Status::Succeeded)
}

/// Of each kind, one item is gone and one is deleted; the restore has to restore the one and recover the other.
async fn restores_with(rights: &[String]) -> bool {
    let mut world = world();
    world.back_up("contoso-prod").await.unwrap();
    for kind in [Kind::Secret, Kind::Key, Kind::Certificate] {
        for name in ["gone", "deleted"] {
            world.vaults.delete_now("contoso-prod", kind, &format!("{}-{name}", kind.word()));
        }
        world.vaults.purge_now("contoso-prod", kind, &format!("{}-gone", kind.word()));
    }
    act_with(&mut world, rights);
    let (manifest, target, options) =
        (world.newest("contoso-prod").await, world.vault("contoso-prod"), world.restore_options());
    let Ok(plan) = restore::plan(&manifest, &target, &options).await else { return false };
    let progress = Progress::default();
    let reports = restore::execute(&plan, &manifest, &world.repository(), &target, &options, false, &progress)
        .await
        .unwrap()
        .to_vec()
        .unwrap();
    reports.len() == 6 && crate::restore::status_of(&reports) == Status::Succeeded
}

pub(crate) fn world() -> World {
    let world = World::with(&["contoso-prod"]);
    for name in ["gone", "deleted"] {
        world.vaults.set_secret("contoso-prod", &format!("secret-{name}"), "1");
        world.vaults.create_key("contoso-prod", &format!("key-{name}"), "RSA");
        world.vaults.create_certificate("contoso-prod", &format!("certificate-{name}"));
    }
    world
}

/// From now on the world is asked by an identity with these rights.
pub(crate) fn act_with(world: &mut World, rights: &[String]) {
    act_in(world, "contoso-prod", rights);
}

/// The same in another vault, and with no right elsewhere.
pub(crate) fn act_in(world: &mut World, vault: &str, rights: &[String]) {
    world.identity = world.vaults.directory().identity("limited");
    let rights: Vec<&str> = rights.iter().map(String::as_str).collect();
    world.vaults.assign(&world.identity, vault, &rights);
}

pub(crate) fn without(rights: &[String], right: &str) -> Vec<String> {
    rights.iter().filter(|other| *other != right).cloned().collect()
}

/// The data actions on vaults in the row of that identity; `…` stands for what all of them begin with.
pub(crate) fn documented(identity: &str) -> Vec<String> {
    rights_in(&format!("| {identity} | each vault"))
}

/// The data actions on vaults in the row that begins like this.
pub(crate) fn rights_in(row: &str) -> Vec<String> {
    let text = read("docs/roles.md");
    let row = text.lines().find(|line| line.starts_with(row)).unwrap();
    let rights: Vec<String> = row
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| code.contains('/'))
        .map(|right| right.replace('…', "Microsoft.KeyVault/vaults"))
        .collect();
    assert!(rights.len() >= 6, "{rights:?}");
    rights
}

/// What its table gives that identity at that place: data actions in full, or names of built-in roles.
pub(crate) fn documented_on(identity: &str, place: &str) -> BTreeSet<String> {
    let text = read("docs/roles.md");
    let mut rows = text.lines().skip_while(|line| !line.starts_with(&format!("| {identity} |"))).enumerate();
    let rows = rows.by_ref().take_while(|(index, line)| *index == 0 || line.starts_with("| |"));
    let cells = rows.map(|(_, line)| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    let row = cells.into_iter().find(|cells| cells[1] == place);
    let rights = row.unwrap_or_else(|| panic!("docs/roles.md gives the {identity} nothing on {place}"))[2];
    if !rights.contains('`') {
        return rights.split(", ").map(str::to_owned).collect();
    }
    let whole = |right: &str| match right.strip_prefix("…/blobs") {
        Some(rest) => format!("Microsoft.Storage/storageAccounts/blobServices/containers/blobs{rest}"),
        None => right.replace('…', "Microsoft.KeyVault/vaults"),
    };
    rights.split('`').skip(1).step_by(2).map(whole).collect()
}
