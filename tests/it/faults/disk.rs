//! A local store that cannot take more. The limit is that on the size of a file: it needs no rights and no disk of its
//! own, and the writes fail in the middle, as on a full disk.

use std::{fs, process::Stdio};

use crate::local_azure::{BINARY, LocalAzure, Ran, files};

/// Runs the program where no file may be longer than so many blocks of 512 bytes. The signal that comes with the limit
/// is ignored, so that the write itself fails.
async fn run_with_room_for(azure: &LocalAzure, blocks: u32, arguments: &[&str]) -> Ran {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", &script, BINARY]).args(arguments);
    command.env_clear().envs(azure.settings()).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.unwrap();
    Ran {
        code: output.status.code().expect("an exit code"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The limit lets secrets through (under 4 KiB) and stops keys, or certificates (33 KiB), or the manifest.
#[tokio::test]
async fn a_store_without_room_keeps_what_is_whole_and_says_what_to_do() {
    for blocks in [0, 4, 10, 30] {
        let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
        azure.vaults.seed("contoso-prod", 20);
        let ran = run_with_room_for(&azure, blocks, &["backup"]).await;
        assert_ne!(ran.code, 0, "{blocks}: {ran:?}");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains("make space"), "{blocks}: {ran:?}");
        assert!(said.contains(&azure.folder().display().to_string()), "{blocks}: which disk? {ran:?}");
        assert!(!said.contains("panicked"), "{blocks}: {ran:?}");
        for blob in azure.items("contoso-prod") {
            let name = blob.file_name().unwrap().to_str().unwrap().to_owned();
            let hash = name.rsplit('.').nth(1).unwrap();
            assert_eq!(
                keyvault_backup::model::Sealed::new(fs::read(&blob).unwrap()).sha256(),
                hash,
                "{blocks}: {name}"
            );
        }
        for folder in [azure.backups(), azure.state()] {
            assert_eq!(files(&folder.join(".+partial")), Vec::<std::path::PathBuf>::new(), "{blocks}");
        }

        let ran = azure.run(&["backup"]).await;
        assert_eq!(ran.code, 0, "{blocks}: {ran:?}");
        let ran = azure.run(&["restore", "contoso-prod", "--to", "contoso-dr"]).await;
        assert_eq!(ran.code, 0, "{blocks}: {ran:?}");
        let (source, target) = (azure.vaults.snapshot("contoso-prod"), azure.vaults.snapshot("contoso-dr"));
        assert_eq!(source.differences(&target), Vec::<String>::new(), "{blocks}");
    }
}
