//! The HTTP API under schemathesis, which makes requests out of `docs/openapi.yaml`, sound ones and broken ones, and
//! holds every answer to it.

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use simulator::{azurite::tools, key_vault::Kind};

use crate::{
    format_docs::read,
    local_azure::{App, FUNCTION_KEY, LocalAzure},
};

/// Requests made up for an operation, beside the examples of the description and the edges of its schemas.
const EXAMPLES: &str = "50";
/// The same requests in every run.
const SEED: &str = "20261121";
/// Well above what the run takes, so that only a broken test meets it.
const LIMIT: Duration = Duration::from_secs(600);

/// Not among the checks, because the Functions host answers a method without a route by 404 before the app is asked.
const NOT_OURS: &str = "unsupported_method,allow_header_conformance";

/// The example of acknowledging what tripped the guard.
const WORD: &str = "/paths/~1backups~1{vault}~1guard/post/requestBody/content/application~1json/examples/meant/value";

#[tokio::test]
async fn the_api_keeps_its_description_whatever_it_is_asked() {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr", "contoso-drill"]).await;
    azure.vaults.seed("contoso-prod", 10);
    // Drills are refused by a vault that is not empty; one that is not would take longer than all else together.
    azure.vaults.set_secret("contoso-drill", "in-the-way", "x");
    let settings =
        [("BACKUP_KEEP", "last=1000"), ("DRILL_VAULT", "contoso-drill"), ("RESTORE_TARGET_VAULTS", "contoso-dr")];
    let app = azure.app_with(&settings).await;
    lose_many(&azure, &app).await;
    let before = azure.vaults.snapshot("contoso-prod");
    let mut document: Value = serde_saphyr::from_str(&read("docs/openapi.yaml")).unwrap();
    let tripped_by = begin_as_in_the_examples(&app, &document).await;
    let word = document.pointer_mut(WORD).expect("an example of a word about the guard");
    word["backup"] = tripped_by;

    let description = azure.folder().join("openapi.json");
    std::fs::write(&description, of_this_app(&document).to_string()).unwrap();
    let report = azure.folder().join("requests.har");
    let output = ask(&app, &description, &report).await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));

    assert_eq!(given(&document, &report), documented(&document), "all documented answers, and no others: {said}");
    app.settle().await;
    assert_all_ended(&app).await;
    assert!(before.differences(&azure.vaults.snapshot("contoso-prod")).is_empty(), "restores change only their target");
    assert!(!app.log().contains(FUNCTION_KEY));
    azure.assert_all_known();
}

/// No request and no message was too much for the handler, and no operation hangs. Some have failed, as a restore does
/// that may not leave anything alone.
async fn assert_all_ended(app: &App) {
    let failed = app.host.invocations().into_iter().filter(|invocation| !invocation.succeeded());
    let failed: Vec<_> = failed.filter(|invocation| invocation.function.ends_with("Http")).collect();
    assert!(failed.is_empty(), "{failed:?}");
    for queue in ["backup-jobs-poison", "restore-jobs-poison"] {
        assert_eq!(app.host.queue_messages(queue).await.unwrap(), Vec::<String>::new(), "{queue}");
    }
    let operations = app.get("api/operations?top=1000").await.body;
    let operations = operations["value"].as_array().unwrap();
    assert!(operations.len() > 10, "{operations:?}");
    let hang = |operation: &&Value| ["NotStarted", "Running"].map(Value::from).contains(&operation["status"]);
    assert_eq!(operations.iter().filter(hang).collect::<Vec<_>>(), Vec::<&Value>::new());
}

/// Found by the test above.
#[tokio::test]
async fn a_dry_run_refuses_a_wrong_operation_id_as_the_restore_after_it_would() {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
    azure.vaults.set_secret("contoso-prod", "a", "x");
    let app = azure.app().await;
    app.run("api/backups", &json!({})).await;
    let order = json!({ "vault": "contoso-prod", "backup": "latest", "targetVault": "contoso-dr", "dryRun": true });
    for wrong in ["", "7"] {
        app.post_as(wrong, "api/restore", &order).await.error(400, "InvalidInput", Some("Operation-Id"));
    }
    assert_eq!(app.post("api/restore", &order).await.status, 200);
}

/// Makes the next backup trip the guard.
async fn lose_many(azure: &LocalAzure, app: &App) {
    let names: Vec<String> = (0..10).map(|number| format!("lost-{number}")).collect();
    names.iter().for_each(|name| drop(azure.vaults.set_secret("contoso-prod", name, "x")));
    app.run("api/backups", &json!({})).await;
    names.iter().for_each(|name| azure.vaults.delete_now("contoso-prod", Kind::Secret, name));
}

