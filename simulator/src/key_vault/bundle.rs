//! What items look like on the wire: field names and their order are those of recorded answers.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    certificates,
    model::{Content, Deletion, Item, Kind, PublicKey, Tags, Version, hex32},
    options::VaultOptions,
    policy,
    vault::Vault,
};

/// One line of a list.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Row<'a> {
    Secret(SecretBody<'a>),
    Key(KeyRow<'a>),
    Certificate(CertificateRow<'a>),
}

/// A whole item, as get, set, delete, recover and restore answer it.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Bundle<'a> {
    Secret(SecretBody<'a>),
    Key(KeyBody<'a>),
    Certificate(Box<CertificateBody<'a>>),
}

#[derive(Serialize)]
pub(super) struct SecretBody<'a> {
    #[serde(flatten)]
    deleted: Option<Deleted>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(rename = "contentType", skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    managed: Option<bool>,
    attributes: Attributes,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<&'a Tags>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
}

#[derive(Serialize)]
pub(super) struct KeyRow<'a> {
    #[serde(flatten)]
    deleted: Option<Deleted>,
    kid: String,
    attributes: Attributes,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<&'a Tags>,
    #[serde(skip_serializing_if = "Option::is_none")]
    managed: Option<bool>,
}

#[derive(Serialize)]
pub(super) struct KeyBody<'a> {
    #[serde(flatten)]
    deleted: Option<Deleted>,
    key: WebKey<'a>,
    attributes: Attributes,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<&'a Tags>,
    #[serde(skip_serializing_if = "Option::is_none")]
    managed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    release_policy: Option<&'a Value>,
}

#[derive(Serialize)]
struct WebKey<'a> {
    kid: String,
    #[serde(flatten)]
    public: &'a PublicKey,
}

#[derive(Serialize)]
pub(super) struct CertificateRow<'a> {
    #[serde(flatten)]
    deleted: Option<Deleted>,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    x5t: Option<String>,
    attributes: Attributes,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<&'a Tags>,
    /// Empty whatever the subject is; absent where the row is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'static str>,
}

#[derive(Serialize)]
pub(super) struct CertificateBody<'a> {
    #[serde(flatten)]
    deleted: Option<Deleted>,
    id: String,
    #[serde(flatten)]
    finished: Option<Finished>,
    attributes: Attributes,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<&'a Tags>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending: Option<Value>,
}

/// What a certificate has once it is made.
#[derive(Serialize)]
struct Finished {
    kid: String,
    sid: String,
    x5t: String,
    cer: String,
}

#[derive(Serialize)]
struct Deleted {
    #[serde(rename = "recoveryId")]
    recovery_id: String,
    #[serde(rename = "deletedDate")]
    deleted_date: i64,
    #[serde(rename = "scheduledPurgeDate")]
    scheduled_purge_date: i64,
}

#[derive(Serialize)]
struct Attributes {
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    created: i64,
    updated: i64,
    #[serde(rename = "recoveryLevel", skip_serializing_if = "Option::is_none")]
    recovery_level: Option<&'static str>,
    #[serde(rename = "recoverableDays", skip_serializing_if = "Option::is_none")]
    recoverable_days: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exportable: Option<bool>,
}

/// A line of a list; with the version in the id in lists of versions only.
pub(super) fn row<'a>(vault: &Vault, kind: Kind, item: &'a Item, version: &'a Version, versioned: bool) -> Row<'a> {
    let options = &vault.options;
    let id = id(options, kind, &item.name, versioned.then_some(version.id));
    let deletion = item.deletion();
    let deleted = deletion.map(|it| deleted(options, kind, item, it));
    let attributes = attributes(options, version);
    let tags = version.tags.as_ref();
    match &version.content {
        Content::Secret { content_type, .. } => Row::Secret(SecretBody {
            deleted,
            value: None,
            content_type: content_type.as_deref(),
            id,
            managed: item.managed.then_some(true),
            attributes,
            tags,
            kid: None,
        }),
        Content::Key { .. } => {
            Row::Key(KeyRow { deleted, kid: id, attributes, tags, managed: item.managed.then_some(true) })
        }
        Content::Certificate { cer } => Row::Certificate(CertificateRow {
            id,
            x5t: (!cer.is_empty()).then(|| thumbprint(cer)),
            attributes: if deletion.is_some() { attributes } else { attributes.without_recovery() },
            tags,
            subject: deletion.is_none().then_some(""),
            deleted,
        }),
    }
}

