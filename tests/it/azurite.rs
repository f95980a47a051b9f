//! Microsoft's storage emulator, one for the whole test run, over HTTPS and with tokens as in Azure.

use std::fs;
use std::sync::{Arc, LazyLock, mpsc};
use std::time::Duration;

use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use azure_core::http::{ClientOptions, HttpClient, Transport};
use azure_core::time::OffsetDateTime;
use azure_storage_blob::{BlobContainerClient, BlobContainerClientOptions};
use keyvault_backup::store::azure::AzureStore;
use simulator::{azurite::RequestLog, proxy::Authority};
use url::Url;

static AZURITE: LazyLock<Result<Azurite, String>> = LazyLock::new(Azurite::start);

/// The running emulator; the first test that asks starts it.
pub(crate) fn azurite() -> &'static Azurite {
    AZURITE.as_ref().unwrap_or_else(|reason| panic!("{reason}"))
}

/// Where the emulator is and how to trust it.
pub(crate) struct Azurite {
    account: Url,
    /// The queue service of the account.
    pub(crate) queues: Url,
    /// The certificate authority of its certificate, as PEM.
    pub(crate) authority: String,
    /// What it has been asked.
    pub(crate) requests: RequestLog,
}

impl Azurite {
    /// Starts it on a thread and a runtime of its own, which last as long as this process: those of a test end with it.
    fn start() -> Result<Self, String> {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                match Self::run().await {
                    Ok((azurite, running)) => {
                        let _ = sender.send(Ok(azurite));
                        std::future::pending::<()>().await;
                        drop(running);
                    }
                    Err(error) => {
                        let _ = sender.send(Err(error.to_string()));
                    }
                }
            });
        });
        receiver.recv().unwrap_or_else(|_| Err("Azurite could not be started.".to_owned()))
    }

    async fn run() -> std::io::Result<(Self, simulator::azurite::Azurite)> {
        // Azurite reads its certificate before it says that it listens.
        let folder = tempfile::tempdir()?;
        let certificates = Authority::create(folder.path())?;
        let running = simulator::azurite::Azurite::start(&certificates).await?;
        let url = |url: &str| Url::parse(url).map_err(std::io::Error::other);
        let azurite = Self {
            account: url(&format!("{}/", running.blob_url()))?,
            queues: url(running.queue_url())?,
            authority: fs::read_to_string(certificates.ca_file())?,
            requests: running.requests().clone(),
        };
        Ok((azurite, running))
    }
}

/// A container of its own for one test.
pub(crate) struct Container {
    url: Url,
}

impl Container {
    /// Makes an empty container.
    pub(crate) async fn create() -> Self {
        Self::missing().make().await
    }

    /// Makes an empty container whose name is that of this one and `suffix`.
    pub(crate) async fn create_beside(&self, suffix: &str) -> Self {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{suffix}", url.path()));
        Self { url }.make().await
    }

    async fn make(self) -> Self {
        let options = BlobContainerClientOptions {
            client_options: ClientOptions { transport: Some(Transport::new(client())), ..Default::default() },
            ..Default::default()
        };
        let client = BlobContainerClient::new(self.url.clone(), Some(Arc::new(Identity)), Some(options)).unwrap();
        client.create(None).await.unwrap();
        self
    }

    /// A container that nobody made.
    pub(crate) fn missing() -> Self {
        Self { url: azurite().account.join(&format!("test-{}", uuid::Uuid::new_v4())).unwrap() }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &Url {
        &self.url
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
    let authority = reqwest::Certificate::from_pem(azurite().authority.as_bytes()).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([authority])
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
