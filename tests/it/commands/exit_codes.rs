//! Every exit code of every command, by the real binary: what the help says can happen is what happens here, and no other.
//! What is printed each time is held to the schema of the command.

use std::{collections::BTreeSet, fs, net::TcpListener, process::Stdio, sync::Arc};

use keyvault_backup::{
    repository::{Lock, Repository},
    store::local::LocalStore,
};
use simulator::key_vault::{Fault, Kind, Operation, Verb};
use uuid::Uuid;

use super::{commands, exits, help, json_output::assert_printed, names};
use crate::local_azure::{BINARY, LIMIT, LocalAzure, Ran, files};

const VAULT: &str = "contoso-prod";
const TARGET: &str = "contoso-dr";
const DRILL: &str = "contoso-drill";

const BACKUP: &[&str] = &["backup", VAULT];
const RESTORE: &[&str] = &["restore", VAULT, "--to", TARGET];
const LIST: &[&str] = &["list", VAULT];
const SHOW: &[&str] = &["show", VAULT];
const DIFF: &[&str] = &["diff", VAULT];
const LIVE: &[&str] = &["diff", VAULT, "--live"];
const STATUS: &[&str] = &["status"];
const VERIFY: &[&str] = &["verify"];
const DRILLED: &[&str] = &["drill", VAULT, "--into", DRILL];
const GUARD: &[&str] = &["guard", VAULT];
const ACKNOWLEDGE: &[&str] = &["guard", "acknowledge", VAULT];
const PRUNE: &[&str] = &["prune", VAULT];

const COPY: &[&str] = &["copy", VAULT, "--to", COPIES];

const OPERATIONS: &[&str] = &["operations"];

/// Stands for the URL of a folder of the Azure at hand.
const COPIES: &str = "COPIES";

/// Every command that needs the storage.
const ALL: [&[&str]; 14] =
    [BACKUP, RESTORE, LIST, SHOW, DIFF, STATUS, VERIFY, DRILLED, GUARD, ACKNOWLEDGE, PRUNE, LIVE, COPY, OPERATIONS];

const KEEP: (&str, &str) = ("BACKUP_KEEP", "last=1");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_ends_with_each_of_its_documented_codes_and_with_no_other() {
    let mut documented = BTreeSet::new();
    for name in names() {
        documented.extend(exits(&help(&name).await).into_iter().map(|(code, _)| (name.clone(), code)));
    }
    // Some wait, for a service that does not answer or for a name to be free, and all may at once.
    let (sound, elsewhere, trouble, damage, stopped) = futures::join!(
        in_sound_repositories(),
        without_a_repository(),
        in_trouble(),
        in_damaged_repositories(),
        stopped_while_they_wait()
    );
    let seen = [sound, elsewhere, trouble, damage, stopped].concat();
    let wrong: Vec<&Seen> = seen.iter().filter(|seen| seen.code != seen.wanted).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let seen: BTreeSet<(String, i32)> = seen.into_iter().map(|seen| (seen.command, seen.code)).collect();
    let undocumented: Vec<_> = seen.difference(&documented).collect();
    let never: Vec<_> = documented.difference(&seen).collect();
    assert!(undocumented.is_empty() && never.is_empty(), "not in the help: {undocumented:?}; never seen: {never:?}");
}

/// How a command ended.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "the output is shown when the code is another one")]
struct Seen {
    command: String,
    wanted: i32,
    code: i32,
    output: String,
}

/// Gives a command as programs do, and holds what it prints to its schema.
async fn run(azure: &LocalAzure, changes: &[(&str, &str)], arguments: &[&str], wanted: i32) -> Seen {
    let output = azure.run_with(changes, &borrowed(&complete(azure, arguments))).await;
    seen(arguments, wanted, &output)
}

/// The command line as a program gives it.
fn complete(azure: &LocalAzure, arguments: &[&str]) -> Vec<String> {
    let command = name(arguments);
    let copies = format!("file://{}", azure.folder().join("copies").display());
    [arguments, &["--output", "json"], without_asking(&command)]
        .concat()
        .into_iter()
        .map(|word| if word == COPIES { copies.clone() } else { word.to_owned() })
        .collect()
}

