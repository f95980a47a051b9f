//! One thing is damaged in a good repository: there is one finding, what is sound can be restored, what is not is
//! refused, and the next backup is whole again.

use bytes::Bytes;
use keyvault_backup::{
    error::ErrorKind,
    model::BackupId,
    report::{Outcome, Progress, Status},
    repository::{
        BackupRef,
        findings::{Finding, Wrong},
    },
    restore,
    store::Store as _,
};
use simulator::key_vault::Fault;

use super::{TARGET, VAULT, blobs_of, ids, manifest_of, three_days, verify};
use crate::world::World;

/// What is done to one blob.
enum Act {
    Remove,
    /// Its content becomes this.
    Become(fn(Vec<u8>) -> Vec<u8>),
    /// Its content becomes that of the newest blob of another item.
    BecomeThatOf(&'static str),
    /// Its name becomes another.
    Rename(fn(&str) -> String),
}

async fn act(world: &World, blob: &str, act: &Act) {
    let text = world.backups.read(blob).await.unwrap();
    match act {
        Act::Remove => world.backups.delete(blob).await.unwrap(),
        Act::Become(change) => world.backups.replace(blob, change(text.to_vec()).into()).await.unwrap(),
        Act::BecomeThatOf(other) => {
            let other = blobs_of(world, other).await.pop().unwrap();
            world.backups.replace(blob, world.backups.read(&other).await.unwrap().into()).await.unwrap();
        }
        Act::Rename(change) => {
            world.backups.delete(blob).await.unwrap();
            world.backups.create(&change(blob), text.into()).await.unwrap();
        }
    }
}

fn flipped_at(mut text: Vec<u8>, at: usize) -> Vec<u8> {
    text[at] ^= 0x01;
    text
}

fn flipped_near(text: Vec<u8>, words: &str) -> Vec<u8> {
    let at = text.windows(words.len()).position(|window| window == words.as_bytes()).unwrap();
    flipped_at(text, at + words.len())
}

/// Restores a backup into the emptied target: what was not restored, as name and sentence.
async fn refused(world: &World, id: &BackupId) -> Result<Vec<(String, String)>, ErrorKind> {
    world.vaults.lose_everything(TARGET);
    let (repository, target, options) = (world.repository(), world.vault(TARGET), world.restore_options());
    let backup = BackupRef { vault: VAULT.parse().unwrap(), id: id.clone(), label: None };
    let manifest = repository.open(&backup).await.map_err(|error| error.kind())?;
    let plan = restore::plan(&manifest, &target, &options).await.unwrap();
    let reports = restore::execute(&plan, &manifest, &repository, &target, &options, false, &Progress::default())
        .await
        .unwrap()
        .to_vec()
        .unwrap();
    assert_eq!(reports.len(), manifest.items.len());
    let bad = reports.into_iter().filter(|report| report.outcome != Outcome::Restored);
    Ok(bad
        .map(|report| {
            let problem = report.problem.unwrap();
            assert_eq!((report.outcome, problem.code.as_str()), (Outcome::Failed, "Corrupt"));
            (report.item.to_string(), problem.message)
        })
        .collect())
}

/// After the damage was found, the next backup is whole, and everything that is in the vault can be restored from it.
async fn assert_the_next_backup_heals(world: &World, case: &str) {
    world.pass(crate::backup::SETTLED);
    let header = world.back_up(VAULT).await.unwrap();
    assert_eq!(header.status, Status::Succeeded, "{case}");
    let found = verify(world, VAULT).await;
    let needs = |finding: &Finding| finding.backups.contains(&header.backup_id);
    assert!(!found.findings.iter().any(needs), "{case}: {found:#?}");
    assert_eq!(refused(world, &header.backup_id).await, Ok(Vec::new()), "{case}");
    let (source, target) = (world.vaults.snapshot(VAULT), world.vaults.snapshot(TARGET));
    assert_eq!(source.differences(&target), Vec::<String>::new(), "{case}");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_item_blob_is_one_finding_and_only_that_item_is_refused() {
    let cases: [(&str, Act, &str, Wrong, &str); 8] = [
        ("missing", Act::Remove, "apple", Wrong::MissingBlob, "it is not there"),
        (
            "truncated",
            Act::Become(|text| text[..text.len() - 1].to_vec()),
            "apple",
            Wrong::WrongSize,
            "bytes instead of",
        ),
        ("empty", Act::Become(|_| Vec::new()), "apple", Wrong::WrongSize, "it has 0 bytes instead of"),
        ("added to", Act::Become(|text| [text, vec![0]].concat()), "www", Wrong::WrongSize, "bytes instead of"),
        (
            "a bit flipped",
            Act::Become(|text| flipped_at(text, 77)),
            "signing",
            Wrong::WrongContent,
            "its content does not have the recorded SHA-256",
        ),
        ("swapped", Act::BecomeThatOf("signing"), "apple", Wrong::WrongSize, "bytes instead of"),
        (
            "in another kind's folder",
            Act::Rename(|name| name.replace("/secrets/", "/keys/")),
            "apple",
            Wrong::MissingBlob,
            "it is not there",
        ),
        (
            "of a former version",
            Act::Become(|text| flipped_at(text, 0)),
            "pear",
            Wrong::WrongContent,
            "its content does not have the recorded SHA-256",
        ),
    ];
    for (case, damage, name, wrong, why) in cases {
        let world = three_days().await;
        let backups = ids(&world).await;
        let blob = blobs_of(&world, name).await.remove(0);
        // The first copy of pear is in the first backup only.
        let affected = if name == "pear" { &backups[..1] } else { &backups[..] };
        act(&world, &blob, &damage).await;

        let found = verify(&world, VAULT).await;
        let [finding] = &found.findings[..] else { panic!("{case}: {found:#?}") };
        assert_eq!((finding.finding, &finding.blob), (wrong, &blob), "{case}");
        assert_eq!(finding.item.as_ref().unwrap().name.as_str(), name, "{case}");
        assert_eq!(finding.backups, affected, "{case}");
        assert_eq!((found.backups, found.sound_backups), (3, 3 - affected.len() as u64), "{case}");
        assert!(finding.message.contains(why) && finding.message.contains(&blob), "{case}: {}", finding.message);
        assert!(finding.message.ends_with("the next backup of the vault reads it anew."), "{}", finding.message);

        for id in &backups {
            let refused = refused(&world, id).await.unwrap();
            if affected.contains(id) {
                let [(item, message)] = &refused[..] else { panic!("{case}: {refused:#?}") };
                assert_eq!(*item, finding.item.as_ref().unwrap().to_string());
                assert!(message.contains(why), "{case}: {message}");
            } else {
                assert_eq!(refused, [], "{case}");
            }
        }
        assert_the_next_backup_heals(&world, case).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_manifest_is_one_finding_and_every_other_backup_is_restored() {
    const HASH: &str = "its content does not have the hash it says";
    const END: &str = "it does not end with its hash, so it was cut off or something was added";
    let cases: [(&str, Act, &str); 9] = [
        ("truncated", Act::Become(|text| text[..text.len() / 2].to_vec()), END),
        ("without its last byte", Act::Become(|text| text[..text.len() - 1].to_vec()), END),
        ("empty", Act::Become(|_| Vec::new()), END),
        ("added to", Act::Become(|text| [text, b"\n".to_vec()].concat()), END),
        ("a bit of its header flipped", Act::Become(|text| flipped_near(text, "\"toolVersion\": \"")), HASH),
        ("a bit of an item flipped", Act::Become(|text| flipped_near(text, "\"blob\":\"")), HASH),
        ("a line of its shape gone", Act::Become(|text| flipped_near(text, "\n  \"item")), HASH),
        ("a bit of its hash flipped", Act::Become(|text| flipped_near(text, "\n  \"sha256\": \"")), HASH),
        ("its hash gone", Act::Become(|text| text[..text.len() - 82].to_vec()), END),
    ];
    for (case, damage, why) in cases {
        for which in 0..3 {
            let world = three_days().await;
            let backups = ids(&world).await;
            let manifest = manifest_of(&backups[which]);
            act(&world, &manifest, &damage).await;

            let found = verify(&world, VAULT).await;
            let [finding] = &found.findings[..] else { panic!("{case}: {found:#?}") };
            assert_eq!((finding.finding, &finding.blob), (Wrong::DamagedManifest, &manifest), "{case}");
            assert_eq!((&finding.backups[..], &finding.item), (&backups[which..=which], &None), "{case}");
            let expected = format!(
                "The manifest {manifest} is damaged: {why}. Use another backup, and keep this one for inspection."
            );
            assert_eq!(finding.message, expected, "{case}");
            assert_eq!((found.backups, found.sound_backups), (3, 2), "{case}");
            for (at, id) in backups.iter().enumerate() {
                let expected = if at == which { Err(ErrorKind::Corrupt) } else { Ok(Vec::new()) };
                assert_eq!(refused(&world, id).await, expected, "{case}: {at}");
            }
            assert_the_next_backup_heals(&world, case).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_manifest_under_another_name_is_one_finding_under_that_name() {
    let world = three_days().await;
    let backups = ids(&world).await;
    let manifest = manifest_of(&backups[0]);
    act(&world, &manifest, &Act::Rename(|name| name.replace("/2026", "/2025"))).await;
    let found = verify(&world, VAULT).await;
    let [finding] = &found.findings[..] else { panic!("{found:#?}") };
    assert_eq!((finding.finding, &*finding.blob), (Wrong::DamagedManifest, &*manifest.replace("/2026", "/2025")));
    assert!(finding.message.contains("it is stored under another backup's name"), "{}", finding.message);
    assert_eq!((found.backups, found.sound_backups), (3, 2));
    // Its blob that nobody else needs may be needed by a backup that cannot be read.
    assert_eq!(found.unnamed_blobs, 1);
    assert_the_next_backup_heals(&world, "renamed").await;
}

#[tokio::test(start_paused = true)]
async fn a_manifest_in_another_vaults_folder_is_a_finding_there() {
    let world = three_days().await;
    let backups = ids(&world).await;
    let manifest = manifest_of(&backups[1]);
    act(&world, &manifest, &Act::Rename(|name| name.replace(VAULT, "contoso-test"))).await;
    let found = verify(&world, "contoso-test").await;
    let [finding] = &found.findings[..] else { panic!("{found:#?}") };
    assert_eq!((finding.finding, &finding.backups[..]), (Wrong::DamagedManifest, &backups[1..=1]));
    assert!(finding.message.contains("it is stored under another vault's name"), "{}", finding.message);
    assert_eq!((found.backups, found.sound_backups), (1, 0));
    let found = verify(&world, VAULT).await;
    assert_eq!((found.findings.len(), found.backups, found.sound_backups), (0, 2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_manifest_of_a_newer_format_is_one_finding_with_both_versions() {
    let world = three_days().await;
    let backups = ids(&world).await;
    let manifest = manifest_of(&backups[1]);
    let newer = |text: Vec<u8>| {
        let text = String::from_utf8(text).unwrap();
        text.replacen("\"formatVersion\": 1", "\"formatVersion\": 2", 1).into_bytes()
    };
    act(&world, &manifest, &Act::Become(newer)).await;
    let found = verify(&world, VAULT).await;
    let [finding] = &found.findings[..] else { panic!("{found:#?}") };
    assert_eq!((finding.finding, &finding.backups[..]), (Wrong::NewerManifest, &backups[1..=1]));
    assert!(finding.message.contains("has format version 2; this release"), "{}", finding.message);
    assert!(finding.message.contains("reads up to version 1."), "{}", finding.message);
    assert_eq!(refused(&world, &backups[1]).await, Err(ErrorKind::NewerFormat));
    assert_the_next_backup_heals(&world, "newer").await;
}

/// That a backup was there nobody can know; that its blobs are of no use any more can be seen.
#[tokio::test(start_paused = true)]
async fn a_missing_manifest_leaves_blobs_that_no_backup_needs() {
    let world = three_days().await;
    let backups = ids(&world).await;
    act(&world, &manifest_of(&backups[0]), &Act::Remove).await;
    let found = verify(&world, VAULT).await;
    let [note] = &found.findings[..] else { panic!("{found:#?}") };
    assert_eq!((note.finding, note.is_damage()), (Wrong::UnnamedBlobs, false));
    assert_eq!(note.blob, blobs_of(&world, "pear").await[0]);
    assert_eq!((found.backups, found.sound_backups, found.unnamed_blobs, found.damage()), (2, 2, 1, 0));
    assert_the_next_backup_heals(&world, "no manifest").await;
}

#[tokio::test(start_paused = true)]
async fn blobs_with_names_of_somebody_else_are_one_finding_and_no_damage() {
    let world = three_days().await;
    let apple = blobs_of(&world, "apple").await.remove(0);
    let foreign = [
        format!("vaults/{VAULT}/readme.txt"),
        format!("vaults/{VAULT}/backups/notes.json"),
        format!("vaults/{VAULT}/backups/old/{}.json", ids(&world).await[0]),
        format!("{apple}.copy"),
        apple.replace("/items/", "/items/more/"),
        apple.replace("/secrets/", "/Secrets/"),
    ];
    for name in &foreign {
        world.backups.create(name, Bytes::from_static(b"hello").into()).await.unwrap();
    }
    let found = verify(&world, VAULT).await;
    let [note] = &found.findings[..] else { panic!("{found:#?}") };
    assert_eq!((note.finding, note.is_damage(), found.damage()), (Wrong::UnknownNames, false, 0));
    assert!(foreign.contains(&note.blob));
    assert!(note.message.starts_with("6 blobs are there that this program does not write under such names (30 B;"));
    assert_eq!((found.backups, found.sound_backups), (3, 3));
    assert_eq!(ids(&world).await.len(), 3, "they are no backups either");
}

/// Beyond what can be listed, damage is counted, and the next backup relies on nothing.
#[tokio::test(start_paused = true)]
async fn damage_everywhere_is_listed_in_part_counted_in_full_and_healed() {
    let world = World::with(&[VAULT, TARGET]);
    for number in 0..1_100 {
        world.vaults.set_secret(VAULT, &format!("secret-{number:04}"), "value");
    }
    world.pass(crate::backup::SETTLED);
    world.back_up(VAULT).await.unwrap();
    for (number, blob) in blobs_of(&world, "secret-").await.iter().enumerate() {
        let damage = if number % 2 == 0 { Act::Remove } else { Act::Become(|text| flipped_at(text, 0)) };
        act(&world, blob, &damage).await;
    }
    let found = verify(&world, VAULT).await;
    assert_eq!((found.findings.len(), found.more_damage, found.damage()), (1_000, 100, 1_100));
    assert_eq!((found.backups, found.sound_backups), (1, 0));
    assert_the_next_backup_heals(&world, "everywhere").await;
}

/// A copy that is known to be damaged is none: it must not hide behind the word stale.
#[tokio::test(start_paused = true)]
async fn a_damaged_item_that_cannot_be_read_anew_is_missing_and_not_stale() {
    let world = three_days().await;
    let blob = blobs_of(&world, "apple").await.remove(0);
    act(&world, &blob, &Act::Become(|text| flipped_at(text, 0))).await;
    verify(&world, VAULT).await;
    world.vaults.add_fault(Fault::answer(403, "Forbidden").named("apple"));
    let header = world.back_up(VAULT).await.unwrap();
    assert_eq!(header.status, Status::PartiallySucceeded);
    assert_eq!((header.counts.missing, header.counts.stale, header.counts.secrets), (1, 0, 2));
    let mut reasons: Vec<&str> = header.failures.iter().map(|failure| failure.code.as_str()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["Corrupt", "Forbidden"]);
}

#[tokio::test(start_paused = true)]
async fn what_the_last_verification_found_cannot_stop_a_backup() {
    let world = three_days().await;
    verify(&world, VAULT).await;
    world.state.replace(&format!("findings/{VAULT}.json"), "{\"formatVersion\": 1".into()).await.unwrap();
    assert_eq!(world.back_up(VAULT).await.unwrap().status, Status::Succeeded);
    world
        .state
        .replace(&format!("findings/{VAULT}.json"), Bytes::from_static(b"{\"formatVersion\": 2}").into())
        .await
        .unwrap();
    assert_eq!(world.back_up(VAULT).await.unwrap().status, Status::Succeeded);
    assert_eq!(verify(&world, VAULT).await.sound_backups, 5);
}
