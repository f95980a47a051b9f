//! Who runs the command line outside Azure: the person who is signed in with the Azure CLI or with azd, or the workload
//! identity of a pod. The tools are scripts that answer as they do, and know one question only.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::json;
use simulator::{
    identity::Identity,
    key_vault::{ALL_DATA_ACTIONS, RESOURCE},
};

use crate::{
    leaks::TOKENS,
    local_azure::{LocalAzure, Ran, Settings, run},
};

const VAULT: &str = "contoso-prod";

/// The question of the SDK to each tool, in full.
const AZ: &str = "account get-access-token -o json --scope https://vault.azure.net/.default";
const AZD: &str = "auth token -o json --no-prompt --scope https://vault.azure.net/.default";

/// A machine outside Azure: no managed identity, and a folder of its own as PATH.
struct Machine {
    azure: LocalAzure,
    settings: Settings,
}

impl Machine {
    async fn new() -> Self {
        let azure = LocalAzure::with(&[VAULT]).await;
        azure.vaults.seed(VAULT, 30);
        let mut settings = azure.settings();
        settings.retain(|name, _| !name.starts_with("IDENTITY_"));
        let tools = azure.folder().join("tools");
        fs::create_dir(&tools).unwrap();
        settings.insert("PATH".to_owned(), tools.display().to_string());
        Self { azure, settings }
    }

    /// Somebody who may do everything in the vault.
    fn person(&self, name: &str) -> Identity {
        let person = self.azure.vaults.directory().identity(name);
        self.azure.vaults.assign(&person, VAULT, ALL_DATA_ACTIONS);
        person
    }

    fn token_of(&self, person: &Identity) -> String {
        self.azure.vaults.directory().mint(person, RESOURCE)
    }

    /// A tool that answers so to that question and to no other, and notes how often it was asked. It needs nothing but
    /// the shell.
    fn install(&self, tool: &str, question: &str, code: i32, stdout: &str, stderr: &str) {
        let asked = self.asked(tool);
        assert!(!stdout.contains('\'') && !stderr.contains('\''));
        let script = format!(
            "#!/bin/sh\necho \"$*\" >> '{}'\n[ \"$*\" = '{question}' ] || {{ echo \"what is $*?\" >&2; exit 64; }}\n\
             printf '%s\\n' '{stdout}'\nprintf '%s\\n' '{stderr}' >&2\nexit {code}\n",
            asked.display()
        );
        let path = Path::new(&self.settings["PATH"]).join(tool);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn asked(&self, tool: &str) -> std::path::PathBuf {
        self.azure.folder().join(format!("asked-{tool}"))
    }

    fn questions(&self, tool: &str) -> Vec<String> {
        let asked = fs::read_to_string(self.asked(tool)).unwrap_or_default();
        asked.lines().map(str::to_owned).collect()
    }

    /// Somebody is signed in with the Azure CLI (2.54 and newer).
    fn az(&self, token: &str) {
        self.az_until(token, 4_070_908_800);
    }

    /// The same with a token that expires then, in Unix time.
    fn az_until(&self, token: &str, expires_on: i64) {
        let answer = json!({
            "accessToken": token, "expiresOn": "2099-01-01 00:00:00.000000", "expires_on": expires_on,
            "subscription": "00000000-0000-0000-0000-000000000001", "tenant": self.azure.vaults.directory().tenant(),
            "tokenType": "Bearer",
        });
        self.install("az", AZ, 0, &answer.to_string(), "");
    }

    fn azd(&self, token: &str) {
        let answer = json!({"token": token, "expiresOn": "2099-01-01T00:00:00Z"});
        self.install("azd", AZD, 0, &answer.to_string(), "");
    }

    /// Nobody is signed in with either, in their own words.
    fn signed_out(&self, tool: &str) {
        let azd = json!({
            "type": "consoleMessage", "timestamp": "2026-11-21T02:00:00Z",
            "data": {"message": "\nERROR: not logged in, run `azd auth login` to login\n"},
        });
        match tool {
            "az" => self.install("az", AZ, 1, "", "ERROR: Please run \"az login\" to setup account."),
            _ => self.install("azd", AZD, 1, "", &azd.to_string()),
        }
    }

    /// Runs at the most talkative level; no token and no part of an assertion may come out.
    async fn run(&self, arguments: &[&str], changes: &[(&str, &str)]) -> Ran {
        let mut settings = self.settings.clone();
        settings.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        settings.insert("LOG_LEVEL".to_owned(), "trace".to_owned());
        let ran = run(&settings, arguments).await;
        for secret in TOKENS.into_iter().chain(["canary"]) {
            assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret), "{secret} in {ran:?}");
        }
        ran
    }

    /// Who was let in by the vault.
    fn callers(&self) -> Vec<String> {
        let requests = self.azure.vaults.requests().into_iter();
        let mut callers: Vec<String> =
            requests.filter(|request| request.status == 200).map(|request| request.identity).collect();
        callers.sort();
        callers.dedup();
        callers
    }
}

