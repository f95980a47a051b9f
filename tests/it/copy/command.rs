//! `keyvault-backup copy` as people and scripts meet it: the real binary on folders.

use std::{fs, path::PathBuf, process::Stdio, time::Duration};

use keyvault_backup::{
    repository::{Lock, Repository},
    store::local::LocalStore,
};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use uuid::Uuid;

use super::{TARGET, VAULT};
use crate::local_azure::{BINARY, LIMIT, LocalAzure, files};

const OTHER: &str = "contoso-test";

/// Two vaults, one backed up twice and one once, and a place for a copy.
async fn backed_up() -> (LocalAzure, PathBuf, String) {
    let azure = LocalAzure::with(&[VAULT, TARGET, OTHER]).await;
    azure.vaults.seed(VAULT, 10);
    azure.vaults.seed(OTHER, 3);
    assert_eq!(azure.run(&["backup", VAULT, "--label", "before-upgrade"]).await.code, 0);
    azure.vaults.set_secret(VAULT, "apple", "value");
    assert_eq!(azure.run(&["backup", VAULT, OTHER]).await.code, 0);
    let place = azure.folder().join("copy");
    let url = format!("file://{}", place.display());
    (azure, place, url)
}

/// The cells of the row of that vault.
fn row<'a>(table: &'a str, vault: &str) -> Vec<&'a str> {
    let mut rows = table.lines().map(|line| line.split(['│', '┆']).map(str::trim).collect::<Vec<_>>());
    rows.find(|cells| cells.contains(&vault)).unwrap_or_else(|| panic!("{vault} is not in {table}"))
}

fn content(folder: &std::path::Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = files(&folder.join("vaults")).into_iter();
    files.map(|file| (file.strip_prefix(folder).unwrap().to_owned(), fs::read(&file).unwrap())).collect()
}

#[tokio::test]
async fn the_copy_of_a_repository_is_one_that_every_command_accepts() {
    let (azure, place, url) = backed_up().await;
    let dry = azure.run(&["copy", "--to", &url, "--dry-run"]).await;
    assert_eq!((dry.code, dry.stderr.as_str()), (0, ""), "{dry:?}");
    assert!(dry.stdout.contains("To copy"), "{}", dry.stdout);
    assert_eq!(row(&dry.stdout, VAULT)[1..7], [VAULT, "2", "0", "2", "0", "11"]);
    assert_eq!(row(&dry.stdout, OTHER)[1..7], [OTHER, "1", "0", "1", "0", "3"]);
    assert!(!place.exists() && !azure.folder().join("copy-state").exists(), "a dry run makes nothing");

    let copied = azure.run(&["copy", "--to", &url]).await;
    assert_eq!((copied.code, copied.stderr.as_str()), (0, ""), "{copied:?}");
    assert_eq!(row(&copied.stdout, VAULT)[1..7], [VAULT, "2", "0", "2", "0", "11"]);
    assert_eq!(content(&place), content(&azure.backups()));
    let again = azure.run(&["copy", "--to", &url]).await;
    assert_eq!(row(&again.stdout, VAULT)[1..8], [VAULT, "2", "2", "0", "0", "0", "0 B"], "{again:?}");

    // The container is lost, and its state with it.
    fs::remove_dir_all(azure.backups()).unwrap();
    fs::remove_dir_all(azure.state()).unwrap();
    let on_the_copy = async |arguments: &[&str]| {
        let ran = azure.run_with(&[("BACKUP_STORE_URL", &url)], arguments).await;
        assert_eq!(ran.stderr, "", "{ran:?}");
        (ran.code, ran.stdout)
    };
    assert_eq!(on_the_copy(&["verify"]).await.0, 0);
    let (code, listed) = on_the_copy(&["list", VAULT]).await;
    assert!(code == 0 && listed.contains("before-upgrade"), "{listed}");
    let (code, shown) = on_the_copy(&["show", VAULT]).await;
    assert!(code == 0 && shown.contains("secrets/apple"), "{shown}");
    let (code, differs) = on_the_copy(&["diff", VAULT]).await;
    assert!(code == 1 && differs.contains("secrets/apple"), "{differs}");
    assert_eq!(on_the_copy(&["status", VAULT]).await.0, 0);
    assert_eq!(on_the_copy(&["restore", VAULT, "--to", TARGET]).await.0, 0);
    let (source, target) = (azure.vaults.snapshot(VAULT), azure.vaults.snapshot(TARGET));
    assert_eq!(source.differences(&target), Vec::<String>::new());
    let (code, pruned) = on_the_copy(&["prune", VAULT, "--remove", "before-upgrade", "--yes"]).await;
    assert!(code == 0 && pruned.contains("emoved 1 backup"), "{pruned}");
    assert_eq!(on_the_copy(&["verify", VAULT]).await.0, 0);
    // The next backup into it goes on from what was copied.
    assert_eq!(on_the_copy(&["backup", VAULT]).await.0, 0);
    azure.assert_all_known();
}

