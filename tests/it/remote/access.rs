//! What opens the app, and where it goes and does not go.

use std::{os::unix::fs::PermissionsExt as _, process::Stdio};

use super::{VAULT, answers::Impostor, environment, with_backups};
use crate::local_azure::{BINARY, FUNCTION_KEY, LIMIT, LocalAzure, run};

#[tokio::test]
async fn a_key_is_read_from_a_file_or_from_standard_input() {
    let (azure, app) = with_backups().await;
    let file = azure.folder().join("key");
    std::fs::write(&file, format!("{FUNCTION_KEY}\n")).unwrap();
    let mut settings = environment(&app);
    settings.remove("BACKUP_APP_KEY");
    let missing = run(&settings, &["list"]).await;
    assert!(missing.code == 2 && missing.stderr.contains("BACKUP_APP_KEY"), "{missing:?}");
    let path = file.to_str().unwrap();
    assert_eq!(run(&settings, &["list", "--app-key-file", path]).await.code, 0);
    settings.insert("BACKUP_APP_KEY_FILE".to_owned(), path.to_owned());
    assert_eq!(run(&settings, &["list"]).await.code, 0);
    std::fs::write(&file, "two words\n").unwrap();
    let wrong = run(&settings, &["list"]).await;
    assert!(wrong.code == 2 && !wrong.stderr.contains("two words"), "{wrong:?}");
    std::fs::remove_file(&file).unwrap();
    let gone = run(&settings, &["list"]).await;
    assert!(gone.code == 2 && gone.stderr.contains(path), "{gone:?}");
    // Standard input is empty here.
    let nothing = run(&settings, &["list", "--app-key-file", "-"]).await;
    assert!(nothing.code == 2 && nothing.stderr.contains("Standard input holds no function key"), "{nothing:?}");
}

#[tokio::test]
async fn a_wrong_key_is_said_to_be_wrong_and_not_repeated() {
    let (_azure, app) = with_backups().await;
    let mut settings = environment(&app);
    settings.insert("BACKUP_APP_KEY".to_owned(), "canary-guess".to_owned());
    for arguments in [&["list"][..], &["backup", VAULT], &["operations", "--output", "json"]] {
        let ran = run(&settings, arguments).await;
        assert_eq!(ran.code, 6, "{ran:?}");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains("refused the function key (401)") && said.contains("host key"), "{ran:?}");
        assert!(!said.contains("canary"), "{ran:?}");
    }
    assert_eq!(app.host.invocations().len(), 0);
}

#[tokio::test]
async fn nothing_that_is_logged_holds_the_key_or_the_token() {
    let (azure, app) = with_backups().await;
    let mut settings = azure.settings();
    settings.extend(environment(&app));
    settings.insert("LOG_LEVEL".to_owned(), "trace".to_owned());
    settings.insert("BACKUP_APP_SCOPE".to_owned(), "https://vault.azure.net".to_owned());
    for arguments in [&["list"][..], &["restore", VAULT, "--to", "contoso-dr", "--dry-run"]] {
        let ran = run(&settings, arguments).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.stderr.contains("performing request"), "it is the most talkative level: {ran:?}");
        assert!(!ran.stderr.contains(FUNCTION_KEY) && !ran.stderr.contains("eyJ"), "{ran:?}");
    }
}

#[tokio::test]
async fn whoever_signs_in_sends_a_token_for_the_scope_and_no_key() {
    let azure = LocalAzure::with(&[VAULT]).await;
    let impostor = Impostor::start(|_| (200, "application/json", r#"{"value":[]}"#.to_owned())).await;
    let mut settings = azure.settings();
    settings.insert("BACKUP_APP_URL".to_owned(), impostor.url());
    settings.insert("BACKUP_APP_SCOPE".to_owned(), "api://contoso-backup".to_owned());
    let ran = run(&settings, &["list"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let seen = impostor.seen();
    assert_eq!(seen.len(), 1);
    let token = seen[0].headers["authorization"].to_str().unwrap();
    assert!(token.starts_with("Bearer ey"), "{token}");
    assert!(seen[0].headers.get("x-functions-key").is_none());
}

#[tokio::test]
async fn who_is_not_signed_in_is_told_what_was_tried() {
    let settings = [("BACKUP_APP_URL", "http://127.0.0.1:9"), ("BACKUP_APP_SCOPE", "api://contoso-backup")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let ran = run(&settings, &["list"]).await;
    assert_eq!(ran.code, 6, "{ran:?}");
    for part in [
        "az login --scope api://contoso-backup/.default",
        "IDENTITY_ENDPOINT",
        "AZURE_FEDERATED_TOKEN_FILE",
        "az not found",
        "azd not found",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {ran:?}");
    }
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
}

/// `az` is a script that starts another program; both are gone when nobody waits for them any more.
#[tokio::test]
async fn an_az_that_hangs_is_ended_with_all_it_has_started_when_nobody_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let (az, ids) = (folder.path().join("az"), folder.path().join("ids"));
    let script = format!("#!/bin/sh\nsleep 300 &\necho $$ $! >{0}.partial\nmv {0}.partial {0}\nwait\n", ids.display());
    std::fs::write(&az, script).unwrap();
    std::fs::set_permissions(&az, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = tokio::process::Command::new(BINARY);
    command.arg("list").env_clear().env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()));
    command.env("BACKUP_APP_URL", "http://127.0.0.1:9").env("BACKUP_APP_SCOPE", "api://contoso-backup");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().unwrap();
    until(|| ids.exists()).await;
    let process = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
    let ended = tokio::time::timeout(LIMIT, child.wait_with_output()).await.expect("the command ends").unwrap();
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    for id in std::fs::read_to_string(&ids).unwrap().split_whitespace() {
        // Gone, or dead and not yet taken away by whoever inherited it.
        let state = || std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_else(|_| ") Z".to_owned());
        until(|| state().contains(") Z")).await;
    }
}

/// Waits for that.
async fn until(is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.expect("it comes to that");
}

#[tokio::test]
async fn what_cannot_be_done_by_an_app_is_refused_with_the_reason() {
    let settings = [("BACKUP_APP_URL", "http://127.0.0.1:9"), ("BACKUP_APP_KEY", "key")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let flag = run(&settings, &["list", "--backup-store-url", "file:///tmp/x"]).await;
    assert!(flag.code == 2 && flag.stderr.contains("--backup-store-url means nothing to the app"), "{flag:?}");
    // A copy is made by this machine and to it: exit code 2, and nothing was asked (nobody is at that address).
    for arguments in [&["copy", "--to", "file:///tmp/x"][..], &["copy", "--to", "file:///tmp/x", "--dry-run"]] {
        let copy = run(&settings, arguments).await;
        assert!(copy.code == 2 && copy.stderr.contains("Leave --app out"), "{copy:?}");
        let json = run(&settings, &[arguments, &["--output", "json"]].concat()).await;
        assert_eq!((json.code, &json.json()["error"]["code"]), (2, &"InvalidInput".into()), "{json:?}");
    }
    let completions = run(&settings, &["completions", "bash"]).await;
    assert!(completions.code == 0 && completions.stdout.contains("keyvault-backup"), "they are of this machine");
    let down = run(&settings, &["list"]).await;
    assert!(down.code == 5 && down.stderr.contains("The app at 127.0.0.1:9 cannot be reached"), "{down:?}");
}
