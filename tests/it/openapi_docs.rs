//! `docs/openapi.yaml` against the handler: what it answers, and the routes of the function folders.

use std::{collections::BTreeSet, sync::Arc};

use keyvault_backup::{
    backup::{self, Backup},
    config::{Config, Settings, connect::Connections},
    diff::{Diff, Side},
    error::ErrorKind,
    functions,
    jobs::Comparison,
    json,
    report::Progress,
    repository::{Repository, operation::Operation},
    store::local::LocalStore,
};
use serde_json::{Value, json};
use simulator::key_vault::{Fault, Kind, Operation as Asked, Verb};
use uuid::Uuid;

use crate::{
    format_docs::{assert_valid, close, read},
    world::World,
};

#[test]
fn every_documented_path_is_a_route_and_every_method_of_a_route_is_documented() {
    let mut routed = BTreeSet::new();
    for function in functions::FUNCTIONS.iter().filter(|function| function.ends_with("Http")) {
        let folder: Value = serde_json::from_str(&read(&format!("{function}/function.json"))).unwrap();
        let trigger = &folder["bindings"][0];
        let route = trigger["route"].as_str().unwrap();
        // `a/{b?}` stands for `a` and `a/{b}`.
        let segments: Vec<&str> = route.split('/').collect();
        let required = segments.iter().filter(|segment| !segment.ends_with("?}")).count();
        for method in trigger["methods"].as_array().unwrap() {
            for length in required..=segments.len() {
                let path = segments[..length].join("/").replace("?}", "}");
                routed.insert((format!("/{path}"), method.as_str().unwrap().to_owned()));
            }
        }
    }
    let document = document();
    let documented: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |method| (path.clone(), method.clone())))
        .collect();
    // Routed as an id; these can be told from one by the method alone.
    let verbs = ["drill", "guard", "prune", "verify"];
    let verbs = verbs.map(|verb| (format!("/backups/{{vault}}/{verb}"), "post".to_owned()));
    assert_eq!(documented.difference(&routed).cloned().collect::<Vec<_>>(), verbs);
    // The route of POST shares its optional parts with GET; the handler refuses them.
    let refused = ["/backups/{vault}", "/backups/{vault}/{id}"].map(|path| (path.to_owned(), "post".to_owned()));
    assert_eq!(routed.difference(&documented).cloned().collect::<Vec<_>>(), refused);
}

#[test]
fn the_documented_codes_are_those_of_the_code() {
    let kinds = [
        ErrorKind::InvalidInput,
        ErrorKind::NotFound,
        ErrorKind::Conflict,
        ErrorKind::Unauthenticated,
        ErrorKind::Forbidden,
        ErrorKind::Busy,
        ErrorKind::Throttled,
        ErrorKind::Unavailable,
        ErrorKind::Corrupt,
        ErrorKind::NewerFormat,
        ErrorKind::Refused,
        ErrorKind::Abandoned,
        ErrorKind::Internal,
    ];
    let codes: Vec<&str> = kinds.iter().map(|kind| kind.code()).collect();
    assert_eq!(document()["components"]["schemas"]["Code"]["enum"], json!(codes));
}

#[test]
fn every_example_fits_its_schema() {
    let document = document();
    let mut examples = Vec::new();
    collect_examples(&document, &mut examples);
    assert!(examples.len() > 10, "{examples:?}");
    for (mut schema, example) in examples {
        schema["components"] = document["components"].clone();
        close(&mut schema);
        assert_valid(&schema, &example);
    }
}

/// Schemas and the examples beside them, those of schemas themselves included.
fn collect_examples(part: &Value, found: &mut Vec<(Value, Value)>) {
    let schema = part.get("schema").or_else(|| part.get("type").and(Some(part))).filter(|schema| schema.is_object());
    if let Some(schema) = schema {
        let several = part["examples"].as_object().into_iter().flat_map(|examples| examples.values());
        let examples = several.map(|example| &example["value"]).chain(part.get("example"));
        found.extend(examples.map(|example| (schema.clone(), example.clone())));
    }
    match part {
        Value::Object(fields) => fields.values().for_each(|field| collect_examples(field, found)),
        Value::Array(values) => values.iter().for_each(|value| collect_examples(value, found)),
        _ => (),
    }
}

