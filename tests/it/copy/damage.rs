//! One thing is damaged, in the source or in the target: it is named once, everything else is copied, and the target
//! never claims more than it has.

use std::sync::Arc;

use keyvault_backup::{
    copy::Fate,
    error::ErrorKind,
    report::{Progress, Status},
    repository::{Repository, Selector},
    store::{Store, local::LocalStore, memory::MemoryStore},
    verify,
};
use uuid::Uuid;

use super::{Noting, Place, VAULT, content, copy_to, fates, try_copy};
use crate::{
    verify::{blobs_of, ids, manifest_of, three_days},
    world::{
        World,
        faulty::{Flaw, Often, faulty},
    },
};

/// What is done to one blob.
type Act = fn(Vec<u8>) -> Option<Vec<u8>>;

async fn act(store: &MemoryStore, blob: &str, act: Act) {
    match act(store.read(blob).await.unwrap().to_vec()) {
        Some(text) => store.replace(blob, text.into()).await.unwrap(),
        None => store.delete(blob).await.unwrap(),
    }
}

fn flipped(mut text: Vec<u8>) -> Option<Vec<u8>> {
    let middle = text.len() / 2;
    text[middle] ^= 0x01;
    Some(text)
}

const CASES: [(&str, Act, &str); 5] = [
    ("missing", |_| None, "it is not there"),
    ("truncated", |text| Some(text[..text.len() - 1].to_vec()), "bytes instead of"),
    ("empty", |_| Some(Vec::new()), "it has 0 bytes instead of"),
    ("added to", |text| Some([text, vec![0]].concat()), "bytes instead of"),
    ("a bit flipped", flipped, "its content does not have the recorded SHA-256"),
];

#[tokio::test(start_paused = true)]
async fn a_damaged_blob_in_the_source_is_named_once_and_every_other_backup_is_copied() {
    for (case, damage, why) in CASES {
        for (name, affected, copied) in [("pear", 1, 2), ("plum", 1, 2), ("apple", 3, 0)] {
            let world = three_days().await;
            let place = Place::in_world(&world);
            let blob = blobs_of(&world, name).await.remove(0);
            act(&world.backups, &blob, damage).await;
            let from = Noting::new(&world.backups);
            let source = Repository::new(from.clone(), Arc::new(world.state.clone()));
            let report = try_copy(&source, &place.repository(), &[]).await.unwrap();
            let [found] = &report.damage[..] else { panic!("{case}: {report:#?}") };
            assert_eq!((&found.blob, found.kind, found.backups.len()), (&blob, ErrorKind::Corrupt, affected), "{case}");
            assert_eq!(found.item.as_ref().unwrap().name.as_str(), name);
            assert!(found.message.contains(why) && found.message.contains(&blob), "{case}: {}", found.message);
            assert_eq!((report.count(Fate::Copied), report.count(Fate::Damaged)), (copied, affected), "{case}");
            let status = if copied == 0 { Status::Failed } else { Status::PartiallySucceeded };
            assert_eq!(report.status(), status);
            assert_eq!(from.notes("read", &blob), 1, "{case}: it is read once, however many backups need it");
            assert_eq!(place.assert_sound(case).await, copied);

            // What is sound was copied all the same, and the next copy reads nothing but what is damaged.
            let from = Noting::new(&world.backups);
            let source = Repository::new(from.clone(), Arc::new(world.state.clone()));
            assert_eq!(try_copy(&source, &place.repository(), &[]).await.unwrap().damage, report.damage);
            assert_eq!(from.notes("read", "/items/"), 1, "{case}");
        }
    }
}

