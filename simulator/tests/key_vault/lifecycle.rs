//! Set, delete, recover, purge, restore.

use std::time::Duration;

use serde_json::json;
use simulator::key_vault::{Kind, VaultOptions};

use crate::bench::Bench;

#[tokio::test(start_paused = true)]
async fn secret_goes_through_its_whole_life() {
    let bench = Bench::new();
    for value in ["one", "two"] {
        let set = bench.ask("PUT", "contoso/secrets/apple", Some(json!({"value": value, "tags": {"a": "b"}}))).await;
        assert_eq!((set.status.as_u16(), &set.body["value"]), (200, &json!(value)));
    }
    assert_eq!(bench.pages("contoso/secrets/apple/versions").await.concat().len(), 2);
    let before = bench.vaults.snapshot("contoso");
    let backup = bench.ask("POST", "contoso/secrets/apple/backup", None).await;
    assert_eq!(backup.status, 200);

    assert_eq!(bench.ask("DELETE", "contoso/secrets/apple", None).await.status, 200);
    let early = bench.ask("GET", "contoso/deletedsecrets/apple", None).await;
    assert_eq!((early.status.as_u16(), early.message()), (404, "Deleted Secret not found: apple"));
    let set = bench.ask("PUT", "contoso/secrets/apple", Some(json!({"value": "three"}))).await;
    assert_eq!((set.status.as_u16(), set.inner()), (409, "ObjectIsBeingDeleted"));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(bench.ask("GET", "contoso/deletedsecrets/apple", None).await.status, 200);
    let set = bench.ask("PUT", "contoso/secrets/apple", Some(json!({"value": "three"}))).await;
    assert_eq!((set.status.as_u16(), set.inner()), (409, "ObjectIsDeletedButRecoverable"));

    assert_eq!(bench.ask("POST", "contoso/deletedsecrets/apple/recover", None).await.status, 200);
    assert_eq!(bench.ask("GET", "contoso/secrets/apple", None).await.status, 404);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(bench.ask("GET", "contoso/secrets/apple", None).await.body["value"], "two");
    assert_eq!(before.differences(&bench.vaults.snapshot("contoso")), [""; 0]);

    bench.vaults.delete_now("contoso", Kind::Secret, "apple");
    assert_eq!(bench.ask("DELETE", "contoso/deletedsecrets/apple", None).await.status, 204);
    assert_eq!(bench.ask("GET", "contoso/deletedsecrets/apple", None).await.status, 404);
    let early = bench.ask("POST", "contoso/secrets/restore", Some(backup.body.clone())).await;
    assert_eq!((early.status.as_u16(), early.code(), early.inner()), (409, "Conflict", ""));
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(bench.ask("POST", "contoso/secrets/restore", Some(backup.body)).await.status, 200);
    assert_eq!(before.differences(&bench.vaults.snapshot("contoso")), [""; 0]);
    assert_eq!(bench.vaults.unknown_requests(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn deleted_item_is_gone_when_its_retention_is_over() {
    let bench = Bench::with(VaultOptions { retention_days: 7, purge_protection: true, ..Default::default() });
    bench.vaults.set_secret("contoso", "apple", "red");
    bench.ask("DELETE", "contoso/secrets/apple", None).await;
    bench.vaults.clock().advance(Duration::from_secs(7 * 24 * 3600 - 1));
    let purge = bench.ask("DELETE", "contoso/deletedsecrets/apple", None).await;
    assert_eq!((purge.status.as_u16(), purge.code()), (403, "Forbidden"));
    assert!(purge.message().contains("purge protection is enabled"), "{}", purge.message());
    bench.vaults.clock().advance(Duration::from_secs(2));
    assert_eq!(bench.ask("GET", "contoso/deletedsecrets/apple", None).await.status, 404);
    assert_eq!(bench.ask("PUT", "contoso/secrets/apple", Some(json!({"value": "green"}))).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn certificate_takes_its_key_and_secret_along() {
    let bench = Bench::new();
    let create = bench
        .ask(
            "POST",
            "contoso/certificates/web/create",
            Some(json!({"policy": {"issuer": {"name": "Self"}, "x509_props": {"subject": "CN=web"}}})),
        )
        .await;
    assert_eq!((create.status.as_u16(), &create.headers["retry-after"]), (202, &"10".parse().expect("ASCII")));
    assert_eq!(bench.pages("contoso/certificates").await.concat().len(), 0);
    tokio::time::advance(Duration::from_secs(10)).await;
    let pending = bench.ask("GET", "contoso/certificates/web/pending", None).await;
    assert_eq!(pending.body["status"], "completed");
    let before = bench.vaults.snapshot("contoso");
    for path in ["keys/web", "secrets/web"] {
        let refused = bench.ask("POST", &format!("contoso/{path}/backup"), None).await;
        assert_eq!(refused.status, 403);
        assert!(refused.message().contains("since it is associated with a certificate"), "{}", refused.message());
        assert_eq!(bench.ask("DELETE", &format!("contoso/{path}"), None).await.status, 403);
    }
    let backup = bench.ask("POST", "contoso/certificates/web/backup", None).await.body;
    bench.ask("DELETE", "contoso/certificates/web", None).await;
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(bench.pages("contoso/keys").await.concat().len(), 0);
    bench.ask("DELETE", "contoso/deletedcertificates/web", None).await;
    tokio::time::advance(Duration::from_secs(11)).await;

    bench.vaults.set_secret("contoso", "web", "in the way");
    assert_eq!(bench.ask("POST", "contoso/certificates/restore", Some(backup.clone())).await.status, 409);
    bench.vaults.purge_now("contoso", Kind::Secret, "web");
    let restored = bench.ask("POST", "contoso/certificates/restore", Some(backup)).await;
    assert_eq!((restored.status.as_u16(), restored.body.get("pending")), (200, None));
    assert_eq!(before.differences(&bench.vaults.snapshot("contoso")), [""; 0]);
    assert_eq!(bench.vaults.unknown_requests(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn recovery_that_goes_on_refuses_other_changes() {
    let bench = Bench::new();
    bench.vaults.create_key("contoso", "banana", "EC");
    bench.vaults.delete_now("contoso", Kind::Key, "banana");
    assert_eq!(bench.ask("POST", "contoso/deletedkeys/banana/recover", None).await.status, 200);
    let create = Some(json!({"kty": "EC"}));
    for (method, path, body) in [
        ("POST", "contoso/deletedkeys/banana/recover", None),
        ("DELETE", "contoso/deletedkeys/banana", None),
        ("POST", "contoso/keys/banana/create", create),
    ] {
        let answer = bench.ask(method, path, body).await;
        assert_eq!((answer.status.as_u16(), answer.inner()), (409, "ObjectIsBeingRecovered"), "{method} {path}");
    }
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(bench.ask("GET", "contoso/keys/banana", None).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn deleted_certificate_is_recovered_as_a_whole_only() {
    let bench = Bench::new();
    bench.vaults.create_certificate("contoso", "web");
    let before = bench.vaults.snapshot("contoso");
    bench.vaults.delete_now("contoso", Kind::Certificate, "web");
    for kind in ["keys", "secrets"] {
        let deleted = bench.pages(&format!("contoso/deleted{kind}")).await.concat();
        assert_eq!((deleted.len(), &deleted[0]["managed"]), (1, &json!(true)), "{kind}");
        for (method, path) in [("POST", "/recover"), ("DELETE", "")] {
            let answer = bench.ask(method, &format!("contoso/deleted{kind}/web{path}"), None).await;
            assert_eq!(answer.status, 403, "{method} {kind}");
        }
    }
    bench.ask("POST", "contoso/deletedcertificates/web/recover", None).await;
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(before.differences(&bench.vaults.snapshot("contoso")), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn update_changes_what_it_names_and_nothing_else() {
    let bench = Bench::new();
    let version = bench.vaults.set_secret("contoso", "apple", "red");
    bench.vaults.set_secret("contoso", "apple", "green");
    tokio::time::advance(Duration::from_secs(60)).await;
    let path = format!("contoso/secrets/apple/{version}");
    let update = json!({"attributes": {"exp": 2_000_000_000}, "tags": {"ripe": "yes"}, "contentType": "text/plain"});
    let answer = bench.ask("PATCH", &path, Some(update)).await.body;
    assert_eq!(answer.get("value"), None);
    assert_eq!(answer["attributes"]["updated"], json!(answer["attributes"]["created"].as_i64().map(|it| it + 60)));
    let got = bench.ask("GET", &path, None).await.body;
    assert_eq!(
        (&got["value"], &got["tags"]["ripe"], &got["attributes"]["enabled"]),
        (&json!("red"), &json!("yes"), &json!(true))
    );
    let current = bench.ask("GET", "contoso/secrets/APPLE", None).await.body;
    assert_eq!((&current["value"], current.get("tags")), (&json!("green"), None));
}

#[tokio::test(start_paused = true)]
async fn policy_update_keeps_what_it_does_not_name() {
    let bench = Bench::new();
    bench.vaults.create_certificate("contoso", "web");
    let before = bench.ask("GET", "contoso/certificates/web/policy", None).await.body;
    let update = json!({"x509_props": {"subject": "CN=new"}});
    let after = bench.ask("PATCH", "contoso/certificates/web/policy", Some(update)).await.body;
    assert_eq!(after["x509_props"]["subject"], "CN=new");
    assert_eq!((&after["key_props"], &after["issuer"]), (&before["key_props"], &before["issuer"]));
}

#[tokio::test(start_paused = true)]
async fn secret_value_of_more_than_25_kilobytes_is_refused() {
    let bench = Bench::new();
    let set = |length: usize| Some(json!({"value": "x".repeat(length)}));
    assert_eq!(bench.ask("PUT", "contoso/secrets/apple", set(25 * 1024)).await.status, 200);
    let refused = bench.ask("PUT", "contoso/secrets/apple", set(25 * 1024 + 1)).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (400, "BadParameter"));
}

#[tokio::test(start_paused = true)]
async fn certificate_does_not_take_the_name_of_a_secret() {
    let bench = Bench::new();
    bench.vaults.set_secret("contoso", "apple", "red");
    let policy = json!({"policy": {"issuer": {"name": "Self"}}});
    assert_eq!(bench.ask("POST", "contoso/certificates/apple/create", Some(policy)).await.status, 409);
    bench.vaults.create_certificate("contoso", "web");
    let set = bench.ask("PUT", "contoso/secrets/web", Some(json!({"value": "x"}))).await;
    assert_eq!((set.status.as_u16(), set.inner()), (403, "SecretManagedByKeyVault"));
}