#[tokio::test]
async fn every_answer_to_a_get_is_as_documented() {
    let app = App::with_two_backups().await;
    app.ask("get", "/backups", &[], "", 200).await;
    let first = app.ask("get", "/backups", &[], "top=1", 200).await;
    assert!(first["nextLink"].is_string(), "{first}");
    let backups = app.ask("get", "/backups/{vault}", &["contoso-prod"], "top=1", 200).await;
    assert!(backups["nextLink"].is_string(), "{backups}");
    let backup = app.ask("get", "/backups/{vault}/{id}", &["contoso-prod", "latest"], "top=5", 200).await;
    assert!(backup["items"].as_array().is_some_and(|items| items.len() == 5), "{backup}");
    assert!(!backup["failures"].as_array().unwrap().is_empty(), "{backup}");
    app.ask("get", "/backups/{vault}/{id}", &["contoso-prod", "before-upgrade"], "", 200).await;
    for other in ["latest", "before-upgrade"] {
        let query = format!("top=1&compare={other}");
        let compared = app.ask("get", "/backups/{vault}/{id}", &["contoso-prod", "before-upgrade"], &query, 200).await;
        assert_eq!(compared["counts"]["same"], 20, "{compared}");
    }
    app.ask("get", "/backups/{vault}/{id}", &["contoso-prod", "latest"], "compare=no-such-label", 404).await;
    let operations = app.ask("get", "/operations", &[], "", 200).await;
    let id = operations["value"][0]["id"].as_str().unwrap().to_owned();
    app.ask("get", "/operations/{id}", &[&id], "", 200).await;
    app.ask("get", "/operations/{id}", &[&id], "top=1", 200).await;

    let named = app.ask("get", "/backups", &[], "vaults=contoso-new,contoso-prod", 200).await;
    assert_eq!(
        (&named["value"][0]["attention"][0]["cause"], named["value"].as_array().unwrap().len()),
        (&json!("neverBackedUp"), 2)
    );
    app.ask("get", "/backups", &[], "vaults=", 400).await;
    app.ask("get", "/backups", &[], "vaults=x", 400).await;
    let query = "compare=latest&with=contoso-prod";
    app.ask("get", "/backups/{vault}/{id}", &["contoso-prod", "before-upgrade"], query, 200).await;
    app.ask("get", "/backups/{vault}/{id}", &["contoso-prod", "latest"], "compare=live&with=contoso-dr", 403).await;
    app.ask("get", "/backups/{vault}/{id}", &["contoso-prod", "latest"], "compare=latest&with=contoso-dr", 404).await;
    app.ask("get", "/backups", &[], "top=many", 400).await;
    app.ask("get", "/operations/{id}", &[&id], "top=0", 400).await;
    app.ask("get", "/backups/{vault}/{id}", &["contoso-prod", "Not-A-Name"], "", 400).await;
    app.ask("get", "/backups/{vault}/{id}", &["contoso-prod", "no-such-label"], "", 404).await;
    app.ask("get", "/operations/{id}", &[&Uuid::nil().to_string()], "", 404).await;
}

#[tokio::test]
async fn a_damaged_backup_is_listed_as_documented() {
    let app = App::with_two_backups().await;
    let damaged = "backups/vaults/contoso-prod/backups/20991231T235959Z-00000000.broken.json";
    std::fs::write(app.folder.path().join(damaged), "{").unwrap();
    let vaults = app.ask("get", "/backups", &[], "", 200).await;
    assert_eq!(vaults["value"][0]["newest"]["error"]["code"], "Corrupt");
    let backups = app.ask("get", "/backups/{vault}", &["contoso-prod"], "", 200).await;
    assert_eq!(backups["value"][0]["label"], "broken");
    app.ask("get", "/backups/{vault}/{id}", &["contoso-prod", "latest"], "", 500).await;
}

