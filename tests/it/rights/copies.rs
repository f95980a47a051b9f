//! The rights that docs/roles.md gives those who copy backups: enough, and each missing one is named.

use super::storage::{ADD, READ, Storage, WRITE, documented};
use crate::local_azure::LocalAzure;

const WHO: &str = "whoever copies";

#[tokio::test]
async fn a_copy_adds_to_its_target_and_reads_its_source_and_needs_no_more_than_the_documented_rights() {
    let storage = Storage::create().await;
    let azure = LocalAzure::altered(&["contoso-prod"], |services| storage.behind(services)).await;
    azure.vaults.seed("contoso-prod", 5);
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    let requests = azure.vaults.requests().len();
    let (backups, state, url) = (storage.backups(), storage.state(), storage.url());
    let on_target = ["backup container of the target", "state container of the target"].map(|at| documented(WHO, at));
    let on_source = documented(WHO, "both containers of the source");
    assert_eq!((&on_target[0][..], &on_source[..]), (&[READ, ADD][..], &[READ][..]));

    let into = ["copy", "--to", &url];
    for (container, granted, missing) in [
        (&backups, &[READ][..], "blobs/add/action"),
        (&backups, &[ADD], "blobs/read"),
        (&state, &[READ, ADD], "blobs/write"),
        (&state, &[], "blobs/"),
    ] {
        storage.grant(&azure.identity, &backups, &on_target[0]);
        storage.grant(&azure.identity, &state, &on_target[1]);
        storage.grant(&azure.identity, container, granted);
        let refused = azure.run(&into).await;
        assert_eq!(refused.code, 6, "{granted:?} on {container}: {refused:?}");
        assert!(refused.stderr.contains(missing) && refused.stderr.contains(container.as_str()), "{refused:?}");
    }
    storage.grant(&azure.identity, &state, &on_target[1]);
    let before = storage.log().len();
    let copied = azure.run(&into).await;
    assert_eq!((copied.code, copied.stderr.as_str()), (0, ""), "{copied:?}");
    let log = storage.log();
    assert!(log[before..].iter().all(|asked| !asked.refused));
    assert!(log.iter().filter(|asked| asked.container == backups).all(|asked| asked.needed != [WRITE]));

    let place = format!("file://{}", azure.folder().join("copy").display());
    let out_of = ["copy", "--from", &url, "--to", &place];
    for container in [&backups, &state] {
        storage.grant(&azure.identity, &backups, &on_source);
        storage.grant(&azure.identity, &state, &on_source);
        storage.grant(&azure.identity, container, &[]);
        let refused = azure.run(&out_of).await;
        assert!(refused.code == 6 && refused.stderr.contains("blobs/read"), "{refused:?}");
    }
    storage.grant(&azure.identity, &state, &on_source);
    assert_eq!(azure.run(&out_of).await.code, 0);
    assert_eq!(azure.vaults.requests().len(), requests, "no vault is asked");
}