#[tokio::test]
async fn a_copy_is_copied_back_without_any_other_setting() {
    let (azure, place, url) = backed_up().await;
    assert_eq!(azure.run(&["copy", "--to", &url, VAULT]).await.code, 0);
    let back = format!("file://{}", azure.folder().join("back").display());
    let copied = azure.run_with(&[("BACKUP_STORE_URL", "")], &["copy", "--from", &url, "--to", &back]).await;
    assert_eq!((copied.code, copied.stderr.as_str()), (0, ""), "{copied:?}");
    assert_eq!(content(&azure.folder().join("back")), content(&place));
    // The state of the settings belongs to the repository of the settings.
    let state = format!("file://{}", azure.folder().join("elsewhere").display());
    let changes = [("STATE_STORE_URL", state.as_str())];
    assert_eq!(azure.run_with(&changes, &["copy", "--from", &back, "--to", &url]).await.code, 0);
    assert!(!azure.folder().join("elsewhere").exists());
}

#[tokio::test]
async fn chosen_vaults_and_backups_are_copied_and_programs_are_told() {
    let (azure, place, url) = backed_up().await;
    let arguments = ["copy", "--to", &url, VAULT, "--backup", "before-upgrade", "--output", "json"];
    let dry = azure.run(&[&arguments[..], &["--dry-run"]].concat()).await;
    let body = dry.json();
    let body = &body["value"][0];
    assert_eq!((dry.code, &body["dryRun"], &body["backups"][0]["result"]), (0, &json!(true), &json!("missing")));

    let ran = azure.run(&arguments).await;
    let body = ran.json();
    assert_eq!((ran.code, body["value"].as_array().unwrap().len()), (0, 1), "{body}");
    let id = azure.manifests(VAULT)[0].file_name().unwrap().to_str().unwrap().split('.').next().unwrap().to_owned();
    let body = &body["value"][0];
    let bytes = &body["bytes"];
    assert!(bytes.as_u64().unwrap() > 1000);
    assert_eq!(
        *body,
        json!({
            "vault": VAULT,
            "dryRun": false,
            "status": "Succeeded",
            "blobs": 10,
            "bytes": bytes,
            "backups": [
                { "id": id, "label": "before-upgrade", "result": "copied", "blobs": 10, "bytes": bytes },
            ],
            "damage": [],
            "moreDamage": 0,
        })
    );
    assert_eq!(files(&place.join("vaults").join(VAULT).join("backups")).len(), 1);
    assert!(!place.join("vaults").join(OTHER).exists());
}

