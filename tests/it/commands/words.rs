//! The words of results and mistakes: one thing is told as one, and who gives a wrong command is told what was wrong, with
//! what, and what to do next, on standard error.

use std::fs;

use crate::{
    local_azure::{FUNCTION_KEY, LocalAzure, Ran},
    remote::by_app,
};

const VAULT: &str = "contoso-prod";

/// Says where one thing is told as several, if anywhere.
fn slip(text: &str) -> Option<String> {
    const SEVERAL: [&str; 16] = [
        "are",
        "were",
        "backups",
        "blobs",
        "bytes",
        "certificates",
        "hours",
        "items",
        "keys",
        "places",
        "seconds",
        "secrets",
        "times",
        "vaults",
        "versions",
        "copies",
    ];
    let words: Vec<&str> = text.split(|letter: char| letter.is_whitespace() || "\"(),;:.".contains(letter)).collect();
    let is_slip = |at: usize| {
        let next = words[at + 1..].iter().copied().find(|word| !["item", "managed", "more"].contains(word));
        words[at] == "1" && next.is_some_and(|next| SEVERAL.contains(&next))
    };
    let at = (0..words.len()).find(|at| is_slip(*at))?;
    Some(words[at..(at + 4).min(words.len())].join(" "))
}

#[test]
fn a_slip_is_found() {
    for wrong in
        ["of 1 items.", "(1 item blobs, 1 B)", "\"There are 1 more places\"", "1 are gone", "1 managed items are"]
    {
        assert!(slip(wrong).is_some(), "{wrong}");
    }
    for right in ["1 of 3 items", "11 items", "1 item is", "2026-11-01 items", "1 item, 2 keys", "0 items", "1.5 items"]
    {
        assert_eq!(slip(right), None, "{right}");
    }
}

#[tokio::test]
async fn one_thing_is_not_told_as_several_and_a_size_has_one_form() {
    let azure = LocalAzure::with(&[VAULT, "contoso-dr", "contoso-drill"]).await;
    azure.vaults.set_secret(VAULT, "only", "value");
    let keep = [("BACKUP_KEEP", "last=1"), ("DRILL_VAULT", "contoso-drill")];
    let copy = format!("file://{}", azure.folder().join("copy").display());
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    let commands: &[&[&str]] = &[
        &["verify"],
        &["copy", "--to", &copy, "--dry-run"],
        &["copy", "--to", &copy],
        &["backup", "--full"],
        &["list"],
        &["list", VAULT],
        &["show", VAULT],
        &["diff", VAULT],
        &["status"],
        &["guard"],
        &["restore", VAULT, "--to", "contoso-dr", "--dry-run"],
        &["restore", VAULT, "--to", "contoso-dr", "--items", "secrets/other"],
        &["restore", VAULT, "--to", "contoso-dr"],
        &["drill", VAULT, "--yes"],
        &["prune", "--dry-run"],
        &["prune", "--yes"],
    ];
    let heard = |arguments: &[&str], ran: &Ran| {
        for text in [&ran.stdout, &ran.stderr] {
            assert_eq!(slip(text), None, "{arguments:?}: {text}");
            assert!(!text.contains(" bytes)"), "{arguments:?}: {text}");
        }
    };
    for arguments in commands {
        for output in ["table", "json"] {
            let arguments = [arguments, &["--output", output][..]].concat();
            heard(&arguments, &azure.run_with(&keep, &arguments).await);
        }
    }
    // One blob is cut off by a byte.
    let blob = azure.items(VAULT).pop().unwrap();
    let text = fs::read(&blob).unwrap();
    fs::write(&blob, &text[..1]).unwrap();
    let damaged = azure.run(&["verify"]).await;
    assert!(damaged.code == 7 && damaged.stderr.contains("it has 1 byte instead of "), "{damaged:?}");
    heard(&["verify"], &damaged);
    // Whatever was recorded meanwhile.
    let operations = azure.run(&["operations", "--output", "json"]).await.json();
    let operations = operations["value"].as_array().unwrap();
    assert!(operations.len() > 5);
    let mut messages = String::new();
    for operation in operations {
        let arguments = ["operations", operation["id"].as_str().unwrap()];
        let ran = azure.run(&arguments).await;
        heard(&arguments, &ran);
        messages += &ran.stdout;
    }
    for said in [
        "holds 1 item: 1 read, 0 unchanged.",
        "1 of 1 item dealt with",
        "its only item came back as it was backed up",
        "The only backup of vault contoso-prod is sound: 1 item blob (",
        "1 of 1 backup of vault contoso-prod is damaged in 1 place: ",
    ] {
        assert!(messages.contains(said), "nothing says {said:?}: {messages}");
    }
}

