//! Backups: where they open, what they hold, what cannot be backed up.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use simulator::key_vault::{Kind, VaultOptions};
use uuid::Uuid;

use crate::bench::Bench;

#[tokio::test(start_paused = true)]
async fn backup_opens_in_the_same_subscription_and_geography_only() {
    let bench = Bench::new();
    let home = VaultOptions::default();
    bench.add(VaultOptions { name: "near".to_owned(), region: "northeurope".to_owned(), ..home.clone() });
    bench.add(VaultOptions { name: "far".to_owned(), geography: "Brazil".to_owned(), ..home.clone() });
    bench.add(VaultOptions { name: "other".to_owned(), subscription: Uuid::from_u128(7), ..home });
    bench.vaults.seed("contoso", 10);
    let item = |kind: &str| {
        format!(
            "contoso/{kind}s/{kind}-0000{}/backup",
            ["secret", "", "", "", "key", "", "", "certificate"].iter().position(|it| *it == kind).expect("a kind")
        )
    };
    for kind in ["secret", "key", "certificate"] {
        let backup = bench.ask("POST", &item(kind), None).await;
        assert_eq!(backup.status, 200, "{kind}");
        for vault in ["far", "other"] {
            let answer = bench.ask("POST", &format!("{vault}/{kind}s/restore"), Some(backup.body.clone())).await;
            assert_eq!((answer.status.as_u16(), answer.message()), (400, "Cannot decrypt backup blob"), "{kind}");
        }
        let answer = bench.ask("POST", &format!("near/{kind}s/restore"), Some(backup.body)).await;
        assert_eq!(answer.status, 200, "{kind}");
        assert!(answer.body.to_string().contains("https://near.vault.azure.net/"), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn blob_has_the_recorded_form_and_shows_nothing() {
    let bench = Bench::new();
    bench.vaults.set_secret("contoso", "apple", "canary value");
    bench.vaults.create_key("contoso", "banana", "RSA");
    bench.vaults.create_certificate("contoso", "cherry");
    for (path, tag, length) in [
        ("secrets/apple", ")AzureKeyVaultSecretBackupV1.microsoft.com", 3_700),
        ("keys/banana", "&AzureKeyVaultKeyBackupV1.microsoft.com", 7_183),
        ("certificates/cherry", "&AzureKeyVaultKeyBackupV1.microsoft.com", 32_996),
    ] {
        let backup = bench.ask("POST", &format!("contoso/{path}/backup"), None).await.body;
        let blob = URL_SAFE_NO_PAD.decode(backup["value"].as_str().expect("a value")).expect("base64url, no padding");
        let text = String::from_utf8(blob).expect("a blob is ASCII");
        let jwe = text.strip_prefix(tag).expect("the tag comes first");
        assert_eq!(jwe.split('.').count(), 5, "{path}");
        let header = URL_SAFE_NO_PAD.decode(jwe.split('.').next().unwrap_or_default()).expect("base64url");
        let header: Value = serde_json::from_slice(&header).expect("a header is JSON");
        assert_eq!((&header["alg"], &header["enc"]), (&json!("RSA-OAEP-256"), &json!("A256CBC-HS512")));
        assert!(text.len().abs_diff(length) < length / 20, "{path}: {} bytes", text.len());
    }
}

#[tokio::test(start_paused = true)]
async fn changed_cut_or_foreign_blob_is_refused() {
    let bench = Bench::new();
    bench.vaults.set_secret("contoso", "apple", "red");
    bench.vaults.create_certificate("contoso", "cherry");
    let good = bench.ask("POST", "contoso/secrets/apple/backup", None).await.body["value"].as_str().map(str::to_owned);
    let good = good.expect("a value");
    let blob = URL_SAFE_NO_PAD.decode(&good).expect("base64url");
    bench.vaults.purge_now("contoso", Kind::Secret, "apple");
    for at in (0..blob.len()).step_by(97) {
        let mut changed = blob.clone();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let answer = restore(&bench, "secrets", &URL_SAFE_NO_PAD.encode(changed)).await;
        assert_eq!(answer, 400, "changed at {at}");
    }
    for end in (0..blob.len()).step_by(97) {
        assert_eq!(restore(&bench, "secrets", &URL_SAFE_NO_PAD.encode(&blob[..end])).await, 400, "cut at {end}");
    }
    assert_eq!(restore(&bench, "keys", &good).await, 400);
    let certificate = bench.ask("POST", "contoso/certificates/cherry/backup", None).await.body;
    bench.vaults.purge_now("contoso", Kind::Certificate, "cherry");
    assert_eq!(restore(&bench, "keys", certificate["value"].as_str().expect("a value")).await, 400);
    assert_eq!(restore(&bench, "secrets", &good).await, 200);
    assert_eq!(bench.vaults.unknown_requests(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn item_with_more_versions_than_the_limit_cannot_be_backed_up() {
    let bench = Bench::new();
    bench.vaults.set_secret_versions("contoso", "apple", 500);
    assert_eq!(bench.ask("POST", "contoso/secrets/apple/backup", None).await.status, 200);
    bench.vaults.set_secret("contoso", "apple", "one more");
    let answer = bench.ask("POST", "contoso/secrets/apple/backup", None).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (400, "BadParameter"));
}

#[tokio::test(start_paused = true)]
async fn disabled_secret_cannot_be_read_but_backed_up() {
    let bench = Bench::new();
    bench.vaults.set_secret("contoso", "apple", "red");
    bench.vaults.set_enabled("contoso", Kind::Secret, "apple", false);
    assert_eq!(bench.ask("GET", "contoso/secrets/apple", None).await.inner(), "SecretDisabled");
    assert_eq!(bench.ask("POST", "contoso/secrets/apple/backup", None).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn everything_comes_back_as_it_was_after_a_disaster() {
    let bench = Bench::new();
    bench.vaults.seed("contoso", 120);
    let before = bench.vaults.snapshot("contoso");
    assert_eq!((before.count(Kind::Secret), before.count(Kind::Key), before.count(Kind::Certificate)), (48, 36, 36));
    let mut backups = Vec::new();
    for ((kind, name), item) in before.items.iter().filter(|(_, it)| !it.managed) {
        assert!(item.active);
        let plural = kind.plural();
        let backup = bench.ask("POST", &format!("contoso/{plural}/{name}/backup"), None).await;
        assert_eq!(backup.status, 200, "{plural}/{name}");
        backups.push((plural, backup.body));
    }
    bench.vaults.lose_everything("contoso");
    assert_eq!(before.differences(&bench.vaults.snapshot("contoso")).len(), before.items.len());
    for (plural, backup) in backups {
        assert_eq!(bench.ask("POST", &format!("contoso/{plural}/restore"), Some(backup)).await.status, 200);
    }
    assert_eq!(before.differences(&bench.vaults.snapshot("contoso")), [""; 0]);
    bench.vaults.set_enabled("contoso", Kind::Key, "key-00004", false);
    assert_eq!(before.differences(&bench.vaults.snapshot("contoso")).len(), 1);
}

async fn restore(bench: &Bench, plural: &str, value: &str) -> u16 {
    bench.ask("POST", &format!("contoso/{plural}/restore"), Some(json!({"value": value}))).await.status.as_u16()
}
