//! Coverage as people and programs meet it: `keyvault-backup status` and `GET api/backups`.

use std::{fs, sync::Arc, time::Duration};

use keyvault_backup::{
    coverage::{self, Cause, Coverage, Terms},
    model::{BackupId, Timestamp, VaultName},
    report::Status,
    repository::{
        Repository,
        operation::{Operation, OperationKind},
    },
};
use serde_json::{Value, json};
use simulator::key_vault::{Fault, Kind, Operation as Asked, Verb};
use uuid::Uuid;

use crate::{
    backup::DAY,
    local_azure::LocalAzure,
    world::{
        World,
        interruption::{Steps, Stop},
    },
};

fn terms(world: &World, scope: &[&str]) -> Terms {
    let scope = scope.iter().map(|name| name.parse().unwrap()).collect();
    Terms { scope, expect_all: false, max_age: Duration::from_secs(26 * 3600), now: world.now() }
}

async fn look(world: &World, scope: &[&str]) -> Vec<Coverage> {
    let (repository, terms) = (world.repository(), terms(world, scope));
    let vaults = coverage::vaults(&repository, &terms.scope).await.unwrap();
    coverage::look(&repository, vaults, &terms).await
}

fn causes(coverage: &Coverage) -> Vec<Cause> {
    coverage.attention.iter().map(|reason| reason.cause).collect()
}

