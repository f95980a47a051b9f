//! Brings the simulator into the state before an exchange, and sends its request.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::key_vault::{Network, Permissions, VaultOptions};

use super::Exchange;
use crate::bench::{Answer, Bench};

/// The state before an exchange. "The item" is the one that the exchange names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    Nothing,
    NoToken,
    NoRole,
    NoPolicy,
    Firewall,
    Item,
    Disabled,
    Versions(usize),
    Deleting,
    Deleted,
    Recovering,
    Recovered,
    JustPurged,
    LongPurged,
    Certificate,
    Pending,
    PendingCancelled,
    PendingDeleted,
    /// The items of the recorded page, more hidden ones if it ends early, and one for the next page.
    Page,
    /// The same, deleted.
    DeletedPage,
    /// The same, certificates.
    CertificatePage,
    /// The answer is not what the simulator imitates.
    NotImitated,
}

/// Longer than any change goes on.
const LONG: Duration = Duration::from_secs(30);

pub(super) async fn ask(exchange: &Exchange, before: Before) -> (Bench, Answer) {
    let recorded = &exchange.response.body;
    let vault = exchange.request.vault.split('.').next().unwrap_or_default();
    let bench = Bench::with(VaultOptions {
        name: vault.to_owned(),
        retention_days: find(recorded, "recoverableDays").and_then(Value::as_u64).unwrap_or(90) as u32,
        region: exchange
            .response
            .headers
            .get("x-ms-keyvault-region")
            .and_then(Value::as_str)
            .unwrap_or("eastus")
            .into(),
        permissions: if before == Before::NoPolicy { Permissions::AccessPolicies } else { Permissions::Roles },
        ..Default::default()
    });
    let scene = Scene::new(&bench, exchange, vault);
    let backup = scene.set(before).await;
    let path = scene.path().await;
    let mut body = exchange.request.body.clone();
    match (&backup, &mut body) {
        (Some(backup), body) => *body = Some(backup.clone()),
        // Recorded blobs are cut; what is left is as malformed as the whole.
        (None, Some(body)) => {
            if let Some(Value::String(value)) = body.get_mut("value") {
                *value = value.trim_end_matches('…').to_owned();
            }
        }
        // Quoted requests have lost their bodies.
        (None, body) if exchange.request.method == "PUT" => *body = Some(json!({"value": "value"})),
        (None, None) => {}
    }
    let method = &exchange.request.method;
    let answer = match before {
        Before::NoToken => bench.ask_with(None, method, &path, None).await,
        _ => bench.ask(method, &path, body).await,
    };
    (bench, answer)
}

struct Scene<'a> {
    bench: &'a Bench,
    exchange: &'a Exchange,
    vault: &'a str,
    kind: &'a str,
    name: String,
}

impl<'a> Scene<'a> {
    fn new(bench: &'a Bench, exchange: &'a Exchange, vault: &'a str) -> Self {
        let mut segments = exchange.request.path.split('?').next().unwrap_or_default().trim_matches('/').split('/');
        let kind = segments.next().unwrap_or_default().trim_start_matches("deleted");
        let recorded = &exchange.response.body;
        // A restore names its item only in what it brings: the id of the answer, or the one in its message.
        let id = |it: &Value| it.as_str().and_then(|it| it.split('/').nth(4)).map(str::to_owned);
        let name = match segments.next() {
            Some("restore") => {
                find(recorded, "kid").or(find(recorded, "id")).or(find(recorded, "message")).and_then(id)
            }
            name => name.map(str::to_owned),
        };
        Self { bench, exchange, vault, kind, name: name.unwrap_or_default() }
    }

    /// Returns the body of a restore, where the state includes a backup.
    async fn set(&self, before: Before) -> Option<Value> {
        let (name, like) = (&*self.name, &self.exchange.response.body);
        let vaults = &self.bench.vaults;
        match before {
            Before::Nothing | Before::NoToken | Before::NotImitated => {}
            Before::NoRole | Before::NoPolicy => vaults.unassign(&self.bench.admin, self.vault),
            Before::Firewall => vaults.set_network(self.vault, Network::Firewall),
            Before::Item => self.make(self.kind, name, like).await,
            Before::Disabled => self.make(self.kind, name, &json!({"attributes": {"enabled": false}})).await,
            Before::Versions(count) => {
                for _ in 0..count {
                    self.make(self.kind, name, &like["value"][0]).await;
                }
            }
            Before::Deleting => {
                self.make(self.kind, name, like).await;
                self.on_item("DELETE", self.kind, name).await;
            }
            Before::Deleted => self.make_deleted(name, like).await,
            Before::Recovering | Before::Recovered => {
                self.make_deleted(name, like).await;
                self.expect_ok("POST", &format!("deleted{}/{name}/recover", self.kind), None).await;
                if before == Before::Recovered {
                    vaults.clock().advance(LONG);
                }
            }
            Before::JustPurged | Before::LongPurged => {
                self.make(self.kind, name, like).await;
                let backup = self.expect_ok("POST", &format!("{}/{name}/backup", self.kind), None).await;
                self.on_item("DELETE", self.kind, name).await;
                vaults.clock().advance(LONG);
                self.expect_ok("DELETE", &format!("deleted{}/{name}", self.kind), None).await;
                if before == Before::LongPurged {
                    vaults.clock().advance(LONG);
                }
                return Some(backup);
            }
            Before::Certificate => self.make("certificates", name, like).await,
            Before::Pending => self.begin_certificate(name, like).await,
            Before::PendingCancelled | Before::PendingDeleted => {
                self.begin_certificate(name, like).await;
                let pending = format!("certificates/{name}/pending");
                self.expect_ok("PATCH", &pending, Some(json!({"cancellation_requested": true}))).await;
                if before == Before::PendingDeleted {
                    self.expect_ok("DELETE", &pending, None).await;
                }
            }
            Before::Page => self.fill_page(self.kind, false).await,
            Before::DeletedPage => self.fill_page(self.kind, true).await,
            Before::CertificatePage => self.fill_page("certificates", false).await,
        }
        None
    }

