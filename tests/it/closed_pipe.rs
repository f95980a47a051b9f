//! The command line behind `| head`.

use std::process::{Command, Stdio};

#[test]
fn results_that_nobody_reads_to_the_end_are_no_failure() {
    let store = tempfile::tempdir().unwrap();
    for output in ["table", "json"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let run = Command::new(env!("CARGO_BIN_EXE_keyvault-backup"))
            .args(["list", "--output", output, "--backup-store-url"])
            .arg(format!("file://{}/backups", store.path().display()))
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert!(run.status.success(), "{output}: {}, {}", run.status, String::from_utf8_lossy(&run.stderr));
    }
}