/// How an operation of that kind on that vault ended.
async fn ended(repository: &Repository, vault: &str, kind: OperationKind, status: Status, message: &str) {
    let at = "2026-11-21T04:00:00Z".parse().unwrap();
    let mut operation =
        Operation::new(Uuid::from_u128(fastrand::u128(..)), kind, vault.parse().unwrap(), json!({}), at);
    operation.status = status;
    operation.finished_at = Some(at);
    operation.message = Some(message.to_owned());
    repository.save_last_operation(&operation).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_age_is_that_of_the_newest_backup_in_which_everything_is() {
    let world = World::with(&["contoso-prod"]);
    for name in ["good", "bad"] {
        world.vaults.set_secret("contoso-prod", name, "x");
    }
    let good = world.back_up("contoso-prod").await.unwrap();
    world.vaults.set_secret("contoso-prod", "bad", "y");
    world.vaults.add_fault(Fault::answer(403, "Forbidden").on(Asked::new(Kind::Secret, Verb::Backup)).named("bad"));
    for hours in [12_u64, 24, 26, 36] {
        let since = u64::try_from(world.now().seconds_since(good.started_at)).unwrap();
        world.pass(Duration::from_secs(hours * 3600 - since));
        let partial = world.back_up("contoso-prod").await.unwrap();
        assert_eq!((partial.status, partial.counts.stale), (Status::PartiallySucceeded, 1));
        let [row] = &look(&world, &["contoso-prod"]).await[..] else { panic!("one vault") };
        assert_eq!((row.newest_good.as_ref(), row.age), (Some(&good), Some(hours * 3600)));
        let newest = row.newest.as_ref().unwrap().1.as_ref().unwrap();
        assert_eq!((&newest.backup_id, newest.failures.len()), (&partial.backup_id, 1));
        let wanted = if hours > 26 { vec![Cause::TooOld] } else { vec![] };
        assert_eq!(causes(row), wanted, "after {hours} hours");
    }
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_was_never_backed_up_is_a_row_like_any_other() {
    let world = World::with(&["contoso-new", "contoso-old", "contoso-prod"]);
    world.vaults.set_secret("contoso-prod", "bad", "x");
    world.vaults.add_fault(Fault::answer(403, "Forbidden").on(Asked::new(Kind::Secret, Verb::Backup)).named("bad"));
    world.back_up("contoso-old").await.unwrap();
    world.pass(30 * DAY);
    world.back_up("contoso-prod").await.unwrap();
    let rows = look(&world, &["contoso-prod", "contoso-new"]).await;
    let told: Vec<(&str, bool, usize, Vec<Cause>)> =
        rows.iter().map(|row| (row.vault.as_str(), row.in_scope, row.backups, causes(row))).collect();
    assert_eq!(
        told,
        [
            ("contoso-new", true, 0, vec![Cause::NeverBackedUp]),
            // What is out of scope is history, and grows old by itself.
            ("contoso-old", false, 1, vec![]),
            ("contoso-prod", true, 1, vec![Cause::NoGoodBackup]),
        ]
    );
    let expect_all = Terms { expect_all: true, ..terms(&world, &[]) };
    let old: VaultName = "contoso-old".parse().unwrap();
    let rows = coverage::look(&world.repository(), vec![old], &expect_all).await;
    assert_eq!(causes(&rows[0]), [Cause::TooOld]);
}

#[tokio::test(start_paused = true)]
async fn a_safety_copy_is_no_backup_of_the_vault() {
    let world = World::with(&["contoso-prod"]);
    let mut options = world.backup_options();
    options.label = Some("safety-1f2e3d4c".parse().unwrap());
    world.back_up_with("contoso-prod", &options).await.unwrap();
    let row = &look(&world, &["contoso-prod"]).await[0];
    assert_eq!((row.backups, row.newest.is_none(), causes(row)), (1, true, vec![Cause::NeverBackedUp]));
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_is_up_and_a_last_proof_that_failed_need_a_person() {
    let world = World::with(&["contoso-prod"]);
    for number in 0..10 {
        world.vaults.set_secret("contoso-prod", &format!("secret-{number}"), "x");
    }
    world.back_up("contoso-prod").await.unwrap();
    let repository = world.repository();
    for kind in [OperationKind::Verify, OperationKind::Drill] {
        ended(&repository, "contoso-prod", kind, Status::Succeeded, "All is well.").await;
    }
    assert_eq!(causes(&look(&world, &["contoso-prod"]).await[0]), []);
    for number in 0..10 {
        world.vaults.delete_now("contoso-prod", Kind::Secret, &format!("secret-{number}"));
    }
    world.pass(DAY);
    world.back_up("contoso-prod").await.unwrap();
    ended(&repository, "contoso-prod", OperationKind::Verify, Status::PartiallySucceeded, "One blob is gone.").await;
    ended(&repository, "contoso-prod", OperationKind::Drill, Status::Failed, "The vault was not empty.").await;
    let row = &look(&world, &["contoso-prod"]).await[0];
    assert_eq!(causes(row), [Cause::GuardUp, Cause::VerifyFailed, Cause::DrillFailed]);
    let told: Vec<&str> = row.attention.iter().map(|reason| reason.message.as_str()).collect();
    assert!(told[0].contains("10 are gone") && told[0].contains("guard acknowledge contoso-prod"), "{told:?}");
    assert!(told[1].ends_with("ended PartiallySucceeded. One blob is gone."), "{told:?}");
    assert!(told[2].ends_with("ended Failed. The vault was not empty."), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn an_age_is_told_from_the_headers_of_the_newest_backups_alone() {
    let world = World::with(&["contoso-prod"]);
    world.vaults.seed("contoso-prod", 10);
    for _ in 0..20 {
        world.pass(DAY);
        world.back_up("contoso-prod").await.unwrap();
    }
    let counted = Steps::counted();
    let repository = Repository::new(counted.store(world.backups.clone()), Arc::new(world.state.clone()));
    let requests = world.door.requests();
    let rows =
        coverage::look(&repository, vec!["contoso-prod".parse().unwrap()], &terms(&world, &["contoso-prod"])).await;
    assert_eq!((causes(&rows[0]), rows[0].backups), (vec![], 20));
    // One listing and one header.
    assert_eq!((counted.count(), world.door.requests() - requests), (2, 0), "and no vault is asked");
}

#[tokio::test(start_paused = true)]
async fn trouble_with_the_storage_is_never_taken_for_the_lack_of_a_backup() {
    let world = World::with(&["contoso-prod"]);
    world.vaults.seed("contoso-prod", 10);
    world.back_up("contoso-prod").await.unwrap();
    for stop in [Stop::FailsBefore, Stop::FailsAfter] {
        for last in 0.. {
            let steps = Steps::stopped_at(last, stop);
            let repository = Repository::new(steps.store(world.backups.clone()), steps.store(world.state.clone()));
            let vaults = vec!["contoso-prod".parse().unwrap()];
            let row = &coverage::look(&repository, vaults, &terms(&world, &["contoso-prod"])).await[0];
            if steps.count() <= last {
                assert!(last >= 5 && causes(row).is_empty(), "only {last} steps");
                break;
            }
            assert!(!causes(row).is_empty(), "{stop:?} at {last}");
            assert!(causes(row).iter().all(|cause| *cause == Cause::Unknown), "{stop:?} at {last}: {row:?}");
        }
    }
}

#[tokio::test]
async fn the_command_shows_every_vault_and_fails_when_one_needs_attention() {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-test"]).await;
    azure.vaults.seed("contoso-prod", 10);
    let both = [("BACKUP_VAULTS", "contoso-prod,contoso-test")];
    let never = azure.run_with(&both, &["status"]).await;
    assert_eq!(never.code, 3, "{never:?}");
    assert!(never.stdout.contains("never backed up"), "{never:?}");
    assert!(never.stderr.contains("Vault contoso-test has no backup. Make one with"), "{never:?}");

    assert_eq!(azure.run_with(&both, &["backup"]).await.code, 0);
    let good = azure.run_with(&both, &["status"]).await;
    assert_eq!((good.code, good.stderr.as_str()), (0, ""), "{good:?}");
    assert!(good.stdout.contains("contoso-prod") && good.stdout.contains("contoso-test"), "{good:?}");
    let good = azure.run_with(&both, &["status", "--output", "json"]).await;
    let rows = good.json()["value"].as_array().unwrap().clone();
    assert_eq!((good.code, rows.len()), (0, 2));
    assert_eq!((&rows[0]["lastBackup"]["status"], &rows[0]["attention"]), (&json!("Succeeded"), &json!([])));
    assert_eq!(rows[0]["newestGood"]["id"], rows[0]["newest"]["id"]);
    assert!(rows[0]["ageSeconds"].as_u64().unwrap() < 600, "{rows:?}");

    // One item that cannot be read any more is named with its reason, once.
    azure.vaults.set_secret("contoso-prod", "secret-00000", "new");
    let fault = Fault::answer(403, "Forbidden").on(Asked::new(Kind::Secret, Verb::Backup)).named("secret-00000");
    azure.vaults.add_fault(fault);
    assert_eq!(azure.run(&["backup", "--full"]).await.code, 3);
    let stale = azure.run(&["status", "contoso-prod"]).await;
    assert_eq!(stale.code, 0, "there is a good backup that is young enough: {stale:?}");
    assert_eq!(stale.stderr.matches("secrets/secret-00000").count(), 1, "{stale:?}");
    let row = azure.run(&["status", "contoso-prod", "--output", "json"]).await.json()["value"][0].clone();
    assert_eq!((&row["failures"][0]["name"], &row["moreFailures"]), (&json!("secret-00000"), &json!(0)), "{row}");
    assert_eq!(row["newest"]["counts"]["stale"], 1);
    azure.assert_all_known();
}

#[tokio::test]
async fn an_old_backup_is_told_with_the_reason_why_there_is_no_newer_one() {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-test"]).await;
    azure.vaults.set_secret("contoso-prod", "a", "x");
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    make_older(&azure, "contoso-prod");
    azure.vaults.unassign(&azure.identity, "contoso-prod");
    assert_eq!(azure.run(&["backup"]).await.code, 6);
    let old = azure.run(&["status"]).await;
    assert_eq!(old.code, 3, "{old:?}");
    assert!(old.stdout.contains("too old"), "{old:?}");
    assert!(old.stderr.contains("50 hours old; STATUS_MAX_AGE_HOURS allows 26."), "{old:?}");
    assert!(old.stderr.contains("The last run ended Failed.") && old.stderr.contains("lacks"), "{old:?}");
    let patient = azure.run(&["status", "--status-max-age-hours", "60"]).await;
    assert_eq!((patient.code, patient.stderr.as_str()), (0, ""), "{patient:?}");
    // Named or without a scope, its age counts even though it is not in scope.
    let elsewhere = [("BACKUP_VAULTS", "contoso-test")];
    let named = azure.run_with(&elsewhere, &["status", "contoso-prod"]).await;
    assert!(named.code == 3 && named.stdout.contains("too old"), "{named:?}");
    let no_scope = azure.run_with(&[("BACKUP_VAULTS", "")], &["status"]).await;
    assert!(no_scope.code == 3 && no_scope.stdout.contains("too old"), "{no_scope:?}");
}

#[tokio::test]
async fn damage_in_one_vault_hides_no_other() {
    let names = ["contoso-a", "contoso-b", "contoso-c", "contoso-d"];
    let azure = LocalAzure::with(&names).await;
    let all = [("BACKUP_VAULTS", "contoso-a,contoso-b,contoso-c,contoso-d")];
    assert_eq!(azure.run_with(&all, &["backup"]).await.code, 0);
    // A newest backup that is damaged, one from a newer release, and a record that cannot be read.
    let a = &azure.manifests("contoso-a")[0];
    fs::write(a, "{\n  \"formatVersion\": 1,\n").unwrap();
    azure.make_newer(&azure.manifests("contoso-b")[0]);
    let record = azure.state().join("last-operations/contoso-c/backup.json");
    fs::write(record, "{").unwrap();
    let ran = azure.run_with(&all, &["status", "--output", "json"]).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    let value = ran.json();
    let told: Vec<Value> = value["value"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            json!([
                row["vault"],
                row["attention"].as_array().unwrap().iter().map(|it| it["cause"].clone()).collect::<Vec<_>>()
            ])
        })
        .collect();
    assert_eq!(
        told,
        [
            json!(["contoso-a", ["noGoodBackup", "unknown", "unknown"]]),
            json!(["contoso-b", ["noGoodBackup", "unknown", "unknown"]]),
            json!(["contoso-c", ["unknown"]]),
            json!(["contoso-d", []]),
        ]
    );
    assert_eq!(value["value"][0]["newest"]["error"]["code"], "Corrupt");
    assert_eq!(value["value"][1]["newest"]["error"]["code"], "NewerFormat");

    let app = azure.app_with(&all).await;
    let listed = app.get("api/backups").await;
    assert_eq!(listed.status, 200, "{listed:?}");
    let again: Vec<&Value> = listed.body["value"].as_array().unwrap().iter().map(|row| &row["vault"]).collect();
    assert_eq!(again, names);
    let row = &listed.body["value"][3];
    assert_eq!((&row["attention"], &row["lastVerify"]), (&json!([]), &Value::Null));
}

/// Puts a vault's only backup fifty hours back: another id, and other times in its header, which is not hashed anew
/// because a listing does not check the hash.
fn make_older(azure: &LocalAzure, vault: &str) {
    let [manifest] = &azure.manifests(vault)[..] else { panic!("one backup") };
    let text = fs::read_to_string(manifest).unwrap();
    let id = manifest.file_stem().unwrap().to_str().unwrap().to_owned();
    let started = text.split("\"startedAt\": \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let earlier = Timestamp::from_unix(started.parse::<Timestamp>().unwrap().unix() - 50 * 3600);
    let older = BackupId::new(earlier, 7);
    let text = text.replace(&id, older.as_str()).replace(&started, &earlier.to_string());
    fs::write(manifest.with_file_name(format!("{older}.json")), text).unwrap();
    fs::remove_file(manifest).unwrap();
}