fn borrowed(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn seen(arguments: &[&str], wanted: i32, output: &Ran) -> Seen {
    let command = name(arguments);
    assert_printed(&command, output);
    Seen { command, wanted, code: output.code, output: format!("{arguments:?}: {output:?}") }
}

fn name(arguments: &[&str]) -> String {
    match arguments {
        ["guard", "acknowledge", ..] => "guard acknowledge".to_owned(),
        _ => arguments[0].to_owned(),
    }
}

/// Nobody is here to say yes.
fn without_asking(command: &str) -> &'static [&'static str] {
    let (_, definition) = commands().into_iter().find(|(path, _)| path.join(" ") == command).unwrap();
    if definition.get_arguments().any(|argument| argument.get_id() == "yes") { &["--yes"] } else { &[] }
}

/// A vault with ten items, one to restore into and one for drills.
async fn azure() -> LocalAzure {
    let azure = LocalAzure::with(&[VAULT, TARGET, DRILL]).await;
    azure.vaults.seed(VAULT, 10);
    azure
}

async fn backed_up() -> LocalAzure {
    let azure = azure().await;
    assert_eq!(azure.run(&["backup", "--label", "first"]).await.code, 0);
    azure
}

/// Commands of which all is well, and those that find what they look for, or do not.
async fn in_sound_repositories() -> Vec<Seen> {
    let empty = azure().await;
    let mut seen = vec![
        run(&empty, &[], &["list"], 0).await,
        run(&empty, &[], GUARD, 0).await,
        run(&empty, &[], STATUS, 3).await,
        run(&empty, &[], OPERATIONS, 0).await,
        run(&empty, &[], &["operations", "0b5aa9ba-7bd8-4ad3-9b4a-7f1d3a3c2c01"], 4).await,
        run(&empty, &[], &["prune", VAULT, "--remove", "no-such-label"], 4).await,
        run(&empty, &[], &["backup", "no-such-vault"], 4).await,
    ];
    for command in [RESTORE, LIST, SHOW, DIFF, VERIFY, DRILLED, ACKNOWLEDGE, COPY] {
        seen.push(run(&empty, &[], command, 4).await);
    }

    let azure = backed_up().await;
    for command in [BACKUP, LIST, SHOW, DIFF, LIVE, STATUS, VERIFY, GUARD, OPERATIONS] {
        seen.push(run(&azure, &[], command, 0).await);
    }
    seen.push(run(&azure, &[], &["list"], 0).await);
    seen.push(run(&azure, &[], &[COPY, &["--dry-run"]].concat(), 0).await);
    seen.push(run(&azure, &[], COPY, 0).await);
    let copied =
        files(&azure.folder().join("copies")).into_iter().find(|path| path.to_string_lossy().contains(".first"));
    let copied = copied.expect("the manifest has the label in its name");
    fs::rename(&copied, copied.to_str().unwrap().replace(".first", ".other")).unwrap();
    seen.push(run(&azure, &[], COPY, 1).await);
    seen.push(run(&azure, &[], &[RESTORE, &["--dry-run"]].concat(), 0).await);
    seen.push(run(&azure, &[], RESTORE, 0).await);
    seen.push(run(&azure, &[], &["operations", &newest(&azure, "restore", "Succeeded").await], 0).await);
    seen.push(run(&azure, &[], DRILLED, 0).await);
    seen.push(run(&azure, &[KEEP], &[PRUNE, &["--dry-run"]].concat(), 0).await);
    seen.push(run(&azure, &[KEEP], PRUNE, 0).await);
    azure.vaults.set_secret(VAULT, "secret-00001", "another value");
    seen.push(run(&azure, &[], LIVE, 1).await);

    // In the way.
    azure.vaults.set_secret(TARGET, "secret-00001", "a third value");
    seen.push(run(&azure, &[], &[RESTORE, &["--on-conflict", "fail"]].concat(), 1).await);
    seen.push(run(&azure, &[], RESTORE, 3).await);
    azure.vaults.set_secret(DRILL, "theirs", "value");
    seen.push(run(&azure, &[], DRILLED, 1).await);

    // Too much vanished at once.
    for number in 0..30 {
        azure.vaults.set_secret(VAULT, &format!("many-{number}"), "x");
    }
    seen.push(run(&azure, &[], BACKUP, 0).await);
    for number in 0..30 {
        azure.vaults.delete_now(VAULT, Kind::Secret, &format!("many-{number}"));
    }
    seen.push(run(&azure, &[], BACKUP, 0).await);
    seen.push(run(&azure, &[], GUARD, 3).await);
    seen.push(run(&azure, &[], SHOW, 0).await);
    let other = [ACKNOWLEDGE, &["--backup", "20010101T000000Z-00000000"]].concat();
    seen.push(run(&azure, &[], &other, 1).await);
    seen.push(run(&azure, &[], &[ACKNOWLEDGE, &["--reason", "meant"]].concat(), 0).await);

    // Texts.
    seen.push(run(&azure, &[], &["completions", "bash"], 0).await);
    seen.push(run(&azure, &[], &["man", "backup"], 0).await);
    seen
}

