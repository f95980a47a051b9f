//! Setting and updating secrets.

use serde::Deserialize;

use super::{
    answer::{Answer, Outcome},
    body::{self, Attributes},
    bundle::bundle,
    items,
    model::{Content, Kind, Tags, Version},
    refusal::Refusal,
    route::Route,
    vault::Vault,
};

/// The longest secret value that Azure takes, in bytes (service limits: 25 KB).
const LONGEST_VALUE: usize = 25 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    value: String,
    #[serde(rename = "contentType")]
    content_type: Option<String>,
    attributes: Option<Attributes>,
    tags: Option<Tags>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    #[serde(rename = "contentType")]
    content_type: Option<String>,
    attributes: Option<Attributes>,
    tags: Option<Tags>,
}

pub(super) fn set(vault: &mut Vault, route: &Route, body: &[u8], now: i64) -> Outcome {
    let body: Set = body::read(route.operation, body)?;
    items::may_create(vault, Kind::Secret, &route.name, "set")?;
    if body.value.len() > LONGEST_VALUE {
        // The text is assumed.
        return Err(Refusal::bad_parameter("The secret value is longer than the 25600 bytes that are allowed."));
    }
    let content = Content::Secret { value: body.value, content_type: body.content_type };
    let mut version = Version::new(vault.new_id(), now, content);
    body.attributes.unwrap_or_default().apply(&mut version);
    version.tags = body.tags;
    vault.add_version(Kind::Secret, &route.name, false, version);
    let item = vault.active(Kind::Secret, &route.name).expect("it was put there in the line above");
    Answer::ok(&bundle(vault, Kind::Secret, item, item.current(), true, None))
}

pub(super) fn update(vault: &mut Vault, route: &Route, body: &[u8], now: i64) -> Outcome {
    let body: Update = body::read(route.operation, body)?;
    items::own_item(vault, route, "update")?;
    let missing = || Refusal::not_found(Kind::Secret, &route.name);
    let item = vault.active_mut(Kind::Secret, &route.name).ok_or_else(missing)?;
    let version = item.version_mut(route.version).ok_or_else(missing)?;
    body::update(version, body.attributes.as_ref(), body.tags, now);
    if let (Content::Secret { content_type, .. }, Some(new)) = (&mut version.content, body.content_type) {
        *content_type = Some(new);
    }
    let item = vault.active(Kind::Secret, &route.name).ok_or_else(missing)?;
    let version = item.version(route.version).ok_or_else(missing)?;
    Answer::ok(&bundle(vault, Kind::Secret, item, version, false, None))
}
