//! Every refusal becomes a sentence, every difference a failure, and one bad item never stops the rest.

use std::time::Duration;

use keyvault_backup::{
    config::{Config, Settings},
    error::ErrorKind,
    report::{ItemReport, Outcome, Status},
    repository::{items::Items, manifest::Item},
    store::Store as _,
    vault::pacing::Pacing,
};
use simulator::{
    key_vault::{Effect, Fault, KeyVaults, Kind, Network, Operation, Snapshot, VaultOptions, Verb},
    mishap::Mishap,
};
use uuid::Uuid;

use super::{SOURCE, TARGET, all, backed_up, execute, outcomes, said, status_of, with};
use crate::world::{World, meanwhile::Meanwhile};

fn restore_of(kind: Kind) -> Operation {
    Operation::new(kind, Verb::Restore)
}

/// Nothing is reported as done that is not as it was backed up.
fn assert_claims_are_true(reports: &[ItemReport], source: &Snapshot, target: &Snapshot) {
    for report in reports.iter().filter(|report| report.outcome.is_good()) {
        let same = |(kind, name): &(Kind, String)| {
            kind.plural() == report.item.kind.as_str() && *name == report.item.name.as_str()
        };
        let key = source.items.keys().find(|key| same(key)).unwrap();
        assert_eq!(source.items.get(key), target.items.get(key), "{}", report.item);
    }
}

