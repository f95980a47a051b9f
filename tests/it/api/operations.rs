//! `GET api/operations`.

use serde_json::{Value, json};

use crate::local_azure::LocalAzure;

#[tokio::test]
async fn operations_are_listed_newest_first_page_by_page_and_shown_one_by_one() {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
    azure.vaults.set_secret("contoso-prod", "a", "x");
    let app = azure.app().await;
    let backup = app.run("api/backups", &json!({})).await;
    let body = json!({ "vault": "contoso-prod", "backup": "latest", "targetVault": "contoso-dr" });
    let restore = app.run("api/restore", &body).await;
    assert_eq!((&backup["kind"], &restore["kind"]), (&json!("backup"), &json!("restore")));

    let whole = app.get("api/operations").await.body["value"].as_array().unwrap().clone();
    assert_eq!(whole.len(), 2);
    assert_eq!(whole[0].get("items"), None, "items are shown one operation at a time");
    let mut paged = Vec::new();
    let mut next = "api/operations?top=1".to_owned();
    loop {
        let page = app.get(&next).await;
        assert_eq!(page.status, 200, "{page:?}");
        paged.extend(page.body["value"].as_array().unwrap().iter().cloned());
        match page.body["nextLink"].as_str() {
            Some(link) => next = link.to_owned(),
            None => break,
        }
    }
    assert_eq!(paged, whole);

    let id = restore["id"].as_str().unwrap();
    let shown = app.get(&format!("api/operations/{id}")).await;
    assert_eq!(shown.status, 200);
    assert_eq!(
        shown.body["items"],
        json!([{ "kind": "secrets", "name": "a", "outcome": "restored",
        "version": shown.body["items"][0]["version"] }])
    );
    assert_eq!((&shown.body["vault"], &shown.body["targetVault"]), (&json!("contoso-prod"), &json!("contoso-dr")));
    for time in ["createdDateTime", "startedDateTime", "lastActionDateTime", "finishedDateTime"] {
        assert!(shown.body[time].as_str().is_some_and(|text| text.ends_with('Z')), "{time}: {shown:?}");
    }
}

#[tokio::test]
async fn an_unknown_operation_is_not_found_and_a_wrong_id_is_refused() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    let app = azure.app().await;
    let none = app.get("api/operations").await;
    assert_eq!((none.status, &none.body), (200, &json!({ "value": [] })));
    let unknown = app.get("api/operations/00000000-0000-4000-8000-000000000000").await;
    assert!(unknown.error(404, "NotFound", Some("id")).contains("There is no operation 00000000-"));
    app.get("api/operations/7").await.error(400, "InvalidInput", Some("id"));
    app.get("api/operations?top=-1").await.error(400, "InvalidInput", Some("top"));
    let nowhere: Value = app.get("api/operations?after=9").await.body;
    assert_eq!(nowhere, json!({ "value": [] }));
}