    async fn fill_page(&self, kind: &str, deleted: bool) {
        let page = &self.exchange.response.body;
        let shown = page["value"].as_array().expect("a page has a value");
        for row in shown {
            let name = row.get("id").or(row.get("kid")).and_then(Value::as_str).and_then(|it| it.split('/').nth(4));
            let name = name.expect("a row has an id");
            if deleted { self.make_deleted(name, row).await } else { self.make(kind, name, row).await }
        }
        if page["nextLink"].is_null() {
            return;
        }
        let asked = self.exchange.request.path.split("maxresults=").nth(1).and_then(|it| it.parse().ok());
        let limit: usize = asked.unwrap_or(25);
        for number in shown.len()..limit {
            // Rows that no list shows yet or any more: being deleted.
            let name = format!("filler-{number:02}");
            self.make(kind, &name, &Value::Null).await;
            self.on_item("DELETE", kind, &name).await;
        }
        self.make(kind, "zzz", &Value::Null).await;
        if deleted {
            self.on_item("DELETE", kind, "zzz").await;
        }
    }

    async fn make_deleted(&self, name: &str, like: &Value) {
        self.make(self.kind, name, like).await;
        self.on_item("DELETE", self.kind, name).await;
        self.bench.vaults.clock().advance(LONG);
    }

    /// Makes an item, or another version of it, with what the recorded answer says of it.
    async fn make(&self, kind: &str, name: &str, like: &Value) {
        let attributes = json!({
            "enabled": like["attributes"]["enabled"],
            "nbf": like["attributes"]["nbf"],
            "exp": like["attributes"]["exp"],
        });
        match kind {
            "secrets" => {
                let body = json!({
                    "value": "value", "contentType": like["contentType"], "attributes": attributes, "tags": like["tags"],
                });
                self.expect_ok("PUT", &format!("secrets/{name}"), Some(body)).await;
            }
            "keys" => {
                let kty = like["key"]["kty"].as_str().unwrap_or("RSA");
                let body = json!({"kty": kty, "attributes": attributes, "tags": like["tags"]});
                self.expect_ok("POST", &format!("keys/{name}/create"), Some(body)).await;
            }
            _ => {
                self.begin_certificate(name, like).await;
                self.bench.vaults.clock().advance(LONG);
            }
        }
    }

    async fn begin_certificate(&self, name: &str, like: &Value) {
        let policy = like.get("policy").cloned().unwrap_or_else(|| json!({"issuer": {"name": "Self"}}));
        let body = json!({"policy": policy, "tags": like["tags"]});
        self.expect_ok("POST", &format!("certificates/{name}/create"), Some(body)).await;
    }

    async fn on_item(&self, method: &str, kind: &str, name: &str) {
        self.expect_ok(method, &format!("{kind}/{name}"), None).await;
    }

    async fn expect_ok(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let answer = self.bench.ask(method, &format!("{}/{path}", self.vault), body).await;
        let name = &self.exchange.name;
        assert!(answer.status.is_success(), "{name}: cannot be arranged, {method} {path}: {}", answer.body);
        answer.body
    }

    /// The recorded path, with the version that the item has here and without preview versions of the API.
    async fn path(&self) -> String {
        let mut path = self.exchange.request.path.replace("-preview.1", "").replace("-preview", "");
        let version = path.split(['/', '?']).find(|it| it.len() == 32 && it.bytes().all(|it| it.is_ascii_hexdigit()));
        if let Some(version) = version.map(str::to_owned) {
            let snapshot = self.bench.vaults.snapshot(self.vault);
            let item = snapshot.items.values().next().expect("the item is there");
            path = path.replace(&version, &item.current);
        }
        format!("{}{path}", self.vault)
    }
}

/// The first field of that name, however deep.
fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(fields) => fields.get(name).or_else(|| fields.values().find_map(|it| find(it, name))),
        Value::Array(values) => values.iter().find_map(|it| find(it, name)),
        _ => None,
    }
}
