//! A storage account that checks rights as Azure does: Azurite behind a door that lets through what the data actions of
//! the caller allow on that container, and refuses the rest.
//!
//! Source: Azure documentation, "Authorize with Microsoft Entra ID (REST API)", permissions for blob service operations.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, OnceLock},
};

use azure_core::base64;
use bytes::Bytes;
use futures::FutureExt as _;
use serde_json::Value;
use simulator::{identity::Identity, mishap::Mishap, proxy::Services};
use warp::http::{HeaderMap, Method, Request, Response, request::Parts};

use crate::{
    azurite::{Container, azurite},
    format_docs::read,
};

/// The account's host, as the settings name it.
pub(crate) const HOST: &str = "contosobackups.blob.core.windows.net";

pub(crate) const READ: &str = "blobs/read";
pub(crate) const ADD: &str = "blobs/add/action";
pub(crate) const WRITE: &str = "blobs/write";
pub(crate) const DELETE: &str = "blobs/delete";

/// One container for backups and one for state.
pub(crate) struct Storage {
    backups: Container,
    /// By object id and container.
    grants: Mutex<HashMap<(String, String), Vec<String>>>,
    log: Mutex<Vec<Asked>>,
    /// What goes wrong with a request that is allowed.
    upset: Mutex<Option<Upset>>,
    client: OnceLock<reqwest::Client>,
}

/// Says of a request what goes wrong with it, if anything.
type Upset = Box<dyn FnMut(&Parts) -> Option<Trouble> + Send>;

/// What goes wrong with a request to the storage.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// Nothing is done, and this status, error code and seconds of `Retry-After` are the answer.
    Refused(u16, &'static str, Option<u32>),
    /// Nothing is done, and this happens.
    Before(Mishap),
    /// It is done, and this happens.
    After(Mishap),
    /// It is done, and the answer is a failure.
    Lost,
}

/// One request that reached a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) object_id: String,
    pub(crate) container: String,
    pub(crate) request: String,
    /// The data actions of which each is enough.
    pub(crate) needed: Vec<&'static str>,
    pub(crate) refused: bool,
}

