//! Each identity can do its part and nothing else; and who lacks a right is told which one.

mod allow_list;
mod copies;
mod drills;
pub(crate) mod storage;
mod storage_rights;

use std::collections::BTreeSet;

use azure_core::http::{HttpClient as _, Method, Request};
use keyvault_backup::{
    error::ErrorKind,
    model::{self, ItemId},
    report::{Outcome, Progress, Status},
    restore,
};
use simulator::key_vault::{Kind, Operation, RESOURCE, Verb};

use crate::{
    roles_docs::{act_with, documented, without, world},
    world::World,
};

const VAULT: &str = "contoso-prod";

/// `secrets`, `keys` or `certificates`.
fn kind_of(right: &str) -> &str {
    right.split('/').nth(2).unwrap()
}

#[tokio::test(start_paused = true)]
async fn without_one_right_a_backup_lacks_what_that_allows_and_says_so() {
    let rights = documented("backup identity");
    for right in &rights {
        let mut world = world();
        let complete = names(&world).await;
        act_with(&mut world, &without(&rights, right));
        let header = world.back_up(VAULT).await.unwrap();
        assert_eq!(header.status, Status::PartiallySucceeded, "{right}");
        let lost: BTreeSet<String> =
            complete.iter().filter(|name| name.starts_with(&format!("{}/", kind_of(right)))).cloned().collect();
        assert_eq!(lost.len(), 2);
        assert_eq!(names_of_newest(&world).await, &complete - &lost, "{right}");
        let failed: BTreeSet<String> = header
            .failures
            .iter()
            .map(|failure| format!("{}/{}", failure.kind, failure.name.as_deref().unwrap_or("*")))
            .collect();
        let listed = right.ends_with("/backup/action");
        assert_eq!(failed, if listed { lost } else { BTreeSet::from([format!("{}/*", kind_of(right))]) }, "{right}");
        for failure in &header.failures {
            assert_eq!(&*failure.code, "Forbidden");
            assert!(failure.reason.contains(&format!("lacks {right}. Assign it")), "{}", failure.reason);
        }
    }
}

/// The items in a complete backup.
async fn names(world: &World) -> BTreeSet<String> {
    let repository = keyvault_backup::repository::Repository::new(
        std::sync::Arc::new(keyvault_backup::store::memory::MemoryStore::default()),
        std::sync::Arc::new(keyvault_backup::store::memory::MemoryStore::default()),
    );
    let options = world.backup_options();
    world.back_up_from(&world.vault(VAULT), &repository, &options).await.unwrap();
    let newest = repository.find(&VAULT.parse().unwrap(), &"latest".parse().unwrap()).await.unwrap();
    repository.open(&newest).await.unwrap().items.iter().map(Result::unwrap).map(|item| item.id.to_string()).collect()
}

async fn names_of_newest(world: &World) -> BTreeSet<String> {
    world.newest(VAULT).await.items.iter().map(Result::unwrap).map(|item| item.id.to_string()).collect()
}

/// Of each kind, one item is gone and one is deleted: the one is to be restored, the other to be recovered.
async fn after_a_loss() -> World {
    let world = world();
    world.back_up(VAULT).await.unwrap();
    for kind in Kind::ALL {
        for name in ["gone", "deleted"] {
            world.vaults.delete_now(VAULT, kind, &format!("{}-{name}", kind.word()));
        }
        world.vaults.purge_now(VAULT, kind, &format!("{}-gone", kind.word()));
    }
    world
}