/// A whole item. `with_value`: get and set answer a secret's value, everything else does not.
pub(super) fn bundle<'a>(
    vault: &Vault,
    kind: Kind,
    item: &'a Item,
    version: &'a Version,
    with_value: bool,
    deletion: Option<Deletion>,
) -> Bundle<'a> {
    let options = &vault.options;
    let id_of = |kind| id(options, kind, &item.name, Some(version.id));
    let deleted = deletion.map(|it| deleted(options, kind, item, it));
    let attributes = attributes(options, version);
    let tags = version.tags.as_ref();
    let managed = item.managed.then_some(true);
    match &version.content {
        Content::Secret { value, content_type } => Bundle::Secret(SecretBody {
            deleted,
            value: with_value.then_some(value),
            content_type: content_type.as_deref(),
            id: id_of(kind),
            managed,
            attributes,
            tags,
            kid: item.managed.then(|| id_of(Kind::Key)),
        }),
        Content::Key { public, release_policy, .. } => Bundle::Key(KeyBody {
            deleted,
            key: WebKey { kid: id_of(kind), public },
            attributes,
            tags,
            managed,
            release_policy: release_policy.as_ref(),
        }),
        Content::Certificate { cer } => Bundle::Certificate(Box::new(CertificateBody {
            deleted,
            id: id_of(kind),
            finished: (!cer.is_empty()).then(|| Finished {
                kid: id_of(Kind::Key),
                sid: id_of(Kind::Secret),
                x5t: thumbprint(cer),
                cer: STANDARD.encode(cer),
            }),
            attributes,
            tags,
            policy: policy(options, item),
            pending: item.pending.as_ref().map(|_| json!({"id": certificates::pending_id(options, &item.name)})),
        })),
    }
}

/// The policy of a certificate, with its id in front and its dates at the end.
pub(super) fn policy(options: &VaultOptions, item: &Item) -> Option<Value> {
    let policy = policy::without_nulls(item.policy.as_ref()?);
    let mut body = Map::new();
    body.insert("id".to_owned(), format!("{}/policy", id(options, Kind::Certificate, &item.name, None)).into());
    body.extend(policy.as_object()?.clone());
    let attributes = json!({"enabled": true, "created": item.policy_created, "updated": item.policy_updated});
    body.insert("attributes".to_owned(), attributes);
    Some(body.into())
}

/// `https://{vault}.vault.azure.net/{kind}/{name}[/{version}]`.
pub(super) fn id(options: &VaultOptions, kind: Kind, name: &str, version: Option<u128>) -> String {
    let base = format!("https://{}.vault.azure.net/{}/{name}", options.name, kind.plural());
    match version {
        Some(version) => format!("{base}/{version:032x}"),
        None => base,
    }
}

/// The version part of an id of this item, for messages.
pub(super) fn current_id(options: &VaultOptions, kind: Kind, item: &Item) -> String {
    format!("{}/{}", id(options, kind, &item.name, None), hex32(item.current().id))
}

/// SHA-1 of the certificate, as `x5t` has it.
fn thumbprint(cer: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, cer))
}

fn deleted(options: &VaultOptions, kind: Kind, item: &Item, deletion: Deletion) -> Deleted {
    Deleted {
        recovery_id: format!("https://{}.vault.azure.net/deleted{}/{}", options.name, kind.plural(), item.name),
        deleted_date: deletion.at,
        scheduled_purge_date: deletion.scheduled_purge,
    }
}

fn attributes(options: &VaultOptions, version: &Version) -> Attributes {
    Attributes {
        enabled: version.enabled,
        nbf: version.not_before,
        exp: version.expires,
        created: version.created,
        updated: version.updated,
        recovery_level: Some(match (options.retention_days < 90, options.purge_protection) {
            (true, false) => "CustomizedRecoverable+Purgeable",
            (true, true) => "CustomizedRecoverable",
            (false, false) => "Recoverable+Purgeable",
            (false, true) => "Recoverable",
        }),
        recoverable_days: Some(options.retention_days),
        exportable: match version.content {
            Content::Key { exportable, .. } => exportable,
            _ => None,
        },
    }
}

impl Attributes {
    fn without_recovery(self) -> Self {
        Self { recovery_level: None, recoverable_days: None, ..self }
    }
}