impl Storage {
    pub(crate) async fn create() -> Arc<Self> {
        let backups = Container::create().await;
        backups.create_beside("-state").await;
        let (grants, log, upset) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { backups, grants, log, upset, client: OnceLock::new() })
    }

    /// The name of the container for backups; that for state has `-state` behind it.
    pub(crate) fn backups(&self) -> String {
        self.backups.url().path_segments().unwrap().next_back().unwrap().to_owned()
    }

    pub(crate) fn state(&self) -> String {
        format!("{}-state", self.backups())
    }

    /// For `BACKUP_STORE_URL`.
    pub(crate) fn url(&self) -> String {
        format!("https://{HOST}/{}", self.backups())
    }

    pub(crate) fn grant(&self, identity: &Identity, container: &str, rights: &[&str]) {
        let rights = rights.iter().map(ToString::to_string).collect();
        self.grants.lock().unwrap().insert((identity.object_id.to_string(), container.to_owned()), rights);
    }

    /// From now on the first write of a blob is done, and answered with a failure.
    pub(crate) fn lose_first_answers(&self) {
        let mut lost = HashSet::new();
        self.upset(move |head| {
            (head.method == Method::PUT && lost.insert(head.uri.to_string())).then_some(Trouble::Lost)
        });
    }

    /// From now on this goes wrong with requests that are allowed.
    pub(crate) fn upset(&self, upset: impl FnMut(&Parts) -> Option<Trouble> + Send + 'static) {
        *self.upset.lock().unwrap() = Some(Box::new(upset));
    }

    /// From now on all goes well.
    pub(crate) fn calm(&self) {
        *self.upset.lock().unwrap() = None;
    }

    pub(crate) fn log(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn refused(&self) -> Vec<Asked> {
        self.log().into_iter().filter(|asked| asked.refused).collect()
    }

    /// Puts the account beside the vaults.
    pub(crate) fn behind(self: &Arc<Self>, mut services: Services) -> Services {
        let (serves, vaults, storage) = (services.serves.clone(), services.vaults.clone(), self.clone());
        services.serves = Arc::new(move |host| host == HOST || serves(host));
        services.vaults = Arc::new(move |request| {
            if request.uri().host() != Some(HOST) {
                return vaults(request);
            }
            let storage = storage.clone();
            async move { storage.answer(request).await }.boxed()
        });
        services
    }

    async fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        let (head, body) = request.into_parts();
        let container = head.uri.path().split('/').nth(1).unwrap_or_default().to_owned();
        let needed = self.needed(&head).await;
        let object_id = object_id(&head.headers).unwrap_or_default();
        let granted = {
            let grants = self.grants.lock().unwrap();
            let rights = grants.get(&(object_id.clone(), container.clone()));
            rights.is_some_and(|rights| rights.iter().any(|right| needed.contains(&right.as_str())))
        };
        let request = format!("{} {}", head.method, head.uri);
        let trouble = self.upset.lock().unwrap().as_mut().filter(|_| granted).and_then(|upset| upset(&head));
        self.log.lock().unwrap().push(Asked { object_id, container, request, needed, refused: !granted });
        if !granted {
            let code = "AuthorizationPermissionMismatch";
            let text = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code></Error>");
            let builder = Response::builder().status(403).header("x-ms-error-code", code);
            return builder.header("x-ms-request-id", "request-7").body(text.into()).unwrap();
        }
        match trouble {
            Some(Trouble::Refused(status, code, retry_after)) => {
                let mut builder = Response::builder().status(status).header("x-ms-error-code", code);
                if let Some(seconds) = retry_after {
                    builder = builder.header("retry-after", seconds);
                }
                return builder.body(Bytes::new()).unwrap();
            }
            Some(Trouble::Before(mishap)) => return Response::builder().extension(mishap).body(Bytes::new()).unwrap(),
            _ => (),
        }
        let forwarded = self.send(head.method.clone(), &head, body).await;
        if matches!(trouble, Some(Trouble::Lost)) {
            return Response::builder().status(500).body(Bytes::new()).unwrap();
        }
        let (status, headers) = (forwarded.status(), forwarded.headers().clone());
        let mut response = Response::new(forwarded.bytes().await.unwrap());
        *response.status_mut() = status;
        for (name, value) in &headers {
            if !["connection", "keep-alive", "transfer-encoding"].contains(&name.as_str()) {
                response.headers_mut().insert(name.clone(), value.clone());
            }
        }
        if let Some(Trouble::After(mishap)) = trouble {
            response.extensions_mut().insert(mishap);
        }
        response
    }

    /// The data actions of which each is enough for this request; none for what this program has no business to ask.
    async fn needed(&self, head: &Parts) -> Vec<&'static str> {
        let query = head.uri.query().unwrap_or_default();
        let asks_for = |what: &str| query.split('&').any(|pair| pair == format!("comp={what}"));
        let has = |name: &str| head.headers.contains_key(name);
        match head.method {
            Method::GET | Method::HEAD => vec![READ],
            Method::DELETE if !query.contains("restype") => vec![DELETE],
            Method::PUT if asks_for("lease") => vec![WRITE],
            Method::PUT if has("x-ms-blob-type") && !query.contains("comp=") => {
                let conditional = head.headers.get("if-none-match").is_some_and(|value| value == "*");
                if conditional && !self.exists(head).await { vec![ADD, WRITE] } else { vec![WRITE] }
            }
            _ => vec![],
        }
    }

    async fn exists(&self, head: &Parts) -> bool {
        let mut look = head.clone();
        look.headers.retain_only(&["authorization", "x-ms-version", "x-ms-date"]);
        self.send(Method::HEAD, &look, Bytes::new()).await.status().is_success()
    }

    async fn send(&self, method: Method, head: &Parts, body: Bytes) -> reqwest::Response {
        let mut url = self.backups.url().clone();
        let account = url.path().split('/').nth(1).unwrap().to_owned();
        url.set_path(&format!("/{account}{}", head.uri.path()));
        url.set_query(head.uri.query());
        let mut headers = head.headers.clone();
        headers.remove("host");
        self.client.get_or_init(client).request(method, url).headers(headers).body(body).send().await.unwrap()
    }
}

trait Retain {
    fn retain_only(&mut self, names: &[&str]);
}

impl Retain for HeaderMap {
    fn retain_only(&mut self, names: &[&str]) {
        let others: Vec<_> = self.keys().filter(|name| !names.contains(&name.as_str())).cloned().collect();
        for name in others {
            self.remove(name);
        }
    }
}

fn client() -> reqwest::Client {
    let authority = reqwest::Certificate::from_pem(azurite().authority.as_bytes()).unwrap();
    reqwest::Client::builder().tls_certs_only([authority]).no_proxy().pool_max_idle_per_host(0).build().unwrap()
}

/// Who the token is of.
fn object_id(headers: &HeaderMap) -> Option<String> {
    let token = headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")?;
    let claims: Value = serde_json::from_slice(&base64::decode_url_safe(token.split('.').nth(1)?).ok()?).ok()?;
    Some(claims["oid"].as_str()?.to_owned())
}

/// The rights on a container that docs/roles.md gives an identity; a built-in role stands for its data actions.
pub(crate) fn documented(identity: &str, container: &str) -> Vec<&'static str> {
    let text = read("docs/roles.md");
    let rows = text.lines().skip_while(|line| !line.starts_with(&format!("| {identity} |"))).skip(1);
    let row = rows
        .take_while(|line| line.starts_with("| |"))
        .find(|line| line.starts_with(&format!("| | {container} |")))
        .unwrap_or_else(|| panic!("docs/roles.md names no right of the {identity} on the {container}"));
    if row.contains("Storage Blob Data Contributor") {
        return vec![READ, ADD, WRITE, DELETE];
    }
    if row.contains("Storage Blob Data Reader") {
        return vec![READ];
    }
    let codes: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
    let rights = [READ, ADD, WRITE, DELETE];
    let named = |code: &str| rights.into_iter().find(|right| code.ends_with(right)).unwrap_or_else(|| panic!("{code}"));
    codes.into_iter().map(named).collect()
}
