//! The soak and the crash points of the simulator, with the binary that is shipped, as far as every test run goes;
//! `scripts/soak.sh` goes on for longer. And that they would notice: programs that lose or claim something are found out.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use simulator::soak::{Finding, Options, Scenario, StoreKind, Verdict, crash_points, soak};
use tempfile::TempDir;

use super::app::binary;

/// A seed that chooses every fault rule within a few dozen rounds is as good as any other.
const SEED: u64 = 4;

/// Kills for each command on each store, spread over its requests. `scripts/soak.sh --crash-points` goes through all.
const POINTS: u64 = 27;

fn options(program: PathBuf, stores: &[StoreKind], rounds: u64, folder: &TempDir) -> Options {
    let (time, folder) = (Duration::from_secs(60), folder.path().to_owned());
    Options { program, seed: SEED, stores: stores.to_vec(), time, rounds, folder }
}

fn assert_good(verdict: &Verdict, folder: TempDir) {
    if !verdict.is_good() {
        let folder = folder.keep();
        panic!("{:#?}\nWhat happened is in {}.", verdict.findings, folder.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rounds_of_faults_and_kills_lose_nothing_and_claim_nothing_false() {
    let folder = TempDir::new().unwrap();
    let verdict = soak(&options(binary(), &[StoreKind::Local, StoreKind::Azurite], 8, &folder)).await.unwrap();
    assert_good(&verdict, folder);
    assert!(verdict.rounds >= 4 && verdict.proofs >= verdict.rounds, "{verdict:?}");
    assert!(verdict.faults > 0 && verdict.kills > 0, "nothing went wrong: {verdict:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_after_any_of_its_requests_breaks_no_promise_of_the_format() {
    let folder = TempDir::new().unwrap();
    let verdict = crash_points(&options(binary(), &[StoreKind::Local], POINTS, &folder), &Scenario::ALL).await.unwrap();
    assert_good(&verdict, folder);
    assert!(verdict.rounds >= 100, "only {} kills", verdict.rounds);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_on_azurite_killed_after_any_of_its_requests_breaks_no_promise_of_the_format() {
    let folder = TempDir::new().unwrap();
    let verdict =
        crash_points(&options(binary(), &[StoreKind::Azurite], POINTS, &folder), &Scenario::ALL).await.unwrap();
    assert_good(&verdict, folder);
    assert!(verdict.rounds >= 100, "only {} kills", verdict.rounds);
}

#[tokio::test]
async fn a_program_that_loses_a_blob_is_found_out() {
    let losing = r#""$real" "$@"; code=$?
        [ "$1" = backup ] && rm -f "$(find "${BACKUP_STORE_URL#file://}" -name 'secret-*.backup' | head -n 1)"
        exit $code"#;
    let verdict = of_an_impostor(losing).await;
    assert!(verdict.lost() > 0, "{verdict:?}");
    let missing = |finding: &Finding| matches!(finding, Finding::Lost(what) if what.contains("which is not there"));
    assert!(verdict.findings.iter().any(|(_, finding)| missing(finding)), "{verdict:?}");
}

#[tokio::test]
async fn a_program_that_damages_a_manifest_is_found_out() {
    let damaging = r#""$real" "$@"; code=$?
        [ "$1" = backup ] && for file in $(find "${BACKUP_STORE_URL#file://}" -path '*/backups/*.json'); do
            sed -i 's/"keys": /"keys":  /' "$file"
        done
        exit $code"#;
    let verdict = of_an_impostor(damaging).await;
    let damaged = |finding: &Finding| matches!(finding, Finding::Lost(what) if what.contains("its hash is wrong"));
    assert!(verdict.findings.iter().any(|(_, finding)| damaged(finding)), "{verdict:?}");
}

#[tokio::test]
async fn a_program_that_leaves_items_out_and_says_nothing_is_found_out() {
    let verdict = of_an_impostor(r#"BACKUP_ITEMS='!secrets/*' exec "$real" "$@""#).await;
    assert!(verdict.false_successes() > 0, "{verdict:?}");
    let silent = |finding: &Finding| matches!(finding, Finding::FalseSuccess(what) if what.contains("nothing is said"));
    assert!(verdict.findings.iter().any(|(_, finding)| silent(finding)), "{verdict:?}");
}

#[tokio::test]
async fn a_program_that_says_it_backed_up_and_did_not_is_found_out() {
    let idle = r#"[ "$1" = backup ] || exec "$real" "$@"
        echo '{"value":[{"kind":"backup","status":"Succeeded","vault":"contoso-prod","backup":"20261121T020000Z-00000000","counts":{}}]}'"#;
    let verdict = of_an_impostor(idle).await;
    let nothing = |finding: &Finding| matches!(finding, Finding::FalseSuccess(what) if what.contains("no such backup"));
    assert!(verdict.findings.iter().any(|(_, finding)| nothing(finding)), "{verdict:?}");
}

#[tokio::test]
async fn a_program_that_says_it_restored_and_did_not_is_found_out() {
    let idle = r#"[ "$1" = restore ] || exec "$real" "$@"
        echo '{"kind":"restore","status":"Succeeded","items":[]}'"#;
    let verdict = of_an_impostor(idle).await;
    assert!(verdict.lost() > 0 && verdict.false_successes() > 0, "{verdict:?}");
}

#[tokio::test]
async fn a_program_that_says_it_copied_and_did_not_is_found_out() {
    let idle = r#"[ "$1" = copy ] || exec "$real" "$@"
        echo '{"value":[{"vault":"contoso-prod","status":"Succeeded","backups":[]}]}'"#;
    let verdict = of_an_impostor(idle).await;
    let absent = |finding: &Finding| matches!(finding, Finding::FalseSuccess(what) if what.contains("not in the copy"));
    assert!(verdict.findings.iter().any(|(_, finding)| absent(finding)), "{verdict:?}");
}

#[tokio::test]
async fn a_program_that_leaves_a_blob_out_of_a_copy_is_found_out() {
    let losing = r#""$real" "$@"; code=$?
        [ "$1 $2" = "copy --to" ] && rm -f "$(find "${3#file://}" -name 'secret-*.backup' | head -n 1)"
        exit $code"#;
    let verdict = of_an_impostor(losing).await;
    let missing = |finding: &Finding| matches!(finding, Finding::Lost(what) if what.contains("in the copy names"));
    assert!(verdict.findings.iter().any(|(_, finding)| missing(finding)), "{verdict:?}");
}

/// One round of a shell script in the place of the program, which is `$real`.
async fn of_an_impostor(script: &str) -> Verdict {
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("impostor");
    fs::write(&program, format!("#!/bin/sh\nPATH=/usr/bin:/bin\nreal='{}'\n{script}\n", binary().display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    soak(&options(program, &[StoreKind::Local], 1, &folder)).await.unwrap()
}
