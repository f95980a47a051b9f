//! Creating, importing and updating keys.
//!
//! The public halves of created keys are random bytes of the right length: no key of this simulator can be used for
//! cryptography, and operations that would use one are refused as unknown.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{RngCore as _, rngs::StdRng};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    answer::{Answer, Outcome},
    body::{self, Attributes},
    bundle::bundle,
    items,
    model::{Content, Kind, Operation, PublicKey, Tags, Verb, Version},
    refusal::Refusal,
    route::Route,
    vault::Vault,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    kty: String,
    key_size: Option<u32>,
    #[expect(dead_code, reason = "every exponent is shown as 65537")]
    public_exponent: Option<u32>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    attributes: Option<Attributes>,
    tags: Option<Tags>,
    release_policy: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Import {
    #[serde(rename = "Hsm", alias = "hsm")]
    hsm: Option<bool>,
    key: ImportedKey,
    attributes: Option<Attributes>,
    tags: Option<Tags>,
    release_policy: Option<Value>,
}

/// A JSON web key. Of the private half only a fingerprint is kept.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ImportedKey {
    #[serde(skip_serializing)]
    #[expect(dead_code, reason = "the service gives the key an id of its own")]
    kid: Option<String>,
    kty: String,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<String>,
    dp: Option<String>,
    dq: Option<String>,
    qi: Option<String>,
    p: Option<String>,
    q: Option<String>,
    k: Option<String>,
    key_hsm: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    key_ops: Option<Vec<String>>,
    attributes: Option<Attributes>,
    tags: Option<Tags>,
    release_policy: Option<Value>,
}

pub(super) fn create(vault: &mut Vault, route: &Route, body: &[u8], now: i64) -> Outcome {
    let body: Create = body::read(route.operation, body)?;
    items::may_create(vault, Kind::Key, &route.name, "create")?;
    let mut public = random_key(&mut vault.random, &body.kty, body.key_size, body.crv.as_deref())?;
    if let Some(key_ops) = body.key_ops.filter(|it| !it.is_empty()) {
        public.key_ops = key_ops;
    }
    let mut fingerprint = [0; 32];
    vault.random.fill_bytes(&mut fingerprint);
    let attributes = body.attributes.unwrap_or_default();
    let exportable = Some(attributes.exportable.unwrap_or(false));
    let content = Content::Key { public, exportable, release_policy: body.release_policy, fingerprint };
    add(vault, route, content, &attributes, body.tags, now)
}

pub(super) fn import(vault: &mut Vault, route: &Route, body: &[u8], now: i64) -> Outcome {
    let body: Import = body::read(route.operation, body)?;
    items::may_create(vault, Kind::Key, &route.name, "import")?;
    let fingerprint = Sha256::digest(serde_json::to_vec(&body.key).expect("a key is plain data")).into();
    let key = body.key;
    let hsm = body.hsm.unwrap_or(false) && !key.kty.ends_with("-HSM");
    let public = Box::new(PublicKey {
        key_ops: key.key_ops.filter(|it| !it.is_empty()).unwrap_or_else(|| operations(&key.kty)),
        kty: if hsm { format!("{}-HSM", key.kty) } else { key.kty },
        n: key.n,
        e: key.e,
        crv: key.crv,
        x: key.x,
        y: key.y,
    });
    let attributes = body.attributes.unwrap_or_default();
    let exportable = Some(attributes.exportable.unwrap_or(false));
    let content = Content::Key { public, exportable, release_policy: body.release_policy, fingerprint };
    add(vault, route, content, &attributes, body.tags, now)
}

pub(super) fn update(vault: &mut Vault, route: &Route, body: &[u8], now: i64) -> Outcome {
    let body: Update = body::read(route.operation, body)?;
    items::own_item(vault, route, "update")?;
    let missing = || Refusal::not_found(Kind::Key, &route.name);
    let item = vault.active_mut(Kind::Key, &route.name).ok_or_else(missing)?;
    let version = item.version_mut(route.version).ok_or_else(missing)?;
    body::update(version, body.attributes.as_ref(), body.tags, now);
    if let Content::Key { public, release_policy, .. } = &mut version.content {
        public.key_ops = body.key_ops.unwrap_or(std::mem::take(&mut public.key_ops));
        *release_policy = body.release_policy.or(release_policy.take());
    }
    let item = vault.active(Kind::Key, &route.name).ok_or_else(missing)?;
    let version = item.version(route.version).ok_or_else(missing)?;
    Answer::ok(&bundle(vault, Kind::Key, item, version, false, None))
}

fn add(
    vault: &mut Vault,
    route: &Route,
    content: Content,
    attributes: &Attributes,
    tags: Option<Tags>,
    now: i64,
) -> Outcome {
    let mut version = Version::new(vault.new_id(), now, content);
    attributes.apply(&mut version);
    version.tags = tags;
    vault.add_version(Kind::Key, &route.name, false, version);
    let item = vault.active(Kind::Key, &route.name).expect("it was put there in the line above");
    Answer::ok(&bundle(vault, Kind::Key, item, item.current(), false, None))
}

/// A key whose numbers mean nothing. Sizes default as the service's do: 2048 bits, P-256.
pub(super) fn random_key(
    random: &mut StdRng,
    kty: &str,
    size: Option<u32>,
    crv: Option<&str>,
) -> Result<Box<PublicKey>, Refusal> {
    let mut number = |bytes: usize| {
        let mut number = vec![0; bytes];
        random.fill_bytes(&mut number);
        number[0] |= 0x80;
        Some(URL_SAFE_NO_PAD.encode(number))
    };
    let mut key = Box::new(PublicKey {
        kty: kty.to_owned(),
        key_ops: operations(kty),
        n: None,
        e: None,
        crv: None,
        x: None,
        y: None,
    });
    match kty.trim_end_matches("-HSM") {
        "RSA" => {
            let bits = size.unwrap_or(2048);
            if ![2048, 3072, 4096].contains(&bits) {
                return Err(Refusal::bad_parameter("The property \"key_size\" is not 2048, 3072 or 4096."));
            }
            key.n = number(bits as usize / 8);
            key.e = Some("AQAB".to_owned());
        }
        "EC" => {
            let crv = crv.unwrap_or("P-256");
            let bytes = match crv {
                "P-256" | "P-256K" => 32,
                "P-384" => 48,
                "P-521" => 66,
                _ => return Err(Refusal::bad_parameter("The property \"crv\" names a curve that is not known.")),
            };
            key.crv = Some(crv.to_owned());
            key.x = number(bytes);
            key.y = number(bytes);
        }
        "oct" if kty == "oct-HSM" => {}
        _ => return Err(Refusal::bad_parameter("The property \"kty\" names a type of key that is not known.")),
    }
    Ok(key)
}

fn operations(kty: &str) -> Vec<String> {
    let operations: &[&str] = match kty.trim_end_matches("-HSM") {
        "EC" => &["sign", "verify"],
        "oct" => &["encrypt", "decrypt", "wrapKey", "unwrapKey"],
        _ => &["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"],
    };
    operations.iter().map(|&it| it.to_owned()).collect()
}

/// Whether the request makes a key in an HSM; such requests have a lower limit.
pub(super) fn wants_hsm(operation: Operation, body: &[u8]) -> bool {
    operation == Operation::new(Kind::Key, Verb::Create) && body.windows(5).any(|it| it == b"-HSM\"")
}
