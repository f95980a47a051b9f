//! What requests may carry. A field that is not listed here is refused loudly.

use serde::{Deserialize, de::DeserializeOwned};

use super::{
    model::{Operation, Tags, Version},
    refusal::Refusal,
};

/// Reads a request body. The message never quotes a value.
pub(super) fn read<T: DeserializeOwned>(operation: Operation, body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        match text.split_once(',').filter(|(what, _)| what.starts_with("unknown field")) {
            Some((what, _)) => Refusal::unknown(format_args!("the {what} in the body of {operation}")),
            None => Refusal::bad_parameter(format!(
                "The body of {operation} cannot be understood at line {}, column {}.",
                error.line(),
                error.column()
            )),
        }
    })
}

/// The body of a restore.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Restore {
    pub(super) value: String,
}

/// Attributes as callers send them: what is null or absent stays as it is.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Attributes {
    enabled: Option<bool>,
    nbf: Option<i64>,
    exp: Option<i64>,
    pub(super) exportable: Option<bool>,
}

impl Attributes {
    pub(super) fn apply(&self, version: &mut Version) {
        version.enabled = self.enabled.unwrap_or(version.enabled);
        version.not_before = self.nbf.or(version.not_before);
        version.expires = self.exp.or(version.expires);
    }
}

/// Sets attributes and tags of a version, as updates do.
pub(super) fn update(version: &mut Version, attributes: Option<&Attributes>, tags: Option<Tags>, now: i64) {
    if let Some(attributes) = attributes {
        attributes.apply(version);
    }
    version.tags = tags.or(version.tags.take());
    version.updated = now;
}