#[tokio::test]
async fn every_answer_to_a_post_is_as_documented() {
    let app = App::with_two_backups().await;
    app.post("/backups", &[], None, 202).await;
    app.post("/backups", &[], Some(json!({ "vaults": ["contoso-prod"], "label": "now", "full": true })), 202).await;
    app.post("/backups", &[], Some(json!({ "vaults": ["elsewhere"], "label": "No" })), 400).await;
    app.post("/backups/{vault}/verify", &["contoso-prod"], None, 202).await;
    app.post("/backups/{vault}/verify", &["contoso-dr"], Some(json!({})), 404).await;
    app.post("/backups/{vault}/verify", &["contoso-prod"], Some(json!({ "deep": true })), 400).await;
    let drill = json!({ "backup": "before-upgrade", "sample": 3 });
    app.post("/backups/{vault}/drill", &["contoso-prod"], Some(drill), 202).await;
    app.post("/backups/{vault}/drill", &["contoso-prod"], Some(json!({ "backup": "no-such-label" })), 404).await;
    app.post("/backups/{vault}/drill", &["contoso-prod"], Some(json!({ "sample": 0 })), 400).await;
    let plan = app.post("/backups/{vault}/prune", &["contoso-prod"], Some(json!({ "dryRun": true })), 200).await;
    assert_eq!(plan["backups"].as_array().map(Vec::len), Some(2), "{plan}");
    app.post("/backups/{vault}/prune", &["contoso-prod"], None, 400).await;
    let restore = json!({ "vault": "contoso-prod", "backup": "latest", "targetVault": "contoso-dr" });
    app.post("/restore", &[], Some(restore), 202).await;
    app.post("/restore", &[], Some(json!({ "vault": "contoso-prod" })), 400).await;
    app.post("/restore", &[], None, 400).await;
    let forbidden = json!({ "vault": "contoso-prod", "backup": "latest", "targetVault": "contoso-prod" });
    app.post("/restore", &[], Some(forbidden), 403).await;
    let unknown = json!({ "vault": "contoso-dr", "backup": "latest", "targetVault": "contoso-dr" });
    app.post("/restore", &[], Some(unknown), 404).await;
}

#[tokio::test]
async fn a_guard_that_is_up_is_shown_and_acknowledged_as_documented() {
    let app = App::with_two_backups().await;
    let path = "/backups/{vault}/guard";
    let unknown = json!({ "backup": "20261121T020000Z-1f2e3d4c" });
    app.post(path, &["contoso-prod"], Some(unknown.clone()), 404).await;
    app.post(path, &["contoso-prod"], None, 400).await;

    let repository = app.repository();
    let world = World::with(&["contoso-prod"]);
    for number in 0..60 {
        world.vaults.set_secret("contoso-prod", &format!("secret-{number}"), "x");
    }
    world.pass(crate::backup::DAY);
    back_up(&world, &repository, None).await;
    (0..60).for_each(|number| world.vaults.delete_now("contoso-prod", Kind::Secret, &format!("secret-{number}")));
    world.pass(crate::backup::DAY);
    back_up(&world, &repository, None).await;
    let vaults = app.ask("get", "/backups", &[], "", 200).await;
    assert_eq!(vaults["value"][0]["guard"]["deleted"], 60, "{vaults:#}");
    let backups = app.ask("get", "/backups/{vault}", &["contoso-prod"], "", 200).await;
    assert_eq!(backups["value"][0]["guard"], backups["guard"]);
    app.ask("get", "/backups/{vault}/{id}", &["contoso-prod", "latest"], "", 200).await;

    app.post(path, &["contoso-prod"], Some(unknown), 409).await;
    let word = json!({ "backup": backups["guard"]["trippedBy"], "reason": "meant" });
    let said = app.post(path, &["contoso-prod"], Some(word), 200).await;
    assert_eq!(said["guard"], backups["guard"]);
}