/// The last line, which is the error and not the log.
fn error(ran: &Ran) -> &str {
    ran.stderr.lines().last().unwrap_or_default()
}

#[tokio::test]
async fn who_is_signed_in_with_the_azure_cli_backs_up_and_restores_as_that_person() {
    let machine = Machine::new().await;
    let person = machine.person("person of az");
    machine.az(&machine.token_of(&person));
    machine.azd("not to be asked");
    let ran = machine.run(&["backup"], &[]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(machine.azure.manifests(VAULT).len(), 1);
    assert_eq!(machine.callers(), ["person of az"]);
    assert_eq!(machine.questions("azd"), Vec::<String>::new());
    machine.azure.assert_all_known();
}

/// Starting the Azure CLI takes a second or more, and every kind of item has a client of its own.
#[tokio::test]
async fn a_command_asks_the_azure_cli_once_as_long_as_the_token_is_good() {
    let machine = Machine::new().await;
    let token = machine.token_of(&machine.person("person of az"));
    machine.az(&token);
    let ran = machine.run(&["backup"], &[]).await;
    assert_eq!((ran.code, machine.questions("az")), (0, vec![AZ.to_owned()]), "{ran:?}");
    // In a minute it is over.
    machine.az_until(&token, machine.azure.vaults.clock().now() + 60);
    let ran = machine.run(&["backup"], &[]).await;
    assert!(ran.code == 0 && machine.questions("az").len() > 2, "{:?}: {ran:?}", machine.questions("az"));
}

#[tokio::test]
async fn who_is_signed_in_with_azd_alone_is_found_too() {
    for is_az_there in [true, false] {
        let machine = Machine::new().await;
        if is_az_there {
            machine.signed_out("az");
        }
        let person = machine.person("person of azd");
        machine.azd(&machine.token_of(&person));
        let ran = machine.run(&["backup"], &[]).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(machine.callers(), ["person of azd"]);
        machine.azure.assert_all_known();
    }
}

#[tokio::test]
async fn who_is_signed_in_nowhere_is_told_what_every_tool_said() {
    let machine = Machine::new().await;
    machine.signed_out("az");
    machine.signed_out("azd");
    let ran = machine.run(&["backup"], &[("LOG_LEVEL", "error")]).await;
    assert_ne!(ran.code, 0, "{ran:?}");
    for part in [
        "no token could be had",
        "IDENTITY_ENDPOINT is not set",
        "AZURE_FEDERATED_TOKEN_FILE is not set",
        "Please run \"az login\" to setup account",
        "not logged in, run `azd auth login`",
        "Sign in with `az login` or `azd auth login`",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {ran:?}");
    }
    assert_eq!(machine.callers(), Vec::<String>::new());
    assert_eq!(machine.azure.manifests(VAULT).len(), 0);
}

#[tokio::test]
async fn a_tool_that_answers_something_else_is_not_quoted() {
    let token = "eyJ0eXAiOiJKV1QifQ.canary.x";
    let without_time = json!({"accessToken": token, "expiresOn": "2099-01-01 00:00:00", "tokenType": "Bearer"});
    for answer in
        [without_time.to_string(), format!("\"{token}\""), format!("{{\"accessToken\":\"{token}"), token.into()]
    {
        let machine = Machine::new().await;
        machine.install("az", AZ, 0, &answer, "");
        machine.install("azd", AZD, 0, &answer, "");
        let ran = machine.run(&["backup"], &[]).await;
        assert_ne!(ran.code, 0, "{answer}: {ran:?}");
        assert!(ran.stderr.contains("no token could be had"), "{answer}: {ran:?}");
        // What fails says it in its own words too.
        machine.install("az", AZ, 1, "", &format!("ERROR: {token} is too old."));
        let ran = machine.run(&["backup"], &[]).await;
        assert_ne!(ran.code, 0, "{answer}: {ran:?}");
    }
}

/// What Kubernetes gives a pod with a workload identity.
fn pod(machine: &Machine, identity: &Identity, assertion: &str) -> Vec<(&'static str, String)> {
    let file = machine.azure.folder().join("federated-token");
    fs::write(&file, assertion).unwrap();
    vec![
        ("AZURE_FEDERATED_TOKEN_FILE", file.display().to_string()),
        ("AZURE_TENANT_ID", identity.tenant.to_string()),
        ("AZURE_CLIENT_ID", identity.client_id.to_string()),
        ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/".to_owned()),
    ]
}

fn as_changes<'a>(settings: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    settings.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

const ASSERTION: &str = "eyJhbGciOiJub25lIn0.canary-of-a-service-account.x";

#[tokio::test]
async fn a_pod_with_a_workload_identity_backs_up_as_that_identity() {
    let machine = Machine::new().await;
    let directory = machine.azure.vaults.directory().clone();
    let (identity, other) = (machine.person("workload"), machine.person("backups of the workload"));
    directory.federate(&identity, ASSERTION);
    directory.federate(&other, ASSERTION);
    // A person who is signed in as well is not asked.
    machine.az("not to be asked");
    let settings = pod(&machine, &identity, ASSERTION);
    let ran = machine.run(&["backup"], &as_changes(&settings)).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(machine.callers(), ["workload"]);
    assert_eq!(machine.questions("az"), Vec::<String>::new());

    // A client id of the settings is meant here as it is for managed identities.
    let client = other.client_id.to_string();
    let mut changes = as_changes(&settings);
    changes.push(("BACKUP_IDENTITY_CLIENT_ID", &client));
    let ran = machine.run(&["backup", "--full"], &changes).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(machine.callers(), ["backups of the workload", "workload"]);
    machine.azure.assert_all_known();
}

#[tokio::test]
async fn a_workload_identity_that_is_not_trusted_is_said_to_be_with_the_words_of_entra() {
    let machine = Machine::new().await;
    let identity = machine.person("workload");
    machine.azure.vaults.directory().federate(&identity, ASSERTION);
    let stranger = machine.person("stranger");
    let elsewhere = Identity { tenant: uuid::Uuid::from_u128(7), ..identity.clone() };
    for (who, assertion, said) in [
        (&identity, "eyJhbGciOiJub25lIn0.canary-of-another.x", "AADSTS700213"),
        (&stranger, ASSERTION, "AADSTS700016"),
        (&elsewhere, ASSERTION, "AADSTS90002"),
    ] {
        let settings = pod(&machine, who, assertion);
        let ran = machine.run(&["backup"], &as_changes(&settings)).await;
        assert_ne!(ran.code, 0, "{ran:?}");
        assert!(ran.stderr.contains(said) && ran.stderr.contains("no token could be had"), "{said}: {ran:?}");
        assert!(!error(&ran).contains("az login"), "nobody signs in by hand in a pod: {ran:?}");
    }
    assert_eq!(machine.callers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_pod_that_was_set_up_by_half_is_told_what_is_missing() {
    let machine = Machine::new().await;
    let identity = machine.person("workload");
    for missing in ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "the file"] {
        let mut settings = pod(&machine, &identity, ASSERTION);
        settings.retain(|(name, _)| *name != missing);
        let file = machine.azure.folder().join("federated-token");
        let said = if missing == "the file" {
            fs::remove_file(&file).unwrap();
            file.display().to_string()
        } else {
            missing.to_owned()
        };
        let ran = machine.run(&["backup"], &as_changes(&settings)).await;
        assert_ne!(ran.code, 0, "{missing}: {ran:?}");
        assert!(ran.stderr.contains("No identity could be set up") && ran.stderr.contains(&said), "{missing}: {ran:?}");
    }
}
