//! Creating (self-signed), importing and updating certificates.
//!
//! A certificate is real DER, but its key is always one EC key of this process, whatever the policy asks for; the value
//! of the managed secret is not a PKCS #12 file but random bytes in base64.

use std::{sync::OnceLock, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, StatusCode, header};
use rand::{RngCore as _, rngs::StdRng};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SerialNumber};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{
    answer::{Answer, Outcome},
    body::{self, Attributes},
    bundle::{self, bundle},
    items, keys,
    model::{Content, Item, Kind, Pending, Tags, Version, hex32},
    options::VaultOptions,
    policy::Policy,
    refusal::Refusal,
    route::Route,
    vault::Vault,
};

/// Seconds that a client is told to wait before it asks again (recorded).
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("10");
/// Certificates are valid from ten minutes before they are made (recorded).
const BACKDATED: i64 = 600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    policy: Policy,
    attributes: Option<Attributes>,
    tags: Option<Tags>,
    #[serde(rename = "preserveCertOrder")]
    #[expect(dead_code, reason = "there is never more than one certificate to order")]
    preserve_order: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Import {
    value: String,
    #[expect(dead_code, reason = "PKCS #12 files are not opened")]
    pwd: Option<String>,
    policy: Option<Policy>,
    attributes: Option<Attributes>,
    tags: Option<Tags>,
    #[serde(rename = "preserveCertOrder")]
    #[expect(dead_code, reason = "there is never more than one certificate to order")]
    preserve_order: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    policy: Option<Policy>,
    attributes: Option<Attributes>,
    tags: Option<Tags>,
    #[serde(rename = "preserveCertOrder")]
    #[expect(dead_code, reason = "there is never more than one certificate to order")]
    preserve_order: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdatePending {
    cancellation_requested: bool,
}

pub(super) fn create(vault: &mut Vault, route: &Route, body: &[u8], now_millis: i64) -> Outcome {
    let body: Create = body::read(route.operation, body)?;
    items::may_create(vault, Kind::Certificate, &route.name, "create")?;
    if body.policy.issuer() != Some("Self") {
        return Err(Refusal::unknown("an issuer of certificates other than Self"));
    }
    let now = now_millis.div_euclid(1000);
    let policy = body.policy.complete();
    let mut pending = Pending {
        request_id: vault.new_id(),
        csr: signing_request(&policy),
        enabled: true,
        tags: body.tags,
        cancelled: false,
        completed: false,
    };
    let mut wanted = Version::new(0, now, Content::Certificate { cer: Vec::new() });
    body.attributes.unwrap_or_default().apply(&mut wanted);
    pending.enabled = wanted.enabled;
    let first = vault.active(Kind::Certificate, &route.name).is_none();
    if first {
        // Readable at once: disabled, with a version, without a certificate (recorded).
        let mut version = Version::new(vault.new_id(), now, Content::Certificate { cer: Vec::new() });
        set_validity(&mut version, &policy);
        version.enabled = false;
        version.tags = pending.tags.clone();
        vault.add_version(Kind::Certificate, &route.name, false, version);
    }
    let item = vault.active_mut(Kind::Certificate, &route.name).expect("it is there or was made above");
    set_policy(item, policy, now);
    item.pending = Some(pending.clone());
    let name = item.name.clone();
    let delay: Duration = vault.options.delays.certificate_creation;
    let body = operation_body(&vault.options, &name, &pending);
    vault.plan_certificate(&name, delay, now_millis);
    let location = format!(
        "{}?api-version={}&request_id={}",
        pending_id(&vault.options, &name),
        route.query.api_version,
        hex32(pending.request_id)
    );
    let location = HeaderValue::try_from(location).expect("ids are ASCII");
    Ok(Answer::json(StatusCode::ACCEPTED, &body)
        .with(header::LOCATION, location)
        .with(header::RETRY_AFTER, RETRY_AFTER))
}

/// The certificate that was being made is there, with its key and its secret.
pub(super) fn finish(vault: &mut Vault, name: &str, now: i64) {
    let id = vault.new_id();
    let Some(item) = vault.active_mut(Kind::Certificate, name) else { return };
    let policy = item.policy.clone().unwrap_or_default();
    let Some(pending) = &mut item.pending else { return };
    pending.completed = true;
    let (enabled, tags) = (pending.enabled, pending.tags.clone());
    let mut version = if item.is_unfinished() {
        item.by_id.clear();
        item.versions.remove(0)
    } else {
        Version::new(id, now, Content::Certificate { cer: Vec::new() })
    };
    (version.enabled, version.created, version.updated) = (enabled, now, now);
    version.tags = tags;
    set_validity(&mut version, &policy);
    version.content = Content::Certificate { cer: self_signed(&policy, &version) };
    let name = item.name.clone();
    item.add(version.clone());
    add_companions(vault, &name, &version, &policy);
}

pub(super) fn import(vault: &mut Vault, route: &Route, body: &[u8], now: i64) -> Outcome {
    let body: Import = body::read(route.operation, body)?;
    items::may_create(vault, Kind::Certificate, &route.name, "import")?;
    let policy = body.policy.unwrap_or_default().complete();
    let mut version = Version::new(vault.new_id(), now, Content::Certificate { cer: Vec::new() });
    set_validity(&mut version, &policy);
    body.attributes.unwrap_or_default().apply(&mut version);
    version.tags = body.tags;
    let cer = from_pem(&body.value).unwrap_or_else(|| self_signed(&policy, &version));
    version.content = Content::Certificate { cer };
    add(vault, &route.name, version, policy, now);
    let item = vault.active(Kind::Certificate, &route.name).expect("it was put there in the line above");
    Answer::ok(&bundle(vault, Kind::Certificate, item, item.current(), false, None))
}

/// Adds a finished certificate and what it owns.
pub(super) fn add(vault: &mut Vault, name: &str, version: Version, policy: Value, now: i64) {
    vault.add_version(Kind::Certificate, name, false, version.clone());
    let item = vault.item_mut(Kind::Certificate, name).expect("it was put there in the line above");
    set_policy(item, policy.clone(), now);
    let name = item.name.clone();
    add_companions(vault, &name, &version, &policy);
}

pub(super) fn update(vault: &mut Vault, route: &Route, body: &[u8], now: i64) -> Outcome {
    let body: Update = body::read(route.operation, body)?;
    let missing = || Refusal::not_found(Kind::Certificate, &route.name);
    let item = vault.active_mut(Kind::Certificate, &route.name).ok_or_else(missing)?;
    let id = item.version(route.version).ok_or_else(missing)?.id;
    if let Some(policy) = body.policy {
        let policy = policy.over(item.policy.clone().unwrap_or_default());
        set_policy(item, policy, now);
    }
    // Attributes of a certificate are those of its key and secret too; its tags are its own from here on.
    for kind in [Kind::Key, Kind::Secret] {
        if let Some(version) = vault.active_mut(kind, &route.name).and_then(|it| it.version_mut(Some(id))) {
            body::update(version, body.attributes.as_ref(), None, now);
        }
    }
    let item = vault.active_mut(Kind::Certificate, &route.name).ok_or_else(missing)?;
    body::update(item.version_mut(Some(id)).ok_or_else(missing)?, body.attributes.as_ref(), body.tags, now);
    let item = vault.active(Kind::Certificate, &route.name).ok_or_else(missing)?;
    let version = item.version(Some(id)).ok_or_else(missing)?;
    Answer::ok(&bundle(vault, Kind::Certificate, item, version, false, None))
}

pub(super) fn get_policy(vault: &Vault, route: &Route) -> Outcome {
    let missing = || Refusal::not_found(Kind::Certificate, &route.name);
    let item = vault.active(Kind::Certificate, &route.name).ok_or_else(missing)?;
    Answer::ok(&bundle::policy(&vault.options, item))
}

pub(super) fn update_policy(vault: &mut Vault, route: &Route, body: &[u8], now: i64) -> Outcome {
    let body: Policy = body::read(route.operation, body)?;
    let missing = || Refusal::not_found(Kind::Certificate, &route.name);
    let item = vault.active_mut(Kind::Certificate, &route.name).ok_or_else(missing)?;
    let policy = body.over(item.policy.clone().unwrap_or_default());
    set_policy(item, policy, now);
    get_policy(vault, route)
}

pub(super) fn get_pending(vault: &Vault, route: &Route) -> Outcome {
    let item = vault.active(Kind::Certificate, &route.name);
    let missing = || Refusal::pending_not_found(&route.name);
    let (item, pending) = item.and_then(|it| Some((it, it.pending.as_ref()?))).ok_or_else(missing)?;
    let answer = Answer::json(StatusCode::OK, &operation_body(&vault.options, &item.name, pending));
    Ok(if pending.completed { answer } else { answer.with(header::RETRY_AFTER, RETRY_AFTER) })
}

pub(super) fn update_pending(vault: &mut Vault, route: &Route, body: &[u8]) -> Outcome {
    let body: UpdatePending = body::read(route.operation, body)?;
    change_pending(vault, route, |item| {
        if let Some(pending) = &mut item.pending {
            pending.cancelled = body.cancellation_requested;
        }
    })
}

/// The certificate stays as it is: unfinished, if it was.
pub(super) fn delete_pending(vault: &mut Vault, route: &Route) -> Outcome {
    let before = get_pending(vault, route)?;
    change_pending(vault, route, |item| item.pending = None)?;
    Ok(Answer { headers: Vec::new(), ..before })
}

fn change_pending(vault: &mut Vault, route: &Route, change: impl FnOnce(&mut Item)) -> Outcome {
    let missing = || Refusal::pending_not_found(&route.name);
    let item =
        vault.active_mut(Kind::Certificate, &route.name).filter(|it| it.pending.is_some()).ok_or_else(missing)?;
    change(item);
    let body = item.pending.clone().map(|it| (item.name.clone(), it));
    match body {
        Some((name, pending)) => Answer::ok(&operation_body(&vault.options, &name, &pending)),
        None => Answer::no_content(),
    }
}

pub(super) fn pending_id(options: &VaultOptions, name: &str) -> String {
    format!("{}/pending", bundle::id(options, Kind::Certificate, name, None))
}

fn operation_body(options: &VaultOptions, name: &str, pending: &Pending) -> Value {
    let mut body = json!({
        "id": pending_id(options, name),
        "issuer": {"name": "Self"},
        "csr": pending.csr,
        "cancellation_requested": pending.cancelled,
    });
    if pending.completed {
        body["status"] = "completed".into();
        body["target"] = bundle::id(options, Kind::Certificate, name, None).into();
    } else {
        body["status"] = "inProgress".into();
        body["status_details"] = "Pending certificate created. Certificate request is in progress. This may take some \
                                  time based on the issuer provider. Please check again later."
            .into();
    }
    body["request_id"] = hex32(pending.request_id).into();
    body
}

fn set_policy(item: &mut Item, policy: Value, now: i64) {
    if item.policy.is_none() {
        item.policy_created = now;
    }
    item.policy_updated = now;
    item.policy = Some(policy);
}

pub(super) fn set_validity(version: &mut Version, policy: &Value) {
    let months = policy["x509_props"]["validity_months"].as_i64().unwrap_or(12);
    version.not_before = Some(version.created - BACKDATED);
    // Recorded with twelve months: 365 days from when it was made.
    version.expires = Some(version.created + months * 365 * 24 * 3600 / 12);
}

/// The managed key and secret of a certificate version: same name, same version id, same dates.
fn add_companions(vault: &mut Vault, name: &str, version: &Version, policy: &Value) {
    let key = &policy["key_props"];
    let kty = key["kty"].as_str().unwrap_or("RSA");
    let size = key["key_size"].as_u64().and_then(|it| u32::try_from(it).ok());
    let public = keys::random_key(&mut vault.random, kty, size, key["crv"].as_str())
        .or_else(|_| keys::random_key(&mut vault.random, "RSA", None, None))
        .expect("an RSA key of the default size can be made");
    let mut fingerprint = [0; 32];
    vault.random.fill_bytes(&mut fingerprint);
    let exportable = Some(key["exportable"].as_bool().unwrap_or(true));
    let key = Content::Key { public, exportable, release_policy: None, fingerprint };
    let secret = Content::Secret {
        value: placeholder(&mut vault.random),
        content_type: policy["secret_props"]["contentType"].as_str().map(str::to_owned),
    };
    for (kind, content) in [(Kind::Key, key), (Kind::Secret, secret)] {
        vault.add_version(kind, name, true, Version { content, ..version.clone() });
    }
}

fn placeholder(random: &mut StdRng) -> String {
    let mut bytes = [0; 1800];
    random.fill_bytes(&mut bytes);
    STANDARD.encode(bytes)
}

pub(super) fn self_signed(policy: &Value, version: &Version) -> Vec<u8> {
    let mut params = params(policy);
    params.serial_number = Some(SerialNumber::from_slice(&version.id.to_be_bytes()));
    let date = |unix: Option<i64>| OffsetDateTime::from_unix_timestamp(unix.unwrap_or(version.created));
    if let (Ok(from), Ok(to)) = (date(version.not_before), date(version.expires)) {
        (params.not_before, params.not_after) = (from, to);
    }
    params.self_signed(key_pair()).expect("plain parameters and a good key make a certificate").der().to_vec()
}

fn signing_request(policy: &Value) -> String {
    let request = params(policy).serialize_request(key_pair()).expect("plain parameters and a good key make a request");
    STANDARD.encode(request.der())
}

fn params(policy: &Value) -> CertificateParams {
    let subject = policy["x509_props"]["subject"].as_str().unwrap_or_default();
    let common_name = subject.split_once('=').map_or(subject, |(_, name)| name);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// One key for all certificates: nobody uses it, and making keys is slow.
fn key_pair() -> &'static KeyPair {
    static KEY: OnceLock<KeyPair> = OnceLock::new();
    KEY.get_or_init(|| KeyPair::generate().expect("the random generator of the machine works"))
}

/// The first certificate of a PEM text. The Python client encodes such a text once more, as it does a PKCS #12 file.
fn from_pem(value: &str) -> Option<Vec<u8>> {
    let decoded = STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let text = decoded.as_deref().unwrap_or(value);
    let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).ok()
}