/// Makes the stored copy of an item one byte shorter, and names its blob.
fn cut(azure: &LocalAzure, vault: &str, item: &str) -> String {
    let blob = azure.items(vault).into_iter().find(|path| path.to_string_lossy().contains(item)).unwrap();
    let text = fs::read(&blob).unwrap();
    fs::write(&blob, &text[..text.len() - 1]).unwrap();
    blob.strip_prefix(azure.backups()).unwrap().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn damage_is_named_and_the_exit_code_says_whether_anything_could_be_copied() {
    let (azure, place, url) = backed_up().await;
    // In the second backup of the vault only.
    let blob = cut(&azure, VAULT, "apple");
    let ran = azure.run(&["copy", "--to", &url]).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_eq!(row(&ran.stdout, VAULT)[1..6], [VAULT, "2", "0", "1", "1"]);
    let says = format!("{VAULT}: The stored backup of secrets/apple is damaged: it has");
    assert!(ran.stderr.contains(&says) && ran.stderr.contains(&blob), "{}", ran.stderr);
    assert!(ran.stderr.contains(" is not copied."), "{}", ran.stderr);
    assert_eq!(files(&place.join("vaults").join(VAULT).join("backups")).len(), 1);
    assert_eq!(azure.run_with(&[("BACKUP_STORE_URL", &url)], &["verify"]).await.code, 0);

    let ran = azure.run(&["copy", "--to", &url, VAULT, "--backup", "latest", "--output", "json"]).await;
    let body = ran.json();
    let body = &body["value"][0];
    assert_eq!((ran.code, &body["status"], &body["backups"][0]["result"]), (7, &json!("Failed"), &json!("damaged")));
    let damage = &body["damage"][0];
    assert_eq!((&damage["code"], &damage["blob"]), (&json!("Corrupt"), &json!(blob)));
    assert_eq!(damage["item"], json!({ "kind": "secrets", "name": "apple" }));
    assert_eq!(damage["backups"], json!([body["backups"][0]["id"]]));

    let newer = azure.manifests(OTHER).remove(0);
    azure.make_newer(&newer);
    let ran = azure.run(&["copy", "--to", &format!("{url}-2"), OTHER]).await;
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(ran.stderr.contains("has format version 2"), "{ran:?}");
}

#[tokio::test]
async fn what_cannot_be_copied_is_refused_with_a_reason_and_nothing_is_written() {
    let (azure, place, url) = backed_up().await;
    let own = format!("file://{}", azure.backups().display());
    let (own_slash, own_state) = (format!("{own}/"), format!("{own}-state"));
    for (arguments, code, says) in [
        (&["copy"][..], 2, "--to <URL>"),
        (&["copy", "--to", "/mnt/copy"], 2, "--to is wrong: \"/mnt/copy\" cannot be used"),
        (&["copy", "--to", "https://evil.example/copies"], 2, "--to is wrong"),
        (&["copy", "--from", "backups", "--to", &url], 2, "Error: --from is wrong: \"backups\" cannot be used"),
        (&["copy", "--from", "", "--to", &url], 2, "Error: --from is not set."),
        (&["copy", "--to", &own], 2, "which is the place of the repository itself"),
        (&["copy", "--to", &own_slash], 2, "which is the place of the repository itself"),
        (&["copy", "--to", &own_state], 2, "which is the place of the repository itself"),
        (&["copy", "--to", &url, "contoso-pord"], 4, "Did you mean contoso-prod?"),
        (&["copy", "--to", &url, VAULT, "--backup", "before-downgrade"], 4, "No backup before-downgrade of vault"),
    ] {
        let refused = azure.run(arguments).await;
        assert_eq!(refused.code, code, "{refused:?}");
        assert!(refused.stderr.contains(says), "{refused:?}");
        assert!(!refused.stderr.contains("BACKUP_STORE_URL"), "what was typed is named: {refused:?}");
    }
    for (flag, arguments) in
        [("--from", ["--from", "backups", "--to", &url]), ("--to", ["--from", &url, "--to", "copy"])]
    {
        let refused = azure.run(&[&["copy", "--output", "json"][..], &arguments].concat()).await;
        assert_eq!((refused.code, &refused.json()["error"]["target"]), (2, &json!(flag)), "{refused:?}");
    }
    assert!(!place.exists());
    let empty = format!("file://{}", azure.folder().join("empty").display());
    let refused = azure.run(&["copy", "--from", &empty, "--to", &url]).await;
    assert!(refused.code == 4 && refused.stderr.contains("so there is nothing to copy"), "{refused:?}");
    assert!(!azure.folder().join("empty").exists() && !place.exists(), "a place that was mistyped is not made");
}

#[tokio::test]
async fn beside_another_run_in_the_target_the_command_says_so() {
    let (azure, place, url) = backed_up().await;
    let store = |folder: PathBuf| std::sync::Arc::new(LocalStore::open(folder).unwrap());
    let repository = Repository::new(store(place.clone()), store(azure.folder().join("copy-state")));
    let Lock::Taken(lease) = repository.lock(&VAULT.parse().unwrap(), Uuid::nil()).await.unwrap() else {
        unreachable!()
    };
    let busy = azure.run(&["copy", "--to", &url, VAULT]).await;
    assert_eq!(busy.code, 5, "{busy:?}");
    assert!(busy.stderr.contains("another copy is at work on vault contoso-prod in file://"), "{busy:?}");
    // Other vaults are not held up.
    let both = azure.run(&["copy", "--to", &url]).await;
    assert_eq!((both.code, row(&both.stdout, VAULT)[2], row(&both.stdout, OTHER)[4]), (3, "Failed", "1"), "{both:?}");
    lease.release().await;
    assert_eq!(azure.run(&["copy", "--to", &url, VAULT]).await.code, 0);
}

#[tokio::test]
async fn a_copy_that_is_stopped_says_how_to_go_on_and_goes_on() {
    let (azure, place, url) = backed_up().await;
    // One blob is a pipe that nobody writes into, so that the copy cannot be at its end when it is stopped.
    let slow = azure.items(VAULT).into_iter().find(|path| path.to_string_lossy().contains("apple")).unwrap();
    let text = fs::read(&slow).unwrap();
    fs::remove_file(&slow).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&slow).status().unwrap().success());
    let mut command = tokio::process::Command::new(BINARY);
    command.args(["copy", "--to", &url, VAULT]).env_clear().envs(azure.settings()).kill_on_drop(true);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let all_but_one = async {
        while files(&place.join("vaults")).len() < 10 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, all_but_one).await.expect("the copy begins");
    let id = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = Vec::new();
    while !said.last().is_some_and(|line: &String| line.contains("it copies only what is missing")) {
        let line = tokio::time::timeout(LIMIT, lines.next_line()).await.expect("it says how to go on").unwrap();
        said.push(line.unwrap_or_else(|| panic!("{said:?}")));
    }
    // A blob is there a moment before it is counted.
    let is_account = said[1].starts_with("Copying contoso-prod: ") && said[1].ends_with(" of 11 done.");
    assert!(said[0] == "Stopped." && is_account && !said[1].contains(" 11 of"), "{said:?}");
    // It does not wait for what never answers.
    let ended = tokio::time::timeout(LIMIT, child.wait()).await.expect("the command ends").unwrap();
    assert_eq!(ended.code(), Some(130));
    assert_eq!(files(&place.join("vaults").join(VAULT).join("backups")), Vec::<PathBuf>::new());

    fs::remove_file(&slow).unwrap();
    fs::write(&slow, text).unwrap();
    let again = azure.run(&["copy", "--to", &url, VAULT]).await;
    assert_eq!((again.code, row(&again.stdout, VAULT)[6]), (0, "1"), "{again:?}");
}