#[tokio::test(start_paused = true)]
async fn a_restore_whose_answer_was_lost_is_restored_and_no_conflict() {
    for mishap in [Mishap::Reset, Mishap::Truncate(10), Mishap::Hang] {
        let (world, _) = backed_up().await;
        for kind in Kind::ALL {
            world.vaults.add_fault(Fault::new(Effect::After(mishap)).on(restore_of(kind)).times(1));
        }
        let reports = world.restore(SOURCE, TARGET).await;
        assert_eq!(outcomes(&reports), all(Outcome::Restored), "{mishap:?}: {reports:?}");
        let (source, target) = (world.vaults.snapshot(SOURCE), world.vaults.snapshot(TARGET));
        assert_eq!(source.differences(&target), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_that_is_not_as_it_was_backed_up_is_a_failure() {
    type Change = fn(&KeyVaults);
    let changes: [(&str, Change); 2] = [
        ("enabled differs", |vaults| vaults.set_enabled(TARGET, Kind::Secret, "apple", false)),
        ("the current version is", |vaults| {
            vaults.set_secret(TARGET, "apple", "somebody else's");
        }),
    ];
    for (difference, change) in changes {
        let (world, manifest) = backed_up().await;
        let plan = world.plan(&manifest, TARGET).await;
        let vaults = world.vaults.clone();
        let transport = Meanwhile::transport(&world.door, "/secrets/restore", 1, move || change(&vaults));
        let target = world.vault_through(TARGET, &transport, Pacing::new(10_000.0));
        let reports = execute(&world, &manifest, &plan, &target).await;
        assert_eq!(outcomes(&reports), with(all(Outcome::Restored), "secrets/apple", Outcome::Failed));
        assert!(said(&reports, "secrets/apple").contains(difference), "{reports:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_attribute_is_compared_after_a_restore() {
    type Change = fn(&mut Item);
    let changes: [(&str, Change); 6] = [
        ("enabled", |item| item.attributes.enabled = !item.attributes.enabled),
        ("the not-before date", |item| item.attributes.not_before = Some(item.attributes.created)),
        ("the expiry date", |item| item.attributes.expires = Some(item.attributes.created)),
        ("the content type", |item| item.attributes.content_type = Some("text/plain".into())),
        ("the tags", |item| drop(item.attributes.tags.insert("owner".into(), "somebody".into()))),
        ("the current version", |item| item.version = "0".repeat(32).into()),
    ];
    for (difference, change) in changes {
        let (world, mut manifest) = backed_up().await;
        let mut items = manifest.items.to_vec().unwrap();
        change(items.iter_mut().find(|item| item.id.name.as_str() == "apple").unwrap());
        manifest.items = Items::of(&items).unwrap();
        let plan = world.plan(&manifest, TARGET).await;
        let reports = execute(&world, &manifest, &plan, &world.vault(TARGET)).await;
        assert_eq!(outcomes(&reports), with(all(Outcome::Restored), "secrets/apple", Outcome::Failed));
        assert!(said(&reports, "secrets/apple").contains(difference), "{difference}: {reports:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn somebody_who_is_faster_is_a_conflict_and_keeps_his_item() {
    let (world, manifest) = backed_up().await;
    let plan = world.plan(&manifest, TARGET).await;
    let version = world.vaults.set_secret(TARGET, "apple", "somebody else's");
    let reports = execute(&world, &manifest, &plan, &world.vault(TARGET)).await;
    assert_eq!(outcomes(&reports), with(all(Outcome::Restored), "secrets/apple", Outcome::Failed));
    assert!(said(&reports, "secrets/apple").contains(&version), "{reports:?}");
    assert_eq!(world.vaults.snapshot(TARGET).items[&(Kind::Secret, "apple".into())].current, version);
}

#[tokio::test(start_paused = true)]
async fn another_geography_or_subscription_is_named_as_the_reason() {
    let far = VaultOptions { name: TARGET.into(), geography: "Brazil".into(), ..Default::default() };
    let foreign = VaultOptions { name: TARGET.into(), subscription: Uuid::from_u128(7), ..Default::default() };
    for options in [far, foreign] {
        let (world, _) = backed_up().await;
        world.add(options);
        let reports = world.restore(SOURCE, TARGET).await;
        assert_eq!(outcomes(&reports), all(Outcome::Failed));
        for item in ["secrets/apple", "keys/key", "certificates/certificate"] {
            assert!(said(&reports, item).contains("another Azure subscription or geography"), "{reports:?}");
        }
        assert!(world.vaults.snapshot(TARGET).items.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_blob_fails_its_item_only_and_never_reaches_the_vault() {
    type Damage = fn(&[u8]) -> Option<Vec<u8>>;
    let damages: [(&str, Damage); 4] = [
        ("does not have the recorded SHA-256", |bytes| {
            let mut bytes = bytes.to_vec();
            bytes[1000] ^= 1;
            Some(bytes)
        }),
        ("bytes instead of", |bytes| Some(bytes[..bytes.len() - 1].to_vec())),
        ("0 bytes instead of", |_| Some(Vec::new())),
        ("is not there", |_| None),
    ];
    for (why, damage) in damages {
        let (world, manifest) = backed_up().await;
        let blob =
            &manifest.items.iter().map(Result::unwrap).find(|item| item.id.name.as_str() == "apple").unwrap().blob;
        match damage(&world.backups.read(blob).await.unwrap()) {
            Some(bytes) => world.backups.replace(blob, bytes.into()).await.unwrap(),
            None => world.backups.delete(blob).await.unwrap(),
        }
        let reports = world.restore(SOURCE, TARGET).await;
        assert_eq!(outcomes(&reports), with(all(Outcome::Restored), "secrets/apple", Outcome::Failed));
        assert!(said(&reports, "secrets/apple").contains(why), "{why}: {reports:?}");
        assert_eq!(world.vaults.count(restore_of(Kind::Secret)), 0);
    }
}

/// Sound by its hash, and yet not what Key Vault takes.
#[tokio::test(start_paused = true)]
async fn a_backup_that_key_vault_does_not_open_fails_its_item_only() {
    let (world, manifest) = backed_up().await;
    let plan = world.plan(&manifest, TARGET).await;
    world.vaults.add_fault(Fault::answer(400, "Malformed backup blob").on(restore_of(Kind::Key)));
    let reports = execute(&world, &manifest, &plan, &world.vault(TARGET)).await;
    assert_eq!(outcomes(&reports), with(all(Outcome::Restored), "keys/key", Outcome::Failed));
    assert!(said(&reports, "keys/key").contains("does not accept the backup"), "{reports:?}");
}

#[tokio::test(start_paused = true)]
async fn a_missing_role_is_named() {
    let (world, manifest) = backed_up().await;
    world.vaults.unassign(&world.identity, TARGET);
    let error = super::plan_with(&world, &manifest, &world.restore_options()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert!(error.message().contains("Microsoft.KeyVault/vaults/certificates/read"), "{error}");

    let read = ["keys/read", "certificates/read", "secrets/readMetadata/action", "keys/restore/action"];
    let actions = read.map(|action| format!("Microsoft.KeyVault/vaults/{action}"));
    world.vaults.assign(&world.identity, TARGET, &actions.each_ref().map(String::as_str));
    let reports = world.restore(SOURCE, TARGET).await;
    assert_eq!(outcomes(&reports), with(all(Outcome::Failed), "keys/key", Outcome::Restored));
    assert!(said(&reports, "secrets/apple").contains("Microsoft.KeyVault/vaults/secrets/restore/action"));
    assert!(
        said(&reports, "certificates/certificate").contains("Microsoft.KeyVault/vaults/certificates/restore/action")
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_that_cannot_be_reached_or_written_is_said_to_be_so() {
    let (world, manifest) = backed_up().await;
    let plan = world.plan(&manifest, TARGET).await;
    for (network, words) in [(Network::Firewall, "firewall"), (Network::PrivateOnly, "private endpoint")] {
        world.vaults.set_network(TARGET, network);
        let error = super::plan_with(&world, &manifest, &world.restore_options()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden);
        assert!(error.message().contains(words), "{error}");
    }
    world.vaults.set_network(TARGET, Network::Open);
    world.vaults.set_read_only(TARGET, true);
    let reports = execute(&world, &manifest, &plan, &world.vault(TARGET)).await;
    assert_eq!(outcomes(&reports), all(Outcome::Failed));
    assert!(said(&reports, "secrets/apple").contains("read-only"), "{reports:?}");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_cannot_be_listed_whole_is_no_plan() {
    for verb in [Verb::List, Verb::ListDeleted] {
        let (world, manifest) = backed_up().await;
        for number in 0..60 {
            world.vaults.set_secret(TARGET, &format!("other-{number}"), "value");
            world.vaults.delete_now(TARGET, Kind::Secret, &format!("other-{number}"));
        }
        let operation = Operation::new(Kind::Secret, verb);
        world.vaults.add_fault(Fault::answer(500, "InternalServerError").on(operation).skip(2));
        super::plan_with(&world, &manifest, &world.restore_options()).await.unwrap_err();
    }
}

#[tokio::test(start_paused = true)]
async fn every_storm_is_ridden_out_and_every_claim_is_true() {
    let throttled = |retry_after| Fault::new(Effect::Answer { status: 429, code: "Throttled".into(), retry_after });
    for (storm, fault) in [
        ("429", throttled(None)),
        ("429 with Retry-After", throttled(Some(7))),
        ("503", Fault::answer(503, "ServiceUnavailable")),
        ("resets before acting", Fault::new(Effect::Before(Mishap::Reset))),
        ("resets after acting", Fault::new(Effect::After(Mishap::Reset))),
        ("bodies cut short", Fault::new(Effect::After(Mishap::Truncate(20)))),
        ("slow answers", Fault::new(Effect::After(Mishap::Delay(Duration::from_secs(30))))),
    ] {
        let world = World::with(&[SOURCE, TARGET]);
        world.vaults.seed(SOURCE, 60);
        world.back_up(SOURCE).await.unwrap();
        for burst in [0, 30, 60] {
            world.vaults.add_fault(fault.clone().in_vault(TARGET).skip(burst).times(12));
        }
        let reports = world.restore(SOURCE, TARGET).await;
        let (source, target) = (world.vaults.snapshot(SOURCE), world.vaults.snapshot(TARGET));
        assert_claims_are_true(&reports, &source, &target);
        let bad: Vec<_> = reports.iter().filter(|report| report.outcome != Outcome::Restored).collect();
        assert!(bad.is_empty(), "{storm}: {bad:#?}");
        assert_eq!(source.differences(&target), Vec::<String>::new(), "{storm}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_that_fails_for_ever_fails_alone() {
    let world = World::with(&[SOURCE, TARGET]);
    world.vaults.seed(SOURCE, 60);
    world.back_up(SOURCE).await.unwrap();
    world
        .vaults
        .add_fault(Fault::answer(500, "InternalServerError").on(restore_of(Kind::Secret)).named("secret-0001*"));
    let reports = world.restore(SOURCE, TARGET).await;
    let bad: Vec<_> = reports.iter().filter(|report| report.outcome != Outcome::Restored).collect();
    assert_eq!(bad.len(), 4, "{bad:#?}");
    assert!(bad.iter().all(|report| report.problem.as_ref().is_some_and(|problem| problem.code == "Unavailable")));
    assert_eq!(status_of(&reports), Status::PartiallySucceeded);
    let (source, target) = (world.vaults.snapshot(SOURCE), world.vaults.snapshot(TARGET));
    assert_claims_are_true(&reports, &source, &target);
}

#[test]
fn only_the_vaults_that_the_settings_name_may_be_restored_into() {
    let allows = |targets: Option<&str>, vault: &str| {
        let settings = Settings {
            backup_store_url: Some("file:///tmp/backups".into()),
            restore_target_vaults: targets.map(Into::into),
            ..Default::default()
        };
        Config::read(&settings).unwrap().check_restore_target(&vault.parse().unwrap())
    };
    assert!(allows(Some("contoso-dr, https://contoso-test.vault.azure.net/"), "CONTOSO-TEST").is_ok());
    for targets in [None, Some(""), Some("contoso-test,contoso-dr2")] {
        let error = allows(targets, TARGET).unwrap_err();
        assert_eq!((error.kind(), error.target()), (ErrorKind::Forbidden, Some("targetVault")));
        assert!(error.message().contains("RESTORE_TARGET_VAULTS"), "{error}");
    }
}
