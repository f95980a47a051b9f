//! Microsoft's storage emulator, one for the whole test run, over HTTPS and with tokens as in Azure.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, mpsc};
use std::time::Duration;

use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use azure_core::http::{ClientOptions, HttpClient, Transport};
use azure_core::time::OffsetDateTime;
use azure_storage_blob::{BlobContainerClient, BlobContainerClientOptions};
use keyvault_backup::store::azure::AzureStore;
use url::Url;

/// Ends Azurite with the test run, however that ends: then this end of the pipe is closed.
const GUARD: &str = r#"process.stdin.on("end", () => process.exit(0)).on("error", () => process.exit(0)).resume();"#;

/// How long Azurite may take to start; a second will do unless the machine is busy.
const START: Duration = Duration::from_secs(120);

static AZURITE: LazyLock<Result<Azurite, String>> = LazyLock::new(Azurite::start);

fn azurite() -> &'static Azurite {
    AZURITE.as_ref().unwrap_or_else(|reason| panic!("{reason}"))
}

struct Azurite {
    account: Url,
    certificate: reqwest::Certificate,
    /// Holds the pipe that keeps it running.
    _process: Child,
}

impl Azurite {
    fn start() -> Result<Self, String> {
        let script = script();
        if !script.is_file() {
            return Err(format!(
                "Azurite is not at {}. Run scripts/test.sh, which installs it, or name its azurite.js in AZURITE_JS.",
                script.display()
            ));
        }
        let failed = |error: &dyn std::fmt::Display| format!("Azurite could not be started: {error}.");
        let place = tempfile::tempdir().map_err(|error| failed(&error))?;
        let path = |name: &str| place.path().join(name);
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).map_err(|error| failed(&error))?;
        let pem = certified.cert.pem();
        for (name, text) in
            [("guard.cjs", GUARD), ("cert.pem", &pem), ("key.pem", &certified.signing_key.serialize_pem())]
        {
            fs::write(path(name), text).map_err(|error| failed(&error))?;
        }
        let mut process = Command::new("node")
            .arg("--require")
            .arg(path("guard.cjs"))
            .arg(script)
            .args(["--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--oauth", "basic"])
            .args(["--blobPort", "0", "--queuePort", "0", "--tablePort", "0"])
            .args(["--blobHost", "127.0.0.1", "--queueHost", "127.0.0.1", "--tableHost", "127.0.0.1"])
            .arg("--cert")
            .arg(path("cert.pem"))
            .arg("--key")
            .arg(path("key.pem"))
            .env_remove("AZURITE_ACCOUNTS")
            .current_dir(place.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&error))?;
        let origin = blob_origin(&mut process).map_err(|said| failed(&said))?;
        Ok(Self {
            account: Url::parse(&format!("{origin}/devstoreaccount1/")).map_err(|error| failed(&error))?,
            certificate: reqwest::Certificate::from_pem(pem.as_bytes()).map_err(|error| failed(&error))?,
            _process: process,
        })
    }
}

fn script() -> PathBuf {
    std::env::var_os("AZURITE_JS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/node_modules/azurite/dist/src/azurite.js"),
        PathBuf::from,
    )
}

/// Waits for the line that tells the address of the blob service, or says what was said instead. Azurite's log is read
/// to its end, or it would stop when the pipe is full.
fn blob_origin(process: &mut Child) -> Result<String, String> {
    let (sender, receiver) = mpsc::channel();
    let output = BufReader::new(process.stdout.take().ok_or("it has no output")?);
    let mut errors = process.stderr.take().ok_or("it has no output")?;
    std::thread::spawn(move || {
        let mut said = String::new();
        let mut lines = output.lines().map_while(Result::ok);
        let origin = lines.find_map(|line| {
            said.push_str(&line);
            Some(line.split_once("Azurite Blob service is successfully listening at ")?.1.trim().to_owned())
        });
        let _ = sender.send(origin.ok_or(said));
        lines.for_each(drop);
    });
    std::thread::spawn(move || errors.read_to_end(&mut Vec::new()));
    receiver.recv_timeout(START).map_err(|_| format!("it said nothing for {} s", START.as_secs()))?
}

/// A container of its own for one test.
pub(crate) struct Container {
    url: Url,
}

impl Container {
    /// Makes an empty container.
    pub(crate) async fn create() -> Self {
        let container = Self::missing();
        let options = BlobContainerClientOptions {
            client_options: ClientOptions { transport: Some(Transport::new(client())), ..Default::default() },
            ..Default::default()
        };
        let client = BlobContainerClient::new(container.url.clone(), Some(Arc::new(Identity)), Some(options)).unwrap();
        client.create(None).await.unwrap();
        container
    }

    /// A container that nobody made.
    pub(crate) fn missing() -> Self {
        Self { url: azurite().account.join(&format!("test-{}", uuid::Uuid::new_v4())).unwrap() }
    }

    /// A store on it.
    pub(crate) fn store(&self) -> AzureStore {
        self.store_through(client())
    }

    /// A store on it whose requests go through this client.
    pub(crate) fn store_through(&self, client: Arc<dyn HttpClient>) -> AzureStore {
        AzureStore::new(&self.url, Arc::new(Identity), Transport::new(client)).unwrap()
    }
}

/// A client that trusts Azurite. Each test has its own: connections belong to the runtime that opened them.
pub(crate) fn client() -> Arc<dyn HttpClient> {
    let client = reqwest::Client::builder()
        .tls_certs_only([azurite().certificate.clone()])
        .no_proxy()
        // Azurite closes idle connections after five seconds.
        .pool_idle_timeout(Duration::from_secs(4))
        .redirect(reqwest::redirect::Policy::none());
    Arc::new(client.build().unwrap())
}

/// An identity with a token that Azurite takes: it looks at the claims and not at the signature.
#[derive(Debug)]
pub(crate) struct Identity;

#[async_trait::async_trait]
impl TokenCredential for Identity {
    async fn get_token(&self, scopes: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        assert_eq!(scopes, ["https://storage.azure.com/.default"]);
        let now = OffsetDateTime::now_utc();
        let expires = now + azure_core::time::Duration::hours(1);
        let claims = serde_json::json!({
            "aud": "https://storage.azure.com",
            "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000000/",
            "iat": now.unix_timestamp() - 60,
            "nbf": now.unix_timestamp() - 60,
            "exp": expires.unix_timestamp(),
        });
        let part = |json: &serde_json::Value| azure_core::base64::encode_url_safe(json.to_string());
        let header = serde_json::json!({ "alg": "RS256", "typ": "JWT" });
        Ok(AccessToken::new(Secret::new(format!("{}.{}.c2lnbmF0dXJl", part(&header), part(&claims))), expires))
    }
}
