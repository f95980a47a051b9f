//! What only a directory can get wrong.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use super::*;

#[tokio::test]
async fn only_the_owner_may_read_what_is_stored() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("store");
    let store = LocalStore::open(&root).unwrap();
    store.create("a/b/c", "secret".into()).await.unwrap();
    store.replace("a/d", "secret".into()).await.unwrap();
    let _lease = store.lease("a/e").await.unwrap();
    let mut visited = vec![root];
    while let Some(path) = visited.pop() {
        let metadata = fs::metadata(&path).unwrap();
        let allowed = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.permissions().mode() & 0o777, allowed, "{}", path.display());
        if metadata.is_dir() {
            visited.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}

#[tokio::test]
async fn what_a_killed_writer_left_is_never_a_blob_and_goes_when_it_is_old() {
    let place = tempfile::tempdir().unwrap();
    let store = LocalStore::open(place.path()).unwrap();
    let partial = place.path().join(".+partial");
    fs::create_dir(&partial).unwrap();
    fs::create_dir_all(place.path().join("empty/folder")).unwrap();
    for (name, age) in [("old", 25), ("young", 23)] {
        let file = fs::File::create(partial.join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age * 60 * 60)).unwrap();
    }
    assert_eq!(names(&store, "", None).await, [""; 0]);
    assert_eq!(folders(&store, "").await, [""; 0]);

    LocalStore::open(place.path()).unwrap();
    assert!(!partial.join("old").exists());
    assert!(partial.join("young").exists(), "its writer may still be at work");
}

#[tokio::test]
async fn a_listing_of_many_blobs_is_read_in_batches_without_gap_or_repetition() {
    let place = tempfile::tempdir().unwrap();
    let store = LocalStore::open(place.path()).unwrap();
    fs::create_dir(place.path().join("folder")).unwrap();
    for at in 0..1000 {
        fs::write(place.path().join(format!("folder/{at:04}")), "x").unwrap();
    }
    let expected: Vec<_> = (0..1000).map(|at| format!("folder/{at:04}")).collect();
    assert_eq!(names(&store, "", None).await, expected);
}

#[tokio::test]
async fn files_that_are_not_ours_are_left_out() {
    let place = tempfile::tempdir().unwrap();
    let store = LocalStore::open(place.path()).unwrap();
    fs::create_dir(place.path().join("lost+found")).unwrap();
    fs::write(place.path().join("lost+found/file"), "x").unwrap();
    fs::write(place.path().join("a file.txt"), "x").unwrap();
    std::os::unix::fs::symlink("/etc", place.path().join("link")).unwrap();
    assert_eq!(names(&store, "", None).await, [""; 0]);
    assert_eq!(folders(&store, "").await, [""; 0]);
}

#[tokio::test]
async fn a_store_that_vanished_is_an_error_and_not_an_empty_store() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("store");
    let store = LocalStore::open(&root).unwrap();
    store.create("a", "x".into()).await.unwrap();
    let later = LocalStore::open(&root).unwrap();
    for store in [store, later] {
        assert_eq!(names(&store, "", None).await, ["a"]);
        let away = place.path().join("away");
        fs::rename(&root, &away).unwrap();
        let error = store.list("", None).try_collect::<Vec<_>>().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
        let error = store.folders("").try_collect::<Vec<_>>().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
        fs::rename(&away, &root).unwrap();
    }
}

#[tokio::test]
async fn who_only_reads_makes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("store");
    let store = LocalStore::open(&root).unwrap();
    assert_eq!(names(&store, "", None).await, [""; 0]);
    assert_eq!(folders(&store, "").await, [""; 0]);
    assert_eq!(store.read("a").await.unwrap_err().kind(), ErrorKind::NotFound);
    store.delete("a").await.unwrap();
    assert!(!root.exists());
    fs::create_dir(&root).unwrap();
    let store = LocalStore::open(&root).unwrap();
    assert_eq!(names(&store, "", None).await, [""; 0]);
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
}

#[tokio::test]
async fn a_blob_where_a_folder_is_needed_is_explained() {
    let place = tempfile::tempdir().unwrap();
    let store = LocalStore::open(place.path()).unwrap();
    store.create("a", "x".into()).await.unwrap();
    store.create("b/c", "x".into()).await.unwrap();
    for name in ["a/b", "b"] {
        let error = store.create(name, "x".into()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
        let error = store.replace(name, "x".into()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
    }
    let error = LocalStore::open(place.path().join("a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
}

/// Names the directory that the second process of the test below works in.
const WORKPLACE: &str = "STORE_OF_A_PROCESS_TO_BE_KILLED";

/// The test runs itself again as a second process, which holds a lease and writes blobs until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_gives_its_lease_back_and_leaves_no_partial_blob() {
    if let Some(workplace) = env::var_os(WORKPLACE) {
        return write_until_killed(&LocalStore::open(workplace).unwrap()).await;
    }
    let place = tempfile::tempdir().unwrap();
    let store = LocalStore::open(place.path()).unwrap();
    let test = "store::local_only::a_killed_process_gives_its_lease_back_and_leaves_no_partial_blob";
    for kill_after in [1, 2, 4, 8] {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(WORKPLACE, place.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let written = lines.by_ref().filter(|line| line.starts_with("wrote ")).take(kill_after).count();
        let refused = store.lease("lease").await.map(drop);
        process.kill().unwrap();
        process.wait().unwrap();

        assert_eq!(written, kill_after, "the process ended by itself");
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Busy);
        store.lease("lease").await.unwrap().release().await;
        let blobs: Vec<Entry> = store.list("blobs/", None).try_collect().await.unwrap();
        assert!(blobs.len() >= kill_after);
        for blob in blobs {
            assert_eq!(blob.size, 1024 * 1024, "{blob:?}");
            store.delete(&blob.name).await.unwrap();
        }
    }
}

async fn write_until_killed(store: &LocalStore) {
    let _lease = store.lease("lease").await.unwrap();
    let mut output = std::io::stdout();
    for at in 0..10_000 {
        store.create(&format!("blobs/{at}"), vec![1; 1024 * 1024].into()).await.unwrap();
        // The line starts anew: the test harness leaves its own unfinished.
        writeln!(output, "\nwrote {at}").unwrap();
    }
}
