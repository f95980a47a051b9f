//! What `scripts/package.sh` makes, as Azure gets it: the zip, unpacked into an empty folder, and nothing beside it.

use std::{collections::BTreeMap, env, fs::File, path::PathBuf};

use keyvault_backup::functions::FUNCTIONS;
use serde_json::json;
use zip::ZipArchive;

use super::{
    PRODUCTION, RECOVERY,
    cloud::{Cloud, LIMIT, app_root},
};

#[test]
fn the_package_holds_the_functions_and_the_handler_and_only_the_handler_is_executable() {
    let mut package = package();
    let modes: BTreeMap<String, u32> = (0..package.len())
        .map(|index| {
            let entry = package.by_index(index).unwrap();
            (entry.name().unwrap().into_owned(), entry.unix_mode().unwrap() & 0o777)
        })
        .collect();
    let mut expected = BTreeMap::from([("host.json".to_owned(), 0o666), ("keyvault-backup".to_owned(), 0o777)]);
    expected.extend(FUNCTIONS.map(|function| (format!("{function}/function.json"), 0o666)));
    assert_eq!(modes, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_package_in_an_empty_folder_backs_up_and_restores() {
    let folder = tempfile::tempdir().unwrap();
    package().extract(folder.path()).unwrap();
    let cloud = Cloud::with(&[PRODUCTION], &[RECOVERY]).await;
    cloud.vaults.seed_numbers(PRODUCTION, 0..30);
    let wanted = cloud.vaults.snapshot(PRODUCTION);
    let app = cloud
        .start_with(cloud.settings(), |options| {
            options.app_root = folder.path().to_owned();
            // The one that host.json names.
            options.handler = None;
        })
        .await;

    assert!(app.host.fire("BackupTimer").await.unwrap().succeeded());
    app.host.wait_idle(LIMIT).await.unwrap();
    let order = json!({ "vault": PRODUCTION, "backup": "latest", "targetVault": RECOVERY });
    let operation = app.run("api/restore", &order).await;

    assert_eq!(operation["status"], "Succeeded", "{operation:#}");
    assert_eq!(operation["counts"], json!({ "restored": 30 }));
    assert_eq!(wanted.differences(&cloud.vaults.snapshot(RECOVERY)), Vec::<String>::new());
}

#[test]
fn the_packaged_program_says_of_which_commit_it_is() {
    let folder = tempfile::tempdir().unwrap();
    package().extract(folder.path()).unwrap();
    let version = std::process::Command::new(folder.path().join("keyvault-backup")).arg("--version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let commit = version.lines().find_map(|line| line.strip_prefix("commit         ")).unwrap();
    let (hash, date) = commit.split_once(", ").unwrap_or_else(|| panic!("{version}"));
    assert!(hash.len() == 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{version}");
    assert!(date.starts_with("20"), "{version}");
}

fn package() -> ZipArchive<File> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| app_root().join("target"), PathBuf::from);
    let path = target.join("package/keyvault-backup.zip");
    let file = File::open(&path)
        .unwrap_or_else(|error| panic!("{}: {error}. Run scripts/package.sh, which makes it.", path.display()));
    ZipArchive::new(file).unwrap()
}