#[tokio::test]
async fn a_wrong_command_is_told_what_to_do_next() {
    let azure = LocalAzure::with(&[VAULT, "contoso-dr"]).await;
    azure.vaults.seed(VAULT, 3);
    let none = azure.run(&["guard", "--backup-vaults", ""]).await;
    assert!(none.code == 0 && none.stdout.contains("Set BACKUP_VAULTS."), "{none:?}");
    let empty = azure.run(&["backup", "--backup-items", "secrets/nothing-*"]).await;
    let why = "contoso-prod: the backup holds nothing, because BACKUP_ITEMS leaves out all that is there (3 items).";
    assert!(empty.code == 0 && empty.stderr.contains(why), "{empty:?}");
    let file = azure.folder().join("file");
    fs::write(&file, "x").unwrap();
    let (file, folder) = (format!("file://{}", file.display()), azure.folder().display().to_string());
    let gone = format!("{folder}/no-such-key");
    let unknown = "0b5aa9ba-7bd8-4ad3-9b4a-7f1d3a3c2c01";
    let app = ["--app", "https://contoso-backup.azurewebsites.net"];
    let says_what = "is not the id of an operation, which is a GUID; `keyvault-backup operations` lists the newest";
    let rows: &[(&[&str], i32, &[&str])] = &[
        (&["operations", "nonsense"], 2, &["'nonsense'", says_what]),
        (&["restore", VAULT, "--to", "contoso-dr", "--resume", "0b5aa9ba"], 2, &["--resume", says_what]),
        (&["operations", unknown], 4, &[unknown, "`keyvault-backup operations` lists the newest"]),
        (
            &["restore", VAULT, "--to", "contoso-dr", "--items", "secrets/db-password"],
            2,
            &["No item of backup", "matches secrets/db-password", "--all-rows` lists its 0 items"],
        ),
        (
            &["list", "--app-key-file", &gone],
            2,
            &["--app-key-file is about the deployed app", "Give its address with --app"],
        ),
        (&["status", "--app-scope", "api://x"], 2, &["--app-scope is about the deployed app", "leave --app-scope out"]),
        (&["list", "--app-key-file", &gone, app[0], app[1]], 2, &[&gone, "Check the path that --app-key-file"]),
        (&["list", "--app-key-file", &folder, app[0], app[1]], 2, &[&folder, "Check the path that --app-key-file"]),
        (&["list", "--backup-store-url", &file], 2, &["Could not open the store in", "choose another path"]),
        (&["backup", VAULT, "--backup-store-url", &file], 2, &["Could not open the store in", "choose another path"]),
        (&["list", "--backup-store-url", "http://x.blob.core.windows.net/backups"], 2, &["https:// nor with file://"]),
        (&["show", VAULT, "--output", "yaml"], 2, &["'yaml'", "table, json"]),
        (&["diff", VAULT, "latest", "latest", "--live"], 2, &["cannot be used with '--live'"]),
    ];
    for (arguments, code, says) in rows {
        let ran = azure.run(arguments).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (*code, ""), "{arguments:?}: {ran:?}");
        assert!(says.iter().all(|says| ran.stderr.contains(says)), "{arguments:?} lacks {says:?}: {}", ran.stderr);
        for noise in ["panicked", "backtrace", "os error 2) Cause", "BACKUP_STORE_URL is wrong: \"file"] {
            assert!(!ran.stderr.contains(noise), "{arguments:?}: {}", ran.stderr);
        }
    }
}

#[tokio::test]
async fn the_usage_that_comes_with_a_mistake_is_that_of_the_help() {
    let azure = LocalAzure::with(&[VAULT, "contoso-dr"]).await;
    for (arguments, usage) in [
        (&["restore", VAULT][..], "Usage: keyvault-backup restore [OPTIONS] --to <VAULT> <VAULT>\n"),
        (&["backup", "--lable", "x"], "Usage: keyvault-backup backup [OPTIONS] [VAULT]...\n"),
        (&["guard", "acknowledge"], "Usage: keyvault-backup guard acknowledge [OPTIONS] <VAULT>\n"),
        (&["backpu"], "Usage: keyvault-backup [OPTIONS] <COMMAND>\n"),
    ] {
        let ran = azure.run(arguments).await;
        assert!(ran.code == 2 && ran.stderr.contains(usage), "{arguments:?}: {}", ran.stderr);
    }
}

#[tokio::test]
async fn what_failed_at_all_is_told_once_and_on_standard_error() {
    let azure = LocalAzure::with(&[VAULT, "contoso-dr"]).await;
    azure.vaults.seed(VAULT, 3);
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    fs::write(azure.manifests(VAULT).remove(0), "{").unwrap();
    let failed = azure.run(&["restore", VAULT, "--to", "contoso-dr"]).await;
    assert_eq!((failed.code, failed.stdout.as_str()), (7, "Failed.\n"), "{failed:?}");
    assert_eq!(failed.stderr.matches("is damaged").count(), 1, "{failed:?}");
    let status = azure.run(&["status"]).await;
    assert!(status.code == 3 && !status.stdout.contains("unknown, unknown"), "{}", status.stdout);
    let app = azure.app().await;
    let copy = by_app(&app, &["copy", "--to", "file:///nowhere"]).await;
    assert!(copy.code == 2 && copy.stderr.contains("Leave --app out, and BACKUP_APP_URL."), "{copy:?}");
    assert!(!copy.stderr.contains(FUNCTION_KEY));
}
