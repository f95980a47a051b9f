//! What only a directory can get wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;
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
    let store = LocalStore::open(place.path().join("store")).unwrap();
    fs::remove_dir_all(place.path().join("store")).unwrap();
    let error = store.list("", None).try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
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
