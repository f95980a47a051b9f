//! Manifests that are whole by their hash and yet not to be used, or to be used all the same.

use keyvault_backup::{
    error::{Error, ErrorKind},
    repository::manifest::{FORMAT_VERSION, Manifest},
};
use sha2::{Digest as _, Sha256};

use super::stored_as;
use crate::world::World;

const HASH: &str = "\n  \"sha256\": \"";

/// A manifest with items of every kind, one of them stale, and its text.
async fn sample() -> (Manifest, String) {
    let world = World::with(&["contoso-prod"]);
    world.vaults.seed("contoso-prod", 10);
    world.back_up("contoso-prod").await.unwrap();
    world.pass(crate::backup::DAY);
    world.vaults.set_secret("contoso-prod", "secret-00000", "new");
    world.vaults.add_fault(simulator::key_vault::Fault::answer(403, "Forbidden").named("secret-00000"));
    world.back_up("contoso-prod").await.unwrap();
    let manifest = world.newest("contoso-prod").await;
    let text = String::from_utf8(manifest.encode().unwrap().to_vec().unwrap()).unwrap();
    (manifest, text)
}

/// The same text with a hash that fits.
fn hashed_anew(text: &str) -> Vec<u8> {
    let start = &text[..text.rfind(HASH).unwrap()];
    format!("{start}{HASH}{}\"\n}}\n", hex::encode(Sha256::digest(start))).into_bytes()
}

fn refusal(name: &str, text: &[u8]) -> Error {
    Manifest::decode(name, text).unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn every_single_changed_byte_and_every_cut_is_refused() {
    let (manifest, text) = sample().await;
    let name = stored_as(&manifest);
    let mut bytes = text.clone().into_bytes();
    for at in 0..bytes.len() {
        for change in [0x01, 0x20, 0x80] {
            bytes[at] ^= change;
            let error = refusal(&name, &bytes);
            assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NewerFormat), "byte {at}: {error:?}");
            bytes[at] ^= change;
        }
        assert_eq!(refusal(&name, &bytes[..at]).kind(), ErrorKind::Corrupt, "cut at {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_newer_format_is_refused_with_both_versions_whatever_else_it_holds() {
    let (manifest, text) = sample().await;
    let name = stored_as(&manifest);
    let newer = text.replacen("\"formatVersion\": 1", "\"formatVersion\": 2", 1);
    let other = br#"{"formatVersion": 2, "items": {"everything": "is different"}}"#;
    for text in [newer.as_bytes(), &hashed_anew(&newer), other] {
        let error = refusal(&name, text);
        assert_eq!(error.kind(), ErrorKind::NewerFormat);
        for number in ["version 2", &format!("version {FORMAT_VERSION}"), env!("CARGO_PKG_VERSION")] {
            assert!(error.message().contains(number), "{error}");
        }
        assert_eq!(error.target(), Some(&*name));
    }
}

/// What a later release adds without breaking anything.
#[tokio::test(start_paused = true)]
async fn unknown_fields_are_passed_over() {
    let (manifest, text) = sample().await;
    let more = text
        .replacen("{\n", "{\n  \"added\": {\"later\": [1, 2]},\n", 1)
        .replacen("\"counts\": {", "\"counts\": { \"added\": 7,", 1)
        .replacen("\"failures\": [\n    {", "\"failures\": [\n    { \"added\": null,", 1)
        .replace("    {\"kind\"", "    {\"added\":\"later\",\"kind\"")
        .replace("\"attributes\":{", "\"attributes\":{\"added\":true,");
    assert!(more.matches("added").count() >= 3 + 2 * manifest.items.len());
    let read = Manifest::decode(&stored_as(&manifest), &hashed_anew(&more)).unwrap();
    assert_eq!(read, manifest);
}

#[tokio::test(start_paused = true)]
async fn a_manifest_under_another_name_is_refused() {
    let (manifest, text) = sample().await;
    let name = stored_as(&manifest);
    let id = manifest.header.backup_id.as_str();
    for other in [
        name.replace("contoso-prod", "contoso-test"),
        name.replace(id, "20200101T000000Z-00000000"),
        name.replace(".json", ".label.json"),
        name.replace("vaults/", "other/"),
        name.replace(".json", ".txt"),
    ] {
        assert_eq!(refusal(&other, text.as_bytes()).kind(), ErrorKind::Corrupt, "{other}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_leads_elsewhere_is_refused_though_its_hash_fits() {
    let (manifest, text) = sample().await;
    let name = stored_as(&manifest);
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("    {\"kind\"")).collect();
    let blob = |line: &str| line.split("\"blob\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let [first, second] = [blob(lines[0]), blob(lines[1])];
    let changes = [
        ("another item's blob", text.replacen(&first, &second, 1)),
        ("another vault's blob", text.replacen(&first, &first.replace("contoso-prod", "contoso-test"), 1)),
        ("a path out of the items", text.replacen(&first, &format!("../{first}"), 1)),
        ("no blob", text.replacen(&first, "", 1)),
        ("another state's blob", text.replacen("\"enabled\":true", "\"enabled\":false", 1)),
        (
            "items out of order",
            text.replacen(lines[0], "@", 1).replacen(lines[1], lines[0], 1).replacen('@', lines[1], 1),
        ),
        ("an item twice", text.replacen(lines[1], lines[0], 1)),
        ("a field missing", text.replacen("\"version\":", "\"verzion\":", 1)),
        ("a word that is none", text.replacen("\"PartiallySucceeded\"", "\"Perhaps\"", 1)),
    ];
    for (what, changed) in changes {
        assert_ne!(changed, text, "{what}");
        let error = refusal(&name, &hashed_anew(&changed));
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}");
        assert!(error.message().contains(&name), "{error}");
    }
}
