//! What the tests stand on: one service, an identity that may do everything, and plain requests.

use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::Value;
use simulator::{
    clock::Clock,
    identity::{Directory, Identity},
    key_vault::{ALL_DATA_ACTIONS, KeyVaults, RESOURCE, VaultOptions},
};

/// A Saturday in 2025.
pub(crate) const START: i64 = 1_750_000_000;

/// A service with the vault `contoso`, in which `admin` may do everything.
pub(crate) struct Bench {
    pub(crate) vaults: KeyVaults,
    pub(crate) admin: Identity,
}

/// An answer in parts.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Value,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(VaultOptions::default())
    }

    pub(crate) fn with(options: VaultOptions) -> Self {
        let clock = Clock::starting_at(START);
        let directory = Directory::new(clock.clone());
        let admin = directory.identity("admin");
        let bench = Self { vaults: KeyVaults::new(clock, directory), admin };
        bench.add(options);
        bench
    }

    /// Another vault, with the same administrator.
    pub(crate) fn add(&self, options: VaultOptions) {
        let name = options.name.clone();
        self.vaults.add_vault(options);
        self.vaults.assign(&self.admin, &name, ALL_DATA_ACTIONS);
    }

    /// One request as the administrator; the path begins with the name of the vault.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.ask_as(&self.admin, method, path, body).await
    }

    pub(crate) async fn ask_as(&self, identity: &Identity, method: &str, path: &str, body: Option<Value>) -> Answer {
        let token = self.vaults.directory().mint(identity, RESOURCE);
        self.ask_with(Some(&token), method, path, body).await
    }

    pub(crate) async fn ask_with(&self, token: Option<&str>, method: &str, path: &str, body: Option<Value>) -> Answer {
        let (vault, rest) = path.split_once('/').expect("a path names vault and item");
        let uri = format!("https://{vault}.vault.azure.net/{rest}");
        let uri = match (uri.contains("api-version="), uri.contains('?')) {
            (true, _) => uri,
            (_, true) => format!("{uri}&api-version=7.6"),
            (_, false) => format!("{uri}?api-version=7.6"),
        };
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = body.map(|it| Bytes::from(it.to_string())).unwrap_or_default();
        let response = self.vaults.handle(request.body(body).expect("the request is well-formed")).await;
        let (parts, body) = response.into_parts();
        let body = if body.is_empty() {
            Value::Null
        } else {
            let parsed: Value = serde_json::from_slice(&body).expect("answers are JSON");
            // As in the recordings, whose content lengths were checked: no blanks, nothing escaped without need.
            assert_eq!(parsed.to_string().as_bytes(), body, "answers are compact");
            parsed
        };
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Every page of a list.
    pub(crate) async fn pages(&self, path: &str) -> Vec<Vec<Value>> {
        let mut pages = Vec::new();
        let mut next = path.to_owned();
        loop {
            let page = self.ask("GET", &next, None).await;
            assert_eq!(page.status, 200, "{}", page.body);
            pages.push(page.body["value"].as_array().expect("a page has a value").clone());
            let Some(link) = page.body["nextLink"].as_str() else { return pages };
            let (host, rest) =
                link.strip_prefix("https://").and_then(|it| it.split_once('/')).expect("a link is a URL");
            let vault = host.strip_suffix(".vault.azure.net:443").expect("a link names the port");
            next = format!("{vault}/{rest}");
        }
    }
}

impl Answer {
    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    pub(crate) fn inner(&self) -> &str {
        self.body["error"]["innererror"]["code"].as_str().unwrap_or_default()
    }

    pub(crate) fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or_default()
    }
}
