//! `simulator azure` as other processes see it.

use std::{collections::HashMap, io::Write as _, path::PathBuf, process::Stdio, time::Duration};

use reqwest::{Certificate, Client, Method, Proxy, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

const SECRETS: &str = "https://contoso.vault.azure.net/secrets";

#[tokio::test]
async fn a_client_needs_the_environment_file_and_nothing_else() {
    let program = Program::start(&["--vault", "contoso", "--seed", "contoso=40"]).await;
    let unsigned = program.vault(Method::GET, SECRETS, None).await;
    assert_eq!(unsigned.status(), StatusCode::UNAUTHORIZED);
    let token = program.token(None).await;
    let listed = json(program.vault(Method::GET, SECRETS, Some(&token)).await).await;

    let snapshot = program.control(Method::GET, "snapshot/contoso", None).await.expect("a snapshot");
    let items = snapshot["items"].as_array().expect("items");
    let secrets = items.iter().filter(|item| item["kind"] == "secrets").count();
    assert!(secrets > 0, "the vault was seeded");
    assert_eq!(listed["value"].as_array().expect("a page").len(), secrets.min(25));
}

#[tokio::test]
async fn an_identity_can_do_what_it_was_given_and_nothing_else() {
    let read = "backup-job=Microsoft.KeyVault/vaults/secrets/readMetadata/action";
    let program = Program::start(&["--vault", "contoso", "--seed", "contoso=10", "--identity", read]).await;
    let token = program.token(Some(&program.environment["CLIENT_ID_BACKUP_JOB"])).await;
    assert_eq!(program.vault(Method::GET, SECRETS, Some(&token)).await.status(), StatusCode::OK);
    let keys = "https://contoso.vault.azure.net/keys";
    assert_eq!(program.vault(Method::GET, keys, Some(&token)).await.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_control_endpoint_makes_faults_and_disasters_and_counts() {
    let program = Program::start(&["--vault", "contoso", "--seed", "contoso=20"]).await;
    let token = program.token(None).await;

    let fault = json!({ "operation": "SecretList", "times": 1, "answer": { "status": 429, "code": "Throttled" } });
    program.control(Method::POST, "faults", Some(fault)).await.expect("a fault");
    assert_eq!(program.vault(Method::GET, SECRETS, Some(&token)).await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(program.vault(Method::GET, SECRETS, Some(&token)).await.status(), StatusCode::OK);
    let counts = program.control(Method::GET, "requests", None).await.expect("counters");
    assert!(
        counts["counts"]
            .as_array()
            .expect("counters")
            .contains(&json!({ "operation": "SecretList", "status": 429, "count": 1 }))
    );

    let snapshot = program.control(Method::GET, "snapshot/contoso", None).await.expect("a snapshot");
    let secret = snapshot["items"].as_array().expect("items").iter().find(|it| it["managed"] == false).expect("one");
    let path = format!("contoso/{}/{}", secret["kind"].as_str().expect("text"), secret["name"].as_str().expect("text"));
    program.control(Method::POST, &format!("delete/{path}"), None).await.expect("a deletion");
    assert_eq!(program.control(Method::POST, &format!("delete/{path}"), None).await, Err(404), "it is deleted already");
    program.control(Method::POST, &format!("purge/{path}"), None).await.expect("a purge");
    assert_eq!(program.control(Method::POST, &format!("purge/{path}"), None).await, Err(404), "it is gone");

    program.control(Method::POST, "lose/contoso", None).await.expect("a disaster");
    let after = program.control(Method::GET, "snapshot/contoso", None).await.expect("a snapshot");
    assert_eq!(after, json!({ "items": [] }));
}

#[tokio::test]
async fn mistakes_at_the_control_endpoint_are_refused() {
    let program = Program::start(&["--vault", "contoso"]).await;
    for (method, path, body, status) in [
        (Method::GET, "snapshot/nowhere", None, 404),
        (Method::POST, "lose/nowhere", None, 404),
        (Method::POST, "purge/contoso/secrets/none", None, 404),
        (Method::GET, "anything", None, 404),
        (Method::POST, "faults", Some(json!({ "times": 1 })), 400),
        (Method::POST, "faults", Some(json!({ "operation": "SecretLst", "before": "reset" })), 400),
        (Method::POST, "faults", Some(json!({ "time": 1, "before": "reset" })), 400),
    ] {
        assert_eq!(program.control(method, path, body).await, Err(status), "{path}");
    }
}

#[tokio::test]
async fn a_host_without_a_vault_is_refused_and_reported() {
    let program = Program::start(&["--vault", "contoso"]).await;
    assert!(program.client.get("https://fabrikam.vault.azure.net/secrets").send().await.is_err());
    let counts = program.control(Method::GET, "requests", None).await.expect("counters");
    assert!(counts["refused"][0].as_str().expect("a sentence").contains("no vault at fabrikam"), "{counts}");
}

#[tokio::test]
async fn it_ends_in_order_when_asked_to() {
    let mut program = Program::start(&["--vault", "contoso"]).await;
    let id = program.process.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.expect("kill runs").success());
    let ended = tokio::time::timeout(Duration::from_secs(30), program.process.wait()).await.expect("it ends");
    assert!(ended.expect("a status").success());
    assert!(!program.file.exists(), "the environment file is there only while the simulator answers");
}

#[tokio::test]
async fn wrong_arguments_are_explained() {
    for (arguments, explanation) in [
        (&["--vault", "contoso", "--seed", "fabrikam=3"][..], "Add --vault fabrikam"),
        (&["--vault", "contoso,retentionDays=3"], "from 7 to 90"),
        (&["--vault", "contoso", "--identity", "me=Microsoft.KeyVault/vaults/secrets/all"], "no data action"),
        (&["--vault", "contoso", "--retry-after", "1"], "--throttle"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_simulator"));
        let ended = command.arg("azure").args(arguments).args(["--env-file", "never"]).output().await.expect("a run");
        assert!(!ended.status.success());
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(said.contains(explanation), "{said}");
    }
}

/// A running simulator, and a client that knows its environment file.
struct Program {
    process: Child,
    file: PathBuf,
    environment: HashMap<String, String>,
    client: Client,
    loopback: Client,
    _folder: TempDir,
}

impl Program {
    async fn start(arguments: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("azure.env");
        let mut process = Command::new(env!("CARGO_BIN_EXE_simulator"))
            .arg("azure")
            .args(arguments)
            .arg("--env-file")
            .arg(&file)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the simulator starts");
        let mut said = BufReader::new(process.stdout.take().expect("piped")).lines();
        loop {
            let line = said.next_line().await.expect("text").expect("the simulator ended instead of starting");
            if line.starts_with("The simulator runs.") {
                break;
            }
        }
        let environment = shell_environment(&file);
        let authority = std::fs::read(&environment["NODE_EXTRA_CA_CERTS"]).expect("the authority's certificate");
        let client = Client::builder()
            .proxy(Proxy::https(&environment["HTTPS_PROXY"]).expect("a proxy"))
            .tls_certs_only([Certificate::from_pem(&authority).expect("a certificate")])
            .build()
            .expect("a client");
        let loopback = Client::builder().no_proxy().build().expect("a client");
        Self { process, file, environment, client, loopback, _folder: folder }
    }

    async fn token(&self, client_id: Option<&str>) -> String {
        let mut url = reqwest::Url::parse(&self.environment["IDENTITY_ENDPOINT"]).expect("a URL");
        url.query_pairs_mut()
            .append_pair("api-version", "2019-08-01")
            .append_pair("resource", "https://vault.azure.net")
            .extend_pairs(client_id.map(|id| ("client_id", id)));
        let request = self.loopback.get(url).header("X-IDENTITY-HEADER", &self.environment["IDENTITY_HEADER"]);
        let answer = json(request.send().await.expect("an answer")).await;
        answer["access_token"].as_str().expect("a token").to_owned()
    }

    async fn vault(&self, method: Method, url: &str, token: Option<&str>) -> Response {
        let mut request = self.client.request(method, format!("{url}?api-version=7.5"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.expect("an answer")
    }

    /// The JSON of the answer, or the status of a refusal, which must say a sentence.
    async fn control(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, u16> {
        let mut request = self.loopback.request(method, format!("{}/{path}", self.environment["SIMULATOR_CONTROL"]));
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.expect("an answer");
        if answer.status().is_success() {
            return Ok(json(answer).await);
        }
        let status = answer.status().as_u16();
        let sentence = answer.text().await.expect("a body");
        assert!(sentence.ends_with(".\n"), "{sentence}");
        Err(status)
    }
}

async fn json(answer: Response) -> Value {
    serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON")
}

/// What a shell makes of the file.
fn shell_environment(file: &std::path::Path) -> HashMap<String, String> {
    let mut shell = std::process::Command::new("sh")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    writeln!(shell.stdin.take().expect("piped"), ". '{}'\n/usr/bin/env", file.display()).expect("a script");
    let output = shell.wait_with_output().expect("the shell's output");
    String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