/// `/proc/self/mem` answers EIO to whoever reads its beginning, as a disk does whose sector is lost.
#[tokio::test]
async fn a_blob_that_the_disk_cannot_read_is_damage_and_everything_else_is_copied_and_verified() {
    let world = three_days().await;
    let folder = tempfile::tempdir().unwrap();
    let disk = || -> Repository {
        let store = |name: &str| Arc::new(LocalStore::open(folder.path().join(name)).unwrap());
        Repository::new(store("copy"), store("copy-state"))
    };
    assert_eq!(try_copy(&world.repository(), &disk(), &[]).await.unwrap().count(Fate::Copied), 3);
    let lose = |blob: &str| {
        let path = folder.path().join("copy").join(blob);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/proc/self/mem", path).unwrap();
    };
    let blob = blobs_of(&world, "pear").await.remove(0);
    lose(&blob);

    let place = Place::in_world(&world);
    let report = try_copy(&disk(), &place.repository(), &[]).await.unwrap();
    let [found] = &report.damage[..] else { panic!("{report:#?}") };
    assert_eq!((&found.blob, found.kind, found.backups.len()), (&blob, ErrorKind::Corrupt, 1));
    assert!(found.message.contains("the disk cannot read it"), "{}", found.message);
    assert_eq!((report.count(Fate::Copied), report.count(Fate::Damaged)), (2, 1), "{report:#?}");
    assert_eq!(place.assert_sound("an item").await, 2);

    let verify = async || {
        let options = verify::Options { operation: Uuid::new_v4(), concurrency: 2 };
        let (vault, now) = (VAULT.parse().unwrap(), world.now());
        verify::run(&disk(), &vault, &options, &Progress::default(), now).await.unwrap()
    };
    let findings = verify().await;
    assert_eq!((findings.backups, findings.sound_backups), (3, 2), "{findings:#?}");
    let told = findings.findings.iter().find(|finding| *finding.blob == *blob).expect("a finding");
    assert!(told.message.contains("the disk cannot read it"), "{}", told.message);

    // A manifest is a blob too.
    let newest = manifest_of(ids(&world).await.last().unwrap());
    lose(&newest);
    let place = Place::in_world(&world);
    let report = try_copy(&disk(), &place.repository(), &[]).await;
    // The listing of a folder passes over what is no file.
    let report = report.unwrap();
    assert_eq!(report.count(Fate::Copied), 1, "{report:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_manifest_in_the_source_is_named_and_every_other_backup_is_copied() {
    let newer: Act =
        |text| Some(String::from_utf8(text).unwrap().replacen("Version\": 1", "Version\": 2", 1).into_bytes());
    let cases: [(&str, Act, ErrorKind); 4] = [
        ("truncated", |text| Some(text[..text.len() / 2].to_vec()), ErrorKind::Corrupt),
        ("empty", |_| Some(Vec::new()), ErrorKind::Corrupt),
        ("a bit flipped", flipped, ErrorKind::Corrupt),
        ("newer", newer, ErrorKind::NewerFormat),
    ];
    for (case, damage, kind) in cases {
        for which in 0..3 {
            let world = three_days().await;
            let place = Place::in_world(&world);
            let ids = ids(&world).await;
            let manifest = manifest_of(&ids[which]);
            act(&world.backups, &manifest, damage).await;
            let report = copy_to(&world, &place).await;
            let [found] = &report.damage[..] else { panic!("{case}: {report:#?}") };
            assert_eq!((&found.blob, found.kind, &found.item), (&manifest, kind, &None), "{case}");
            assert_eq!(found.backups, [ids[which].clone()]);
            assert!(found.message.ends_with("It is in memory:."), "{case}: {}", found.message);
            assert_eq!((report.count(Fate::Copied), report.count(Fate::Damaged)), (2, 1), "{case}");
            assert_eq!(place.assert_sound(case).await, 2);
        }
    }
}

/// Bits flip and answers end early on the way as well, from any call on: what was not read as it was written is not
/// written.
#[tokio::test(start_paused = true)]
async fn what_comes_out_of_the_source_changed_is_not_copied() {
    for flaw in [Flaw::Flipped, Flaw::Short] {
        let mut partly = 0;
        for skip in 0.. {
            let world = three_days().await;
            let place = Place::in_world(&world);
            let from = faulty(world.backups.clone(), flaw, Often { skip, percent: 100, seed: 0 });
            let source = Repository::new(from, Arc::new(world.state.clone()));
            let report = try_copy(&source, &place.repository(), &[]).await.unwrap();
            let copied = report.count(Fate::Copied);
            assert_eq!(place.assert_sound(&format!("{flaw:?} from {skip}")).await, copied);
            let before = content(&world.backups).await;
            assert!(content(&place.backups).await.iter().all(|blob| before.contains(blob)), "{flaw:?} from {skip}");
            assert_eq!(copy_to(&world, &place).await.status(), Status::Succeeded);
            assert_eq!(content(&place.backups).await, before);
            if copied == 3 {
                assert!(skip >= 15 && partly >= 3, "only {skip} calls");
                break;
            }
            assert_ne!(report.status(), Status::Succeeded, "{flaw:?} from {skip}");
            partly += usize::from(report.status() == Status::PartiallySucceeded);
        }
    }
}

/// Nothing is replaced, so a person has to remove it; then it is copied anew.
#[tokio::test(start_paused = true)]
async fn a_blob_of_another_length_in_the_target_is_named_and_copied_anew_once_it_is_removed() {
    for newest_is_there in [true, false] {
        let world = three_days().await;
        let place = Place::in_world(&world);
        let chosen = if newest_is_there { Vec::new() } else { vec![Selector::Id(ids(&world).await.remove(0))] };
        try_copy(&world.repository(), &place.repository(), &chosen).await.unwrap();
        let blob = blobs_of(&world, "apple").await.remove(0);
        act(&place.backups, &blob, |text| Some(text[..7].to_vec())).await;
        let report = copy_to(&world, &place).await;
        let [found] = &report.damage[..] else { panic!("{report:#?}") };
        assert_eq!((&found.blob, found.backups.len(), report.status()), (&blob, 3, Status::Failed));
        assert!(found.message.contains("The copy of secrets/apple in memory: is damaged: it has 7 bytes instead of"));
        assert!(found.message.contains("Remove that blob there and copy again"), "{}", found.message);

        place.backups.delete(&blob).await.unwrap();
        let report = copy_to(&world, &place).await;
        let expected = if newest_is_there {
            [Fate::Completed, Fate::Completed, Fate::Completed]
        } else {
            [Fate::Copied, Fate::Copied, Fate::Completed]
        };
        assert_eq!((fates(&report), report.status()), (expected.to_vec(), Status::Succeeded));
        assert_eq!(content(&place.backups).await, content(&world.backups).await);
    }
}

/// The length is looked at always; the content when a verification of the copy has found something.
#[tokio::test(start_paused = true)]
async fn what_a_verification_of_the_copy_found_is_not_relied_upon_until_it_was_copied_anew() {
    let world = three_days().await;
    let place = Place::in_world(&world);
    copy_to(&world, &place).await;
    let blob = blobs_of(&world, "apple").await.remove(0);
    act(&place.backups, &blob, flipped).await;
    verify_copy(&world, &place).await;
    world.vaults.set_secret(VAULT, "quince", "value");
    world.pass(crate::backup::SETTLED);
    world.back_up(VAULT).await.unwrap();

    let report = copy_to(&world, &place).await;
    let [found] = &report.damage[..] else { panic!("{report:#?}") };
    assert_eq!((&found.blob, found.backups.len()), (&blob, 4));
    assert!(found.message.contains("its content does not have the recorded SHA-256"), "{}", found.message);
    assert!(!place.names().await.contains(&manifest_of(&ids(&world).await[3])), "it would name a damaged blob");

    place.backups.delete(&blob).await.unwrap();
    let report = copy_to(&world, &place).await;
    assert_eq!(fates(&report), [Fate::Copied, Fate::Completed, Fate::Completed, Fate::Completed]);
    // The last verification is older than the new blob, which is looked at and found sound.
    assert_eq!(copy_to(&world, &place).await.count(Fate::Present), 4);
    assert_eq!(verify_copy(&world, &place).await, 4);
}

async fn verify_copy(world: &World, place: &Place) -> u64 {
    let options = verify::Options { operation: Uuid::from_u128(7), concurrency: 4 };
    let vault = VAULT.parse().unwrap();
    let found = verify::run(&place.repository(), &vault, &options, &Progress::default(), world.now()).await.unwrap();
    found.sound_backups
}

#[tokio::test(start_paused = true)]
async fn a_damaged_manifest_in_the_target_is_named_and_copied_anew_once_it_is_moved_away() {
    let cases: [(&str, Act); 3] = [
        ("truncated", |text| Some(text[..text.len() / 2].to_vec())),
        ("empty", |_| Some(Vec::new())),
        // The end is as it was, so that only reading it through tells.
        ("a bit flipped", flipped),
    ];
    for (case, damage) in cases {
        let world = three_days().await;
        let place = Place::in_world(&world);
        copy_to(&world, &place).await;
        let manifest = manifest_of(&ids(&world).await[1]);
        act(&place.backups, &manifest, damage).await;
        let report = copy_to(&world, &place).await;
        let [found] = &report.damage[..] else { panic!("{case}: {report:#?}") };
        assert_eq!((&found.blob, report.status()), (&manifest, Status::PartiallySucceeded), "{case}");
        assert!(found.message.ends_with("Move it away and copy again: the backup is then copied anew."), "{case}");
        assert_eq!(fates(&report), [Fate::Present, Fate::Damaged, Fate::Present], "{case}");

        place.backups.delete(&manifest).await.unwrap();
        assert_eq!(fates(&copy_to(&world, &place).await), [Fate::Present, Fate::Copied, Fate::Present], "{case}");
        assert_eq!(content(&place.backups).await, content(&world.backups).await);
    }
}

/// A blob that vanished from the copy is put back, and counted once for all backups that name it.
#[tokio::test(start_paused = true)]
async fn a_blob_that_the_copy_lost_is_copied_again_and_nothing_else() {
    let world = three_days().await;
    let place = Place::in_world(&world);
    copy_to(&world, &place).await;
    for blob in blobs_of(&world, "apple").await {
        place.backups.delete(&blob).await.unwrap();
    }
    let from = Noting::new(&world.backups);
    let source = Repository::new(from.clone(), Arc::new(world.state.clone()));
    let report = try_copy(&source, &place.repository(), &[]).await.unwrap();
    assert_eq!((fates(&report), report.total().0), (vec![Fate::Completed; 3], 1));
    assert_eq!(from.notes("read", "/items/"), 1);
    assert_eq!(content(&place.backups).await, content(&world.backups).await);
}

/// The copy is there for the day on which the source is not what it was.
#[tokio::test(start_paused = true)]
async fn what_is_damaged_in_the_source_since_it_was_copied_is_sound_in_the_copy() {
    let world = three_days().await;
    let place = Place::in_world(&world);
    copy_to(&world, &place).await;
    let before = content(&place.backups).await;
    for blob in blobs_of(&world, "apple").await {
        act(&world.backups, &blob, flipped).await;
    }
    assert_eq!(copy_to(&world, &place).await.count(Fate::Present), 3);
    act(&world.backups, &manifest_of(&ids(&world).await[0]), |_| Some(Vec::new())).await;
    let report = copy_to(&world, &place).await;
    assert_eq!(fates(&report), [Fate::Present, Fate::Present, Fate::Damaged]);
    assert_eq!(content(&place.backups).await, before);
}