/// The id of the newest operation of that kind that ended so. Those of one second are in no order.
async fn newest(azure: &LocalAzure, kind: &str, status: &str) -> String {
    let listed = azure.run(&["operations", "--output", "json"]).await.json();
    let ended = listed["value"].as_array().unwrap().iter().find(|it| it["kind"] == kind && it["status"] == status);
    ended.unwrap()["id"].as_str().unwrap().to_owned()
}

/// Settings that are wrong, and storage that cannot be reached or does not know who asks.
async fn without_a_repository() -> Vec<Seen> {
    let azure = azure().await;
    let mut seen = Vec::new();
    for command in ALL {
        seen.push(run(&azure, &[("BACKUP_STORE_URL", "nowhere")], command, 2).await);
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for command in [&["completions", "no-shell"][..], &["man", "nonsense"], &["serve", "--port", &port]] {
        seen.push(run(&azure, &[], command, 2).await);
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("https://{}/devstoreaccount1/backups", nobody.local_addr().unwrap());
    drop(nobody);
    let unreachable = [("BACKUP_STORE_URL", closed.as_str()), KEEP];
    let stranger =
        [("IDENTITY_HEADER", "wrong"), ("BACKUP_STORE_URL", "https://x.blob.core.windows.net/backups"), KEEP];
    // They go on trying for a while, all at once.
    let runs = ALL.into_iter().flat_map(|command| [(&unreachable[..], command, 5), (&stranger[..], command, 6)]);
    let runs = runs.map(|(changes, command, code)| run(&azure, changes, command, code));
    seen.extend(futures::future::join_all(runs).await);
    seen
}

/// Items and vaults that cannot be had.
async fn in_trouble() -> Vec<Seen> {
    let azure = backed_up().await;
    let mut seen = vec![
        run(&azure, &[], &["verify", VAULT, "contoso-nowhere"], 3).await,
        run(&azure, &[], &["prune", VAULT, "--remove", "first"], 3).await,
    ];
    azure.vaults.set_secret(VAULT, "bad", "x");
    let refuse = || Fault::answer(403, "Forbidden");
    azure.vaults.add_fault(refuse().on(Operation::new(Kind::Secret, Verb::Backup)).named("bad"));
    seen.push(run(&azure, &[], BACKUP, 3).await);
    seen.push(run(&azure, &[], &["operations", &newest(&azure, "backup", "PartiallySucceeded").await], 3).await);
    seen.push(run(&azure, &[], SHOW, 0).await);
    azure.vaults.clear_faults();
    azure.vaults.add_fault(refuse().on(Operation::new(Kind::Key, Verb::List)));
    seen.push(run(&azure, &[], LIVE, 3).await);
    azure.vaults.clear_faults();
    for kind in Kind::ALL {
        azure.vaults.add_fault(Fault::answer(400, "BadParameter").on(Operation::new(kind, Verb::List)));
    }
    seen.push(run(&azure, &[], BACKUP, 1).await);
    let failed = newest(&azure, "backup", "Failed").await;
    seen.push(run(&azure, &[], &["operations", &failed], 1).await);
    for record in files(&azure.state()).into_iter().filter(|path| path.to_string_lossy().contains(&failed)) {
        fs::write(record, "{").unwrap();
    }
    seen.push(run(&azure, &[], &["operations", &failed], 7).await);
    azure.vaults.clear_faults();

    let lost = azure.items(VAULT).into_iter().find(|path| path.display().to_string().contains("/keys/")).unwrap();
    fs::remove_file(lost).unwrap();
    seen.push(run(&azure, &[], DRILLED, 3).await);

    // Somebody else is at work.
    let store = |folder| Arc::new(LocalStore::open(folder).unwrap());
    let repository = Repository::new(store(azure.backups()), store(azure.state()));
    let Lock::Taken(lease) = repository.lock(&VAULT.parse().unwrap(), Uuid::new_v4()).await.unwrap() else {
        panic!("nobody else works here")
    };
    seen.push(run(&azure, &[KEEP], PRUNE, 5).await);
    lease.release().await;
    seen
}

/// Stored data that is damaged, or from a newer release.
async fn in_damaged_repositories() -> Vec<Seen> {
    let mut seen = Vec::new();
    let azure = backed_up().await;
    let only = azure.manifests(VAULT).remove(0);
    fs::write(&only, "{").unwrap();
    for command in [LIST, &["list"], SHOW, RESTORE, LIVE, DRILLED, GUARD, ACKNOWLEDGE, VERIFY, COPY] {
        seen.push(run(&azure, &[], command, 7).await);
    }
    seen.push(run(&azure, &[], STATUS, 3).await);
    seen.push(run(&azure, &[], BACKUP, 0).await);
    seen.push(run(&azure, &[], COPY, 3).await);
    seen.push(run(&azure, &[], &["diff", VAULT, "first"], 7).await);
    seen.push(run(&azure, &[KEEP], PRUNE, 0).await);

    let azure = backed_up().await;
    azure.make_newer(&azure.manifests(VAULT)[0]);
    for command in [BACKUP, LIST, SHOW, RESTORE, LIVE, DRILLED, GUARD, ACKNOWLEDGE, VERIFY, PRUNE, COPY] {
        seen.push(run(&azure, &[KEEP], command, 7).await);
    }
    seen
}

/// Commands that wait for storage that never answers, until somebody types Ctrl-C.
async fn stopped_while_they_wait() -> Vec<Seen> {
    let azure = azure().await;
    futures::future::join_all(ALL.into_iter().map(|command| stopped(&azure, command))).await
}

async fn stopped(azure: &LocalAzure, arguments: &[&str]) -> Seen {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let mut command = tokio::process::Command::new(BINARY);
    command.args(complete(azure, arguments)).env_clear().envs(azure.settings()).kill_on_drop(true);
    command.env("BACKUP_STORE_URL", format!("https://{address}/devstoreaccount1/backups")).env(KEEP.0, KEEP.1);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let asked = tokio::time::timeout(LIMIT, silent.accept()).await;
    let _waits = asked.unwrap_or_else(|_| panic!("{arguments:?} asks the storage")).unwrap();
    let process = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &process]).status().unwrap().success());
    let ended = tokio::time::timeout(LIMIT, child.wait_with_output()).await.expect("the command ends").unwrap();
    let output = Ran {
        code: ended.status.code().expect("an exit code"),
        stdout: String::from_utf8(ended.stdout).unwrap(),
        stderr: String::from_utf8(ended.stderr).unwrap(),
    };
    assert!(output.stdout.contains("\"Stopped\""), "{arguments:?}: {output:?}");
    seen(arguments, 130, &output)
}