/// The system's own way of ending a process, at some moments of a copy that writes a hundred blobs.
#[tokio::test]
async fn a_copy_that_is_killed_leaves_no_half_backup_and_goes_on() {
    let azure = LocalAzure::with(&[VAULT]).await;
    azure.vaults.seed(VAULT, 100);
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    let place = azure.folder().join("copy");
    let url = format!("file://{}", place.display());
    let blobs = || files(&place.join("vaults").join(VAULT).join("items")).len();
    for at in [1, 30, 60, 90] {
        let mut command = tokio::process::Command::new(BINARY);
        command.args(["copy", "--to", &url]).env_clear().envs(azure.settings()).kill_on_drop(true);
        // So that it is seen before it is at its end.
        command.env("BACKUP_CONCURRENCY", "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let so_far = async {
            while blobs() < at && child.try_wait().unwrap().is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, so_far).await.expect("the copy goes on");
        child.kill().await.unwrap();
        if blobs() < 100 {
            assert_eq!(files(&place.join("vaults").join(VAULT).join("backups")), Vec::<PathBuf>::new());
        }
    }
    let (before, last) = (blobs(), azure.run(&["copy", "--to", &url, "--output", "json"]).await);
    assert_eq!((last.code, &last.json()["value"][0]["blobs"]), (0, &json!(100 - before)), "{last:?}");
    assert_eq!(content(&place), content(&azure.backups()));
}
