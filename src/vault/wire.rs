//! What the listings of Key Vault look like, the same for the three kinds (recorded exchanges, api-version 2025-07-01).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Listed;
use crate::model::{Attributes, ItemId, ItemName, Kind, Timestamp};

/// The items on a page of `/secrets`, `/keys`, `/certificates` or of their deleted twins. Rows whose name this program
/// would not write are an error: an item that is not understood must not be passed over in silence.
pub(super) fn listed(kind: Kind, page: &[u8]) -> Result<Vec<Listed>, serde_json::Error> {
    rows(page)?
        .into_iter()
        .map(|row| {
            let (name, _) = row.name_and_version()?;
            Ok(Listed { item: ItemId { kind, name }, managed: row.managed, attributes: row.attributes(kind) })
        })
        .collect()
}

/// The recovery level of the first item on a page that tells one.
pub(super) fn recovery_level(page: &[u8]) -> Result<Option<Box<str>>, serde_json::Error> {
    Ok(rows(page)?.into_iter().find_map(|row| row.attributes.recovery_level))
}

/// The versions on a page of `/KIND/NAME/versions`.
pub(super) fn versions(kind: Kind, page: &[u8]) -> Result<Vec<(Box<str>, Attributes)>, serde_json::Error> {
    rows(page)?
        .into_iter()
        .map(|row| {
            let (_, version) = row.name_and_version()?;
            let version = version.ok_or_else(|| serde::de::Error::custom("a version without an id"))?;
            Ok((version, row.attributes(kind)))
        })
        .collect()
}

/// What the answer of a GET or a restore says of the current version.
pub(super) struct Bundle {
    pub(super) version: Option<Box<str>>,
    pub(super) recovery_level: Option<Box<str>>,
}

/// Reads a key, certificate or secret bundle. A value that it may hold is passed over unread.
pub(super) fn bundle(text: &[u8]) -> Result<Bundle, serde_json::Error> {
    #[derive(Deserialize)]
    struct Text {
        id: Option<String>,
        key: Option<Key>,
        #[serde(default)]
        attributes: RowAttributes,
    }
    #[derive(Deserialize)]
    struct Key {
        kid: String,
    }
    let text: Text = serde_json::from_slice(text)?;
    let id = text.key.map(|key| key.kid).or(text.id);
    Ok(Bundle {
        version: id.and_then(|id| split(&id).and_then(|(_, version)| version.map(Into::into))),
        recovery_level: text.attributes.recovery_level,
    })
}

#[derive(Deserialize)]
struct Page {
    /// Must be there: an answer without it is not an empty vault.
    value: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(alias = "kid")]
    id: String,
    #[serde(default)]
    attributes: RowAttributes,
    #[serde(rename = "contentType")]
    content_type: Option<Box<str>>,
    tags: Option<BTreeMap<Box<str>, Box<str>>>,
    #[serde(default)]
    managed: bool,
    x5t: Option<Box<str>>,
}

#[derive(Default, Deserialize)]
struct RowAttributes {
    enabled: Option<bool>,
    created: Option<i64>,
    updated: Option<i64>,
    nbf: Option<i64>,
    exp: Option<i64>,
    #[serde(rename = "recoveryLevel")]
    recovery_level: Option<Box<str>>,
}

fn rows(page: &[u8]) -> Result<Vec<Row>, serde_json::Error> {
    Ok(serde_json::from_slice::<Page>(page)?.value)
}

impl Row {
    fn name_and_version(&self) -> Result<(ItemName, Option<Box<str>>), serde_json::Error> {
        let (name, version) = split(&self.id).ok_or_else(|| serde::de::Error::custom("an id that names no item"))?;
        let name = name.parse().map_err(serde::de::Error::custom)?;
        Ok((name, version.map(Into::into)))
    }

    fn attributes(self, kind: Kind) -> Attributes {
        let moment = |seconds: Option<i64>| seconds.map(Timestamp::from_unix);
        let RowAttributes { enabled, created, updated, nbf, exp, .. } = self.attributes;
        Attributes {
            enabled: enabled.unwrap_or(true),
            created: Timestamp::from_unix(created.unwrap_or_default()),
            updated: Timestamp::from_unix(updated.unwrap_or_default()),
            not_before: moment(nbf),
            expires: moment(exp),
            content_type: self.content_type.filter(|_| kind == Kind::Secrets),
            thumbprint: self.x5t,
            tags: self.tags.unwrap_or_default(),
        }
    }
}

/// Name and version of `https://HOST/KIND/NAME[/VERSION]`.
fn split(id: &str) -> Option<(&str, Option<&str>)> {
    let path = id.strip_prefix("https://")?.split_once('/')?.1;
    let mut segments = path.split('/');
    let _kind = segments.next()?;
    let name = segments.next().filter(|name| !name.is_empty())?;
    Some((name, segments.next().filter(|version| !version.is_empty())))
}