#[tokio::test(start_paused = true)]
async fn without_one_right_a_restore_lacks_what_that_allows_and_says_so() {
    let rights = documented("restore identity");
    for right in &rights {
        let mut world = after_a_loss().await;
        act_with(&mut world, &without(&rights, right));
        let before = world.vaults.snapshot(VAULT);
        let (manifest, target, options) = (world.newest(VAULT).await, world.vault(VAULT), world.restore_options());
        let plan = restore::plan(&manifest, &target, &options).await;
        let lacks = format!("lacks {right}. Assign it");
        if right.ends_with("/restore/action") || right.ends_with("/recover/action") {
            let (plan, progress) = (plan.unwrap(), Progress::default());
            let reports = restore::execute(&plan, &manifest, &world.repository(), &target, &options, false, &progress)
                .await
                .unwrap()
                .to_vec()
                .unwrap();
            let word = kind_of(right).trim_end_matches('s');
            let name = if right.ends_with("/restore/action") { "gone" } else { "deleted" };
            let expected = format!("{}/{word}-{name}", kind_of(right));
            let bad: Vec<_> = reports.iter().filter(|report| !report.outcome.is_good()).collect();
            let [report] = &bad[..] else { panic!("{right}: {reports:#?}") };
            assert_eq!((report.item.to_string(), report.outcome), (expected, Outcome::Failed), "{right}");
            let problem = report.problem.as_ref().unwrap();
            assert_eq!(problem.code, "Forbidden");
            assert!(problem.message.contains(&lacks), "{}", problem.message);
        } else {
            // Without seeing everything there is no plan, and without a plan nothing is done.
            let error = plan.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Forbidden, "{right}");
            assert!(error.message().contains(&lacks), "{error}");
            assert_eq!(before.differences(&world.vaults.snapshot(VAULT)), Vec::<String>::new());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn neither_a_backup_nor_a_restore_asks_for_the_value_of_a_secret() {
    let world = after_a_loss().await;
    assert_eq!(crate::restore::status_of(&world.restore(VAULT, VAULT).await), Status::Succeeded);
    assert!(world.vaults.count(Operation::new(Kind::Secret, Verb::Backup)) > 0);
    assert_eq!(world.vaults.count(Operation::new(Kind::Secret, Verb::Get)), 0);
    world.assert_all_known();
}

/// Whoever steals the identity's token has no more than its rights: everything else is refused by the vault.
#[tokio::test(start_paused = true)]
async fn the_backup_identity_can_neither_read_a_value_nor_change_anything() {
    let mut world = after_a_loss().await;
    world.vaults.set_secret(VAULT, "other", "value");
    let other = ItemId { kind: model::Kind::Secrets, name: "other".parse().unwrap() };
    let copy = world.vault(VAULT).back_up(&other).await.unwrap();
    let copy = serde_json::json!({ "value": azure_core::base64::encode_url_safe(copy.bytes()) }).to_string();
    act_with(&mut world, &documented("backup identity"));
    let before = world.vaults.snapshot(VAULT);
    for (method, path, body) in [
        (Method::Get, "secrets/other", ""),
        (Method::Put, "secrets/other", r#"{"value":"changed"}"#),
        (Method::Patch, "secrets/other", r#"{"attributes":{"enabled":false}}"#),
        (Method::Delete, "secrets/other", ""),
        (Method::Post, "secrets/restore", &copy),
        (Method::Post, "deletedsecrets/secret-deleted/recover", ""),
        (Method::Delete, "deletedsecrets/secret-deleted", ""),
        (Method::Post, "keys/new/create", r#"{"kty":"EC"}"#),
        (Method::Post, "deletedkeys/key-deleted/recover", ""),
        (Method::Delete, "deletedkeys/key-deleted", ""),
        (Method::Post, "deletedcertificates/certificate-deleted/recover", ""),
        (Method::Delete, "deletedcertificates/certificate-deleted", ""),
    ] {
        let url = format!("https://{VAULT}.vault.azure.net/{path}?api-version=2025-07-01");
        let mut request = Request::new(url.parse().unwrap(), method);
        let token = world.vaults.directory().mint(&world.identity, RESOURCE);
        request.insert_header("authorization", format!("Bearer {token}"));
        request.insert_header("content-type", "application/json");
        request.set_body(body.to_owned());
        let answer = world.door.execute_request(&request).await.unwrap();
        assert_eq!(u16::from(answer.status()), 403, "{method:?} {path}");
    }
    assert_eq!(before.differences(&world.vaults.snapshot(VAULT)), Vec::<String>::new());
    let reports = world.restore(VAULT, VAULT).await;
    assert!(reports.iter().all(|report| report.outcome == Outcome::Failed), "{reports:#?}");
    assert_eq!(before.differences(&world.vaults.snapshot(VAULT)), Vec::<String>::new());
    world.assert_all_known();
}