#[tokio::test(start_paused = true)]
async fn comparisons_are_as_documented() {
    let world = World::with(&["contoso-prod"]);
    world.vaults.seed("contoso-prod", 10);
    let from = Box::new(world.back_up("contoso-prod").await.unwrap());
    let side = || async { Side::of_backup(world.newest("contoso-prod").await).unwrap() };
    let old = side().await;
    world.pass(std::time::Duration::from_secs(3600));
    world.vaults.set_secret("contoso-prod", "secret-00000", "rotated");
    world.vaults.set_secret("contoso-prod", "added", "1");
    world.vaults.set_enabled("contoso-prod", Kind::Secret, "secret-00001", false);
    let to = Box::new(world.back_up("contoso-prod").await.unwrap());
    let schema = schema_at(&document(), "#/components/schemas/Comparison");
    let refused = || Err(keyvault_backup::error::Error::new(ErrorKind::Forbidden, "A sentence."));
    let listing = ("keys".parse().unwrap(), futures::stream::iter([refused()]));
    let (unlisted, _) = Side::of_listings([listing], Default::default()).await;
    for (to, side) in [(Some(to), side().await), (None, unlisted)] {
        let diff = Diff::between(&old, &side).unwrap();
        let comparison = Comparison { from: from.clone(), to, to_vault: "contoso-prod".parse().unwrap(), diff };
        let body = serde_json::to_value(json::comparison(&comparison)).unwrap();
        assert!(body["differences"].as_array().unwrap().len() > 2, "{body}");
        assert_valid(&schema, &body);
    }
}

#[tokio::test(start_paused = true)]
async fn plans_are_as_documented() {
    let world = World::with(&["contoso-prod", "contoso-dr"]);
    world.vaults.seed("contoso-prod", 20);
    world.vaults.set_secret("contoso-prod", "taken", "1");
    world.vaults.set_secret("contoso-dr", "taken", "2");
    world.back_up("contoso-prod").await.unwrap();
    let plan = world.plan(&world.newest("contoso-prod").await, "contoso-dr").await;
    let body = serde_json::to_value(json::plan(&plan, &["A sentence.".to_owned()]).unwrap()).unwrap();
    assert!(body["counts"]["skip"] == 1, "{body}");
    assert_valid(&schema_at(&document(), "#/components/schemas/Plan"), &body);
}

/// The handler, with a vault that has two backups, the newer one with trouble.
struct App {
    document: Value,
    base: String,
    client: reqwest::Client,
    folder: tempfile::TempDir,
}

