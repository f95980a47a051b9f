//! What is made of answers that are not the app's, or not of this release.

use std::sync::{Arc, Mutex};

use serde_json::json;
use warp::{
    Filter as _,
    http::{HeaderMap, Response},
};

use crate::local_azure::{Ran, Settings, run};

const KEY: &str = "canary-function-key";

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
}

/// Something that answers at the address of an app.
pub(super) struct Impostor {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Impostor {
    /// Answers with a status, a content type (or another header, as `name: value`) and a body, by the number of the
    /// request, its path and its query.
    pub(super) async fn start(
        answer: impl Fn(&[Seen]) -> (u16, &'static str, String) + Clone + Send + Sync + 'static,
    ) -> Self {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let log = seen.clone();
        let query = warp::query::raw().or(warp::any().map(String::new)).unify();
        let route = warp::path::full().and(query).and(warp::header::headers_cloned()).map(
            move |path: warp::path::FullPath, query: String, headers: HeaderMap| {
                let mut log = log.lock().unwrap();
                log.push(Seen { path: path.as_str().to_owned(), query, headers });
                let (status, header, body) = answer(&log);
                let (name, value) = header.split_once(": ").unwrap_or(("content-type", header));
                Response::builder().status(status).header(name, value).body(body).unwrap()
            },
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(warp::serve(route).incoming(listener).run());
        Self { port, seen }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    async fn run(&self, arguments: &[&str]) -> Ran {
        let settings = [("BACKUP_APP_URL", self.url()), ("BACKUP_APP_KEY", KEY.to_owned())];
        let settings: Settings = settings.map(|(name, value)| (name.to_owned(), value)).into();
        let ran = run(&settings, arguments).await;
        assert!(!format!("{ran:?}").contains(KEY), "{ran:?}");
        ran
    }
}

#[tokio::test]
async fn whatever_stands_before_the_app_becomes_a_sentence_and_is_not_repeated() {
    let html = "text/html";
    let own = |code: &str| json!({ "error": { "code": code, "message": "Words of the app." } }).to_string();
    let several = json!({ "error": { "code": "InvalidInput", "message": "Several.", "details": [
        { "code": "InvalidInput", "message": "One thing." }, { "code": "InvalidInput", "message": "Another." }
    ] } });
    let cases: &[(u16, &'static str, String, i32, &str)] = &[
        (200, html, "<html>canary-page</html>".into(), 2, "answers, but not as keyvault-backup does"),
        (200, html, "[]".into(), 2, "answers, but not as keyvault-backup does"),
        (200, html, "{}".into(), 7, "there is no value"),
        (200, html, r#"{"value":[{"vault":"Contoso!"}]}"#.into(), 7, "cannot read"),
        (302, "location: https://login.microsoftonline.com/x", String::new(), 2, "give --app-scope"),
        (
            301,
            "location: https://elsewhere.example/api?code=canary-page",
            String::new(),
            2,
            "leads to elsewhere.example",
        ),
        (401, html, String::new(), 6, "refused the function key (401)"),
        (403, html, "<h1>Error 403 - This web app is stopped. canary-page</h1>".into(), 5, "is stopped. Start it"),
        (403, html, "<h1>Ip Forbidden canary-page</h1>".into(), 6, "a network rule keeps this machine out"),
        (404, html, String::new(), 2, "has no such function (404)"),
        (408, html, String::new(), 5, "did not answer in 230 seconds"),
        (500, html, String::new(), 1, "failed (500) and does not say why"),
        (504, html, "<html>canary-page</html>".into(), 5, "did not answer in 230 seconds"),
        (500, html, own("Internal"), 1, "Words of the app."),
        (409, html, own("Busy"), 5, "Words of the app."),
        (404, html, own("NotFound"), 4, "Words of the app."),
        (403, html, own("Forbidden"), 6, "Words of the app."),
        (500, html, own("Corrupt"), 7, "Words of the app."),
        (418, html, own("NewWord"), 1, "Words of the app."),
        (500, html, own("InvalidInput"), 2, "The settings of the app at 127.0.0.1"),
        (400, html, several.to_string(), 2, "One thing. Another."),
        (400, html, own("InvalidInput"), 2, "is an older one; this program is"),
        (400, "x-keyvault-backup-release: 0.0.7", own("InvalidInput"), 2, "is 0.0.7; this program is"),
    ];
    for (status, header, body, code, said) in cases.iter().cloned() {
        let impostor = {
            let body = body.clone();
            Impostor::start(move |_| (status, header, body.clone())).await
        };
        for output in ["table", "json"] {
            let ran = impostor.run(&["list", "--output", output]).await;
            assert_eq!(ran.code, code, "{status} {body}: {ran:?}");
            let text = format!("{}{}", ran.stdout, ran.stderr);
            assert!(text.contains(said), "{status} {body}: {ran:?}");
            assert!(!text.contains("canary-page"), "{ran:?}");
        }
        assert_eq!(impostor.seen().len(), 2, "{status} {body}: it is asked once");
    }
}

#[tokio::test]
async fn later_is_taken_at_its_word_a_few_times() {
    let until = |count: usize| {
        move |seen: &[Seen]| match seen.len() {
            number if number < count => (503, "retry-after: 0", "<html></html>".to_owned()),
            _ => (200, "application/json", r#"{"value":[]}"#.to_owned()),
        }
    };
    let soon = Impostor::start(until(4)).await;
    let ran = soon.run(&["operations"]).await;
    assert_eq!((ran.code, soon.seen().len()), (0, 4), "{ran:?}");
    let never = Impostor::start(until(usize::MAX)).await;
    let ran = never.run(&["operations"]).await;
    assert!(ran.code == 5 && ran.stderr.contains("does not run (503)"), "{ran:?}");
    assert_eq!(never.seen().len(), 4);
}

#[tokio::test]
async fn a_request_that_is_repeated_keeps_its_id_so_that_nothing_is_started_twice() {
    let impostor = Impostor::start(|seen| match seen.len() {
        1..3 => (502, "retry-after: 0", String::new()),
        _ => (
            409,
            "x-keyvault-backup-release: 1",
            json!({ "error": { "code": "Busy", "message": "Busy." } }).to_string(),
        ),
    })
    .await;
    let ran = impostor.run(&["backup", "contoso-prod"]).await;
    assert_eq!(ran.code, 5, "{ran:?}");
    let seen = impostor.seen();
    assert_eq!(seen.len(), 3);
    let ids: Vec<_> = seen.iter().map(|seen| seen.headers["operation-id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]) && ids[0].len() == 36, "{ids:?}");
    // The Functions host drops the body of a request in chunks.
    assert!(seen.iter().all(|seen| seen.headers.contains_key("content-length")), "{seen:?}");
}

#[tokio::test]
async fn pages_are_read_to_the_end_and_their_links_lead_nowhere_else() {
    let impostor = Impostor::start(|seen| {
        let page = seen.len();
        let mut body = json!({ "guard": null, "value": [{
            "id": format!("2026112{page}T020000Z-1f2e3d4c"), "vault": "contoso-prod",
            "error": { "code": "Corrupt", "message": format!("Page {page}.") }
        }] });
        if page < 3 {
            body["nextLink"] =
                format!("https://evil.example/api/backups/contoso-prod?after=page%20{page}&top=9").into();
        }
        (200, "application/json", body.to_string())
    })
    .await;
    let ran = impostor.run(&["list", "contoso-prod", "--output", "json"]).await;
    assert_eq!(ran.code, 7, "{ran:?}");
    let rows = ran.json()["value"].as_array().unwrap().clone();
    assert_eq!(
        rows.iter().map(|row| row["error"]["message"].clone()).collect::<Vec<_>>(),
        ["Page 1.", "Page 2.", "Page 3."]
    );
    let asked: Vec<String> = impostor.seen().iter().map(|seen| format!("{}?{}", seen.path, seen.query)).collect();
    assert_eq!(
        asked,
        ["", "&after=page+1", "&after=page+2"].map(|after| format!("/api/backups/contoso-prod?top=200{after}"))
    );
    let endless = Impostor::start(|_| {
        let body = json!({ "guard": null, "value": [], "nextLink": "https://x.example/?after=1" });
        (200, "application/json", body.to_string())
    })
    .await;
    let ran = endless.run(&["list", "contoso-prod"]).await;
    assert!(ran.code == 2 && ran.stderr.contains("a page without rows"), "{ran:?}");
}

#[tokio::test]
async fn an_app_that_does_not_know_a_request_is_said_to_be_of_another_release() {
    let status = Impostor::start(|_| (200, "application/json", r#"{"value":[]}"#.to_owned())).await;
    let ran = status.run(&["status", "contoso-new"]).await;
    assert!(ran.code == 2 && ran.stderr.contains("is of another release than this program"), "{ran:?}");
    // What an app says that takes `verify` for the id of a backup.
    let body =
        json!({ "error": { "code": "InvalidInput", "target": "vault", "message": "Name its vaults in the body." } });
    let verify = Impostor::start(move |_| (400, "content-type: application/json", body.to_string())).await;
    let ran = verify.run(&["verify", "contoso-prod"]).await;
    assert!(ran.code == 2 && ran.stderr.contains("this program is"), "{ran:?}");
}

#[tokio::test]
async fn no_body_is_too_odd_for_a_sentence() {
    let rows = ["7", "null", "[]", "\"text\"", "{}", r#"{"vault":7,"id":[],"newest":3,"failures":{},"items":9}"#];
    for row in rows {
        let body = format!(
            r#"{{"value":[{row}],"items":[{row}],"id":"20261121T020000Z-1f2e3d4c","vault":"contoso-prod","status":"Succeeded",
            "full":true,"startedDateTime":"2026-11-21T02:00:00Z","finishedDateTime":"2026-11-21T02:00:00Z","toolVersion":"1",
            "counts":{row},"findings":{row},"from":{row},"to":{row},"differences":[{row}],"guard":{row},"error":{row}}}"#
        );
        let impostor = Impostor::start(move |_| (200, "application/json", body.clone())).await;
        for arguments in [
            &["list"][..],
            &["list", "contoso-prod"],
            &["show", "contoso-prod"],
            &["status"],
            &["guard"],
            &["operations"],
            &["operations", "0b5aa9ba-7bd8-4ad3-9b4a-7f1d3a3c2c01"],
            &["diff", "contoso-prod", "latest", "--live"],
            &["restore", "contoso-prod", "--to", "contoso-dr", "--dry-run"],
            &["backup"],
            &["verify", "contoso-prod"],
        ] {
            let ran = impostor.run(arguments).await;
            assert!(ran.code == 7 && ran.stderr.contains("cannot read"), "{row} {arguments:?}: {ran:?}");
        }
    }
}
