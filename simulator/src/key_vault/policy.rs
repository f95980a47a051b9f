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

    /// The policy of a new certificate: defaults (those of recorded answers) where the caller says nothing.
    pub(super) fn complete(self) -> Value {
        self.over(json!({
            "key_props": {"exportable": true, "kty": "RSA", "key_size": 2048, "reuse_key": false, "crv": null},
            "secret_props": {"contentType": "application/x-pkcs12"},
            "x509_props": {
                "subject": "",
                "sans": null,
                "ekus": ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"],
                "key_usage": ["digitalSignature", "keyEncipherment"],
                "validity_months": 12,
                "basic_constraints": {"ca": false},
            },
            "lifetime_actions": [{"trigger": {"lifetime_percentage": 80}, "action": {"action_type": "AutoRenew"}}],
            "issuer": {"name": "Self"},
        }))
    }

    /// A policy after this update: what the caller does not say stays. A field that has no value is `null` here, which
    /// keeps its place; answers leave it out.
    pub(super) fn over(self, mut policy: Value) -> Value {
        if let Some(it) = self.key_props {
            it.set(&mut policy["key_props"]);
        }
        if let Some(it) = self.x509_props {
            it.set(&mut policy["x509_props"]);
        }
        set(&mut policy["secret_props"]["contentType"], self.secret_props.and_then(|it| it.content_type));
        let action = |it: LifetimeAction| json!({"trigger": it.trigger, "action": it.action});
        set(
            &mut policy["lifetime_actions"],
            self.lifetime_actions.map(|it| it.into_iter().map(action).collect::<Value>()),
        );
        set(&mut policy["issuer"]["name"], self.issuer.and_then(|it| it.name));
        policy
    }
}

impl KeyProperties {
    fn set(self, policy: &mut Value) {
        if self.kty.as_ref().is_some_and(|it| it.starts_with("EC")) {
            (policy["key_size"], policy["crv"]) = (256.into(), "P-256".into());
        }
        set(&mut policy["exportable"], self.exportable);
        set(&mut policy["kty"], self.kty);
        set(&mut policy["key_size"], self.key_size);
        set(&mut policy["reuse_key"], self.reuse_key);
        set(&mut policy["crv"], self.crv);
    }
}

impl X509Properties {
    fn set(self, policy: &mut Value) {
        set(&mut policy["subject"], self.subject);
        set(&mut policy["sans"], self.sans);
        set(&mut policy["ekus"], self.ekus);
        set(&mut policy["key_usage"], self.key_usage);
        set(&mut policy["validity_months"], self.validity_months);
        set(&mut policy["basic_constraints"], self.basic_constraints);
    }
}

fn set(field: &mut Value, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        *field = value.into();
    }
}

/// Restored certificates have lost an empty list of alternative names (recorded).
pub(super) fn forget_empty_names(policy: &mut Value) {
    let sans = &mut policy["x509_props"]["sans"];
    if sans.as_object().is_some_and(Map::is_empty) {
        *sans = Value::Null;
    }
}

/// Takes out what has no value, as answers do.
pub(super) fn without_nulls(policy: &Value) -> Value {
    match policy {
        Value::Object(fields) => {
            let with_value = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(with_value.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        other => other.clone(),
    }
}