impl App {
    async fn with_two_backups() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            backup_vaults: Some("contoso-prod, contoso-test".into()),
            backup_store_url: Some(format!("file://{}/backups", folder.path().display())),
            restore_target_vaults: Some("contoso-dr".into()),
            drill_vault: Some("contoso-drill".into()),
            backup_keep: Some("last=1".into()),
            ..Default::default()
        };
        let [backups, state] =
            ["backups", "backups-state"].map(|name| LocalStore::open(folder.path().join(name)).unwrap());
        let repository = Repository::new(Arc::new(backups), Arc::new(state));
        let world = World::with(&["contoso-prod"]);
        world.vaults.seed("contoso-prod", 20);
        back_up(&world, &repository, Some("before-upgrade")).await;
        world.vaults.clock().advance(std::time::Duration::from_secs(3600));
        world.vaults.set_secret("contoso-prod", "app-token", "1");
        let refuse = Fault::answer(403, "Forbidden").on(Asked::new(Kind::Secret, Verb::Backup));
        world.vaults.add_fault(refuse);
        back_up(&world, &repository, None).await;
        for operation in operations() {
            repository.create_operation(&operation).await.unwrap();
        }

        let connections = Connections::new(Config::read(&settings).unwrap());
        // Free a moment ago; nothing else on this machine is given it so soon.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        tokio::spawn(functions::serve(Ok(connections), port));
        let (base, client) = (format!("http://127.0.0.1:{port}"), reqwest::Client::new());
        while client.get(&base).send().await.is_err() {
            tokio::task::yield_now().await;
        }
        Self { document: document(), base, client, folder }
    }

    fn repository(&self) -> Repository {
        let open = |name: &str| Arc::new(LocalStore::open(self.folder.path().join(name)).unwrap());
        Repository::new(open("backups"), open("backups-state"))
    }

    async fn ask(&self, method: &str, path: &str, parameters: &[&str], query: &str, status: u16) -> Value {
        let answer = self.send(method, path, parameters, query, None).await;
        self.check(method, path, &answer, status)
    }

    async fn post(&self, path: &str, parameters: &[&str], body: Option<Value>, status: u16) -> Value {
        let answer = self.send("post", path, parameters, "", body.as_ref()).await;
        if let Some(body) = body.filter(|_| status < 300) {
            let request = &self.document["paths"][path]["post"]["requestBody"];
            self.assert_content(request, &body);
        }
        self.check("post", path, &answer, status)
    }

    /// Sends an invocation as the Functions host would, and gives the output binding `res`.
    async fn send(&self, method: &str, path: &str, parameters: &[&str], query: &str, body: Option<&Value>) -> Value {
        let function = match path.split('/').nth(1) {
            Some("backups") => "BackupsHttp",
            Some("restore") => "RestoreHttp",
            _ => "OperationsHttp",
        };
        let names = path.split('{').skip(1).map(|part| part.split('}').next().unwrap());
        let params: serde_json::Map<String, Value> =
            names.zip(parameters).map(|(name, value)| (name.to_owned(), json!(value))).collect();
        let verb = path.rsplit('/').next().filter(|last| path.contains("/{vault}/") && !last.starts_with('{'));
        let params = params.into_iter().chain(verb.map(|verb| ("id".to_owned(), json!(verb))));
        let params: serde_json::Map<String, Value> = params.collect();
        let queries: serde_json::Map<String, Value> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        let mut request = json!({
            "Url": format!("https://contoso-backup.azurewebsites.net/api{path}?{query}").replace(['{', '}'], ""),
            "Method": method.to_uppercase(), "Query": queries, "Headers": {}, "Params": params,
        });
        if let Some(body) = body {
            request["Body"] = body.to_string().into();
        }
        let invocation = json!({ "Data": { "req": request }, "Metadata": {} }).to_string();
        let answer = self.client.post(format!("{}/{function}", self.base)).body(invocation).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        answer["Outputs"]["res"].clone()
    }

    /// Holds an answer to what is documented for its status.
    fn check(&self, method: &str, path: &str, answer: &Value, status: u16) -> Value {
        assert_eq!(answer["statusCode"], status, "{method} {path}: {answer:#}");
        let responses = &self.document["paths"][path][method]["responses"];
        let mut response = responses.get(status.to_string()).unwrap_or(&responses["default"]);
        if let Some(reference) = response["$ref"].as_str() {
            response = self.document.pointer(&reference[1..]).unwrap();
        }
        assert!(status >= 400 || responses.get(status.to_string()).is_some(), "{method} {path} {status}");
        let documented: BTreeSet<&str> =
            response["headers"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        let given = answer["headers"].as_object().unwrap().keys().map(String::as_str);
        let given: BTreeSet<&str> = given.filter(|name| *name != "Content-Type").collect();
        let unsure: BTreeSet<&str> = if status >= 400 { BTreeSet::from(["Retry-After"]) } else { BTreeSet::new() };
        assert!(given.is_subset(&documented), "{method} {path}: {given:?}");
        assert!(documented.difference(&given).all(|name| unsure.contains(name)), "{method} {path}: {given:?}");
        self.assert_content(response, &answer["body"]);
        answer["body"].clone()
    }

    fn assert_content(&self, owner: &Value, body: &Value) {
        let schema = &owner["content"]["application/json"]["schema"];
        let mut whole = schema.clone();
        whole["components"] = self.document["components"].clone();
        close(&mut whole);
        assert_valid(&whole, body);
    }
}

pub(crate) fn document() -> Value {
    serde_saphyr::from_str(&read("docs/openapi.yaml")).unwrap()
}

fn schema_at(document: &Value, reference: &str) -> Value {
    let mut schema = json!({ "$ref": reference, "components": document["components"] });
    close(&mut schema);
    schema
}

async fn back_up(world: &World, repository: &Repository, label: Option<&str>) {
    let mut options = world.backup_options();
    options.label = label.map(|label| label.parse().unwrap());
    let (vault, progress) = (world.vault("contoso-prod"), Progress::default());
    let backup = backup::run(&vault, repository, Uuid::new_v4(), &options, &progress, world.now()).await.unwrap();
    assert!(matches!(backup, Backup::Committed(_)));
}

/// A backup with trouble and a restore, as their workers record them.
fn operations() -> [Operation; 2] {
    let restore: Operation = serde_json::from_str(&crate::format_docs::example("operation")).unwrap();
    let mut backup = restore.clone();
    backup.id = Uuid::from_u128(7);
    backup.kind = keyvault_backup::repository::operation::OperationKind::Backup;
    backup.target_vault = None;
    backup.request = json!({ "full": false });
    [restore, backup]
}
