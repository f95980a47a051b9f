//! Certificate policies: what callers may send, and what the service makes of it.

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A policy as callers send it. Everything has a default.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Policy {
    #[expect(dead_code, reason = "the service gives policies their ids")]
    id: Option<String>,
    key_props: Option<KeyProperties>,
    secret_props: Option<SecretProperties>,
    x509_props: Option<X509Properties>,
    lifetime_actions: Option<Vec<LifetimeAction>>,
    issuer: Option<Issuer>,
    #[expect(dead_code, reason = "the service keeps the dates of policies, and they cannot be disabled")]
    attributes: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyProperties {
    exportable: Option<bool>,
    kty: Option<String>,
    key_size: Option<u32>,
    reuse_key: Option<bool>,
    crv: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretProperties {
    #[serde(rename = "contentType")]
    content_type: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct X509Properties {
    subject: Option<String>,
    sans: Option<Value>,
    ekus: Option<Vec<String>>,
    key_usage: Option<Vec<String>>,
    validity_months: Option<u32>,
    basic_constraints: Option<Value>,
    /// One SDK sends these three, empty, beside and not inside `sans`; the answer shows nothing of them (recorded).
    #[expect(dead_code, reason = "see above")]
    dns_names: Option<Vec<String>>,
    #[expect(dead_code, reason = "see above")]
    emails: Option<Vec<String>>,
    #[expect(dead_code, reason = "see above")]
    upns: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LifetimeAction {
    trigger: Value,
    action: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Issuer {
    name: Option<String>,
    #[expect(dead_code, reason = "of meaning to other issuers than Self only")]
    cty: Option<String>,
    #[expect(dead_code, reason = "of meaning to other issuers than Self only")]
    cert_transparency: Option<bool>,
}

impl Policy {
    pub(super) fn issuer(&self) -> Option<&str> {
        self.issuer.as_ref()?.name.as_deref()
    }

    /// The policy as the service keeps it, defaults filled in (those of recorded answers), without id and dates.
    pub(super) fn complete(self) -> Value {
        let issuer = self.issuer().unwrap_or("Self").to_owned();
        let content_type = self.secret_props.and_then(|it| it.content_type);
        let content_type = content_type.unwrap_or_else(|| "application/x-pkcs12".to_owned());
        let actions = self.lifetime_actions.map(|actions| {
            let action = |it: LifetimeAction| json!({"trigger": it.trigger, "action": it.action});
            actions.into_iter().map(action).collect::<Value>()
        });
        let default_actions = json!([{"trigger": {"lifetime_percentage": 80}, "action": {"action_type": "AutoRenew"}}]);
        json!({
            "key_props": self.key_props.unwrap_or_default().complete(),
            "secret_props": {"contentType": content_type},
            "x509_props": self.x509_props.unwrap_or_default().complete(),
            "lifetime_actions": actions.unwrap_or(default_actions),
            "issuer": {"name": issuer},
        })
    }
}

impl KeyProperties {
    fn complete(self) -> Value {
        let kty = self.kty.unwrap_or_else(|| "RSA".to_owned());
        let elliptic = kty.starts_with("EC");
        let size = self.key_size.unwrap_or(if elliptic { 256 } else { 2048 });
        let mut properties = Map::new();
        properties.insert("exportable".to_owned(), self.exportable.unwrap_or(true).into());
        properties.insert("kty".to_owned(), kty.into());
        properties.insert("key_size".to_owned(), size.into());
        properties.insert("reuse_key".to_owned(), self.reuse_key.unwrap_or(false).into());
        if elliptic {
            properties.insert("crv".to_owned(), self.crv.unwrap_or_else(|| "P-256".to_owned()).into());
        }
        properties.into()
    }
}

impl X509Properties {
    fn complete(self) -> Value {
        let mut properties = Map::new();
        properties.insert("subject".to_owned(), self.subject.unwrap_or_default().into());
        if let Some(sans) = self.sans {
            properties.insert("sans".to_owned(), sans);
        }
        let server_and_client = || vec!["1.3.6.1.5.5.7.3.1".to_owned(), "1.3.6.1.5.5.7.3.2".to_owned()];
        properties.insert("ekus".to_owned(), self.ekus.unwrap_or_else(server_and_client).into());
        let usage = || vec!["digitalSignature".to_owned(), "keyEncipherment".to_owned()];
        properties.insert("key_usage".to_owned(), self.key_usage.unwrap_or_else(usage).into());
        properties.insert("validity_months".to_owned(), self.validity_months.unwrap_or(12).into());
        let constraints = self.basic_constraints.unwrap_or_else(|| json!({"ca": false}));
        properties.insert("basic_constraints".to_owned(), constraints);
        properties.into()
    }
}