/// Sends the example of `startBackups` as it is documented, so that the other examples have something to name. Gives the
/// id of the backup.
async fn begin_as_in_the_examples(app: &App, document: &Value) -> Value {
    let start = &document["paths"]["/backups"]["post"];
    let header = start["parameters"].as_array().unwrap().iter().find(|parameter| parameter["name"] == "Operation-Id");
    let id = header.and_then(|header| header["example"].as_str()).expect("an example of Operation-Id");
    let examples = start["requestBody"]["content"]["application/json"]["examples"].as_object().unwrap();
    let body = &examples.values().next().unwrap()["value"];
    let accepted = app.post_as(id, "api/backups", body).await;
    assert_eq!((accepted.status, accepted.body["id"].as_str()), (202, Some(id)), "{accepted:?}");
    app.settle().await;
    let repeated = app.post_as(id, "api/backups", body).await;
    assert_eq!((repeated.status, &repeated.body["status"]), (202, &"Succeeded".into()), "{repeated:?}");
    let operation = app.get(accepted.header("Operation-Location")).await.body;
    assert_eq!(operation["status"], "Succeeded");
    operation["backup"].clone()
}

/// The description with what it leaves to the settings and the data of the app, so that 400 is wrong for every request
/// that fits it: the vaults in scope, the cloud of their URIs, days that exist, and patterns that match something.
fn of_this_app(document: &Value) -> Value {
    let mut document = document.clone();
    let schemas = &mut document["components"]["schemas"];
    schemas["VaultInScope"] =
        json!({ "enum": ["contoso-prod", "Contoso-Prod", "https://contoso-prod.vault.azure.net/"] });
    schemas["VaultUri"]["pattern"] = r"^https://[A-Za-z][0-9A-Za-z]{2,23}\.vault\.azure\.net/?$".into();
    // A pattern knows no calendar; every month has these days.
    let id = r"^[0-9]{4}(0[1-9]|1[0-2])(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3])([0-5][0-9]){2}Z-[0-9a-f]{8}$";
    assert_eq!(schemas["Selector"]["anyOf"][1]["$ref"], "#/components/schemas/BackupId");
    schemas["Selector"]["anyOf"][1] = json!({ "pattern": id });
    schemas["AcknowledgeGuard"]["properties"]["backup"] = json!({ "type": "string", "pattern": id });
    schemas["ItemPattern"] = json!({ "enum": ["*/*", "secrets/*", "keys/key-0000?", "!secrets/tmp-*"] });
    document
}

/// Runs schemathesis with nothing in its environment, proxies least of all.
async fn ask(app: &App, description: &Path, report: &Path) -> Output {
    let program = tools().join("python/bin/schemathesis");
    assert!(
        program.is_file(),
        "There is no schemathesis at {}. Run scripts/tools.sh, which installs it.",
        program.display()
    );
    let mut command = tokio::process::Command::new(program);
    command
        .arg("run")
        .arg(description)
        .args(["--url", app.host.url().join("api").unwrap().as_str()])
        .args(["--header", &format!("x-functions-key:{FUNCTION_KEY}")])
        .args(["--exclude-checks", NOT_OURS, "--max-examples", EXAMPLES, "--continue-on-failure", "--no-color"])
        .args(["--seed", SEED, "--generation-database", "none"])
        .args(["--report", "har", "--report-har-path"])
        .arg(report)
        .env_clear()
        .env("LANG", "C.UTF-8")
        .current_dir(description.parent().unwrap())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    tokio::time::timeout(LIMIT, command.output()).await.expect("schemathesis ends").unwrap()
}

/// The answers of the description's operations, as `METHOD path status`.
fn given(document: &Value, report: &Path) -> BTreeSet<String> {
    let report: Value = serde_json::from_str(&std::fs::read_to_string(report).unwrap()).unwrap();
    let operations = operations(document);
    let mut given = BTreeSet::new();
    for entry in report["log"]["entries"].as_array().unwrap() {
        let (request, status) = (&entry["request"], &entry["response"]["status"]);
        let url: reqwest::Url = request["url"].as_str().unwrap().parse().unwrap();
        let asked: Vec<&str> = url.path_segments().unwrap().skip(1).collect();
        let fits = |path: &str| {
            let segments: Vec<&str> = path[1..].split('/').collect();
            segments.len() == asked.len()
                && segments.iter().zip(&asked).all(|(segment, text)| segment.starts_with('{') || segment == text)
        };
        let operation = operations.iter().find(|(method, path, _)| request["method"] == method.as_str() && fits(path));
        given.extend(operation.map(|(method, path, _)| format!("{method} {path} {status}")));
    }
    given
}

/// The answers that the description names one by one.
fn documented(document: &Value) -> BTreeSet<String> {
    let mut documented = BTreeSet::new();
    for (method, path, operation) in operations(document) {
        let statuses = operation["responses"].as_object().unwrap().keys().filter(|status| *status != "default");
        documented.extend(statuses.map(|status| format!("{method} {path} {status}")));
    }
    documented
}

/// Method, path and description of every operation.
fn operations(document: &Value) -> Vec<(String, &str, &Value)> {
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let methods = methods.as_object().unwrap().iter();
        operations.extend(methods.map(|(method, operation)| (method.to_uppercase(), path.as_str(), operation)));
    }
    operations
}
