//! Who may do what.

use std::time::Duration;

use serde_json::json;
use simulator::{
    identity::Directory,
    key_vault::{Kind, Network, Operation, Verb},
};

use crate::bench::Bench;

/// What the product asks for in its custom role for backups.
const BACKUP_ROLE: [&str; 6] = [
    "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
    "Microsoft.KeyVault/vaults/secrets/backup/action",
    "Microsoft.KeyVault/vaults/keys/read",
    "Microsoft.KeyVault/vaults/keys/backup/action",
    "Microsoft.KeyVault/vaults/certificates/read",
    "Microsoft.KeyVault/vaults/certificates/backup/action",
];

#[tokio::test(start_paused = true)]
async fn request_without_token_gets_the_challenge_whatever_its_path() {
    let bench = Bench::new();
    for path in ["contoso/secrets", "contoso/no/such/path", "contoso/secrets?api-version=1.0"] {
        let answer = bench.ask_with(None, "GET", path, None).await;
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(answer.message(), "AKV10000: Request is missing a Bearer or PoP token.");
        let challenge = answer.headers["www-authenticate"].to_str().expect("ASCII");
        assert!(challenge.contains(r#"resource="https://vault.azure.net""#), "{challenge}");
    }
    assert_eq!(bench.vaults.unknown_requests(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn token_for_something_else_or_from_elsewhere_or_too_old_is_refused() {
    let bench = Bench::new();
    let directory = bench.vaults.directory();
    let storage = directory.mint(&bench.admin, "https://storage.azure.com/");
    let stranger = Directory::new(bench.vaults.clock().clone()).mint(&bench.admin, "https://vault.azure.net");
    directory.set_token_lifetime(Duration::from_secs(60));
    let old = directory.mint(&bench.admin, "https://vault.azure.net");
    assert_eq!(bench.ask_with(Some(&old), "GET", "contoso/keys", None).await.status, 200);
    bench.vaults.clock().advance(Duration::from_secs(60));
    for (token, text) in [(&storage, "AKV10022"), (&stranger, "InvalidToken"), (&old, "TokenExpired")] {
        let answer = bench.ask_with(Some(token), "GET", "contoso/keys", None).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (401, "Unauthorized"));
        assert!(answer.message().contains(text), "{}", answer.message());
    }
}

#[tokio::test(start_paused = true)]
async fn backup_role_lists_and_backs_up_and_can_do_nothing_else() {
    let bench = Bench::new();
    bench.vaults.set_secret("contoso", "apple", "red");
    bench.vaults.create_key("contoso", "banana", "EC");
    bench.vaults.create_certificate("contoso", "cherry");
    let keeper = bench.vaults.directory().identity("keeper");
    bench.vaults.assign(&keeper, "contoso", &BACKUP_ROLE);
    for item in ["secrets/apple", "keys/banana", "certificates/cherry"] {
        let kind = item.split('/').next().expect("a kind");
        for (method, path, status) in [
            ("GET", format!("contoso/{kind}"), 200),
            ("GET", format!("contoso/{item}/versions"), 200),
            ("POST", format!("contoso/{item}/backup"), 200),
            ("GET", format!("contoso/deleted{kind}"), 200),
            ("POST", format!("contoso/deleted{item}/recover"), 403),
            ("DELETE", format!("contoso/deleted{item}"), 403),
            ("DELETE", format!("contoso/{item}"), 403),
        ] {
            let answer = bench.ask_as(&keeper, method, &path, None).await;
            assert_eq!(answer.status, status, "{method} {path}");
        }
        let path = format!("contoso/{kind}/restore");
        let restore = bench.ask_as(&keeper, "POST", &path, Some(json!({"value": "AA"}))).await;
        assert_eq!(restore.inner(), "ForbiddenByRbac");
    }
    let get = bench.ask_as(&keeper, "GET", "contoso/secrets/apple", None).await;
    assert_eq!((get.status.as_u16(), get.inner()), (403, "ForbiddenByRbac"));
    assert!(
        get.message().contains("\r\nAction: 'Microsoft.KeyVault/vaults/secrets/getSecret/action'\r\nResource: '/sub")
    );
    bench.vaults.unassign(&keeper, "contoso");
    assert_eq!(bench.ask_as(&keeper, "GET", "contoso/secrets", None).await.status, 403);
}

#[test]
#[should_panic(expected = "there is no data action")]
fn data_action_with_a_trailing_blank_is_refused() {
    let bench = Bench::new();
    bench.vaults.assign(&bench.admin, "contoso", &["Microsoft.KeyVault/vaults/keys/read "]);
}

#[tokio::test(start_paused = true)]
async fn firewall_and_private_link_keep_everybody_out() {
    let bench = Bench::new();
    for (network, inner) in
        [(Network::Firewall, "ForbiddenByFirewall"), (Network::PrivateOnly, "ForbiddenByConnection")]
    {
        bench.vaults.set_network("contoso", network);
        let answer = bench.ask("GET", "contoso/secrets", None).await;
        assert_eq!((answer.status.as_u16(), answer.inner()), (403, inner));
    }
    bench.vaults.set_network("contoso", Network::Open);
    assert_eq!(bench.ask("GET", "contoso/secrets", None).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn read_only_vault_can_be_read_and_backed_up() {
    let bench = Bench::new();
    bench.vaults.set_secret("contoso", "apple", "red");
    bench.vaults.set_read_only("contoso", true);
    assert_eq!(bench.ask("POST", "contoso/secrets/apple/backup", None).await.status, 200);
    let set = bench.ask("PUT", "contoso/secrets/apple", Some(json!({"value": "green"}))).await;
    assert_eq!((set.status.as_u16(), set.code()), (503, "ServiceUnavailable"));
    assert_eq!(set.message(), "Operation \"SecretSet\" is unavailable: the service is currently in a read-only state.");
}

#[tokio::test(start_paused = true)]
async fn what_the_simulator_does_not_know_is_refused_and_remembered() {
    let bench = Bench::new();
    bench.vaults.create_key("contoso", "banana", "RSA");
    let (set, create) = (Some(json!({"value": "secret text", "colour": 1})), Some(json!({"kty": "EC", "colour": 1})));
    for (method, path, body) in [
        ("POST", "contoso/keys/banana/sign", None),
        ("GET", "contoso/keys?api-version=6.0", None),
        ("GET", "contoso/keys?colour=red", None),
        ("HEAD", "contoso/keys", None),
        ("GET", "contoso/keys/under_score", None),
        ("PUT", "contoso/secrets/apple", set),
        ("POST", "contoso/keys/cherry/create", create),
        ("GET", "nobody/keys", None),
    ] {
        let before = bench.vaults.unknown_requests().len();
        let answer = bench.ask(method, path, body).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (501, "SimulatorDoesNotKnow"), "{method} {path}");
        assert_eq!(bench.vaults.unknown_requests().len(), before + 1, "{method} {path}");
    }
    assert!(!bench.vaults.unknown_requests().concat().contains("secret text"));
}

#[tokio::test(start_paused = true)]
async fn log_says_who_did_what_to_which_item() {
    let bench = Bench::new();
    bench.vaults.set_secret("contoso", "apple", "red");
    let backup = bench.ask("POST", "contoso/secrets/apple/backup", None).await.body;
    bench.vaults.purge_now("contoso", Kind::Secret, "apple");
    bench.vaults.reset_log();
    bench.ask("POST", "contoso/secrets/restore", Some(backup.clone())).await;
    bench.ask("POST", "contoso/secrets/restore", Some(backup)).await;
    let restore = Operation::new(Kind::Secret, Verb::Restore);
    assert_eq!(bench.vaults.count(restore), 2);
    assert_eq!(bench.vaults.count_status(409), 1);
    let log = bench.vaults.requests();
    assert_eq!((log[0].name.as_str(), log[0].identity.as_str(), log[0].vault.as_str()), ("apple", "admin", "contoso"));
    assert_eq!(restore.to_string(), "SecretRestore");
}
