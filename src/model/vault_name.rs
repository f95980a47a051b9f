//! Names of vaults, and the URIs that are taken for them.

use std::{fmt, str::FromStr};

use serde::Serialize;

use super::Cloud;
use crate::error::{Error, ErrorKind, Result};

/// The name of a vault: 3 to 24 letters, digits and hyphens, in lower case here because Azure ignores case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct VaultName(String);

impl VaultName {
    /// Reads a vault's name or its URI. A URI must belong to `cloud`: no token is ever sent anywhere else.
    pub fn parse(text: &str, cloud: Cloud) -> Result<Self> {
        if !text.contains(['/', '.', ':']) {
            return text.parse();
        }
        let refuse = |why: &str| {
            Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "{text:?} is not the URI of a vault: {why}. Write the vault's name, or https://NAME.{}.",
                    cloud.vault_suffix()
                ),
            ))
        };
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let Ok(url) = url::Url::parse(&with_scheme) else { return refuse("it cannot be read as a URI") };
        let host = url.host_str().unwrap_or_default();
        let plain = url.username().is_empty()
            && url.password().is_none()
            && url.port().is_none()
            && matches!(url.path(), "" | "/")
            && url.query().is_none()
            && url.fragment().is_none();
        if url.scheme() != "https" {
            return refuse("it does not begin with https://");
        }
        if host.ends_with(".managedhsm.azure.net") {
            return refuse("it is a Managed HSM, which has a whole backup of its own and is not supported here");
        }
        let Some(name) = host.strip_suffix(cloud.vault_suffix()).and_then(|name| name.strip_suffix('.')) else {
            return refuse(&format!("its host does not end with .{}", cloud.vault_suffix()));
        };
        if !plain {
            return refuse("it holds more than a host name");
        }
        name.parse()
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `https://NAME.vault.azure.net` in the given cloud.
    pub fn uri(&self, cloud: Cloud) -> String {
        format!("https://{}.{}", self.0, cloud.vault_suffix())
    }
}

impl FromStr for VaultName {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let sound = (3..=24).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && text.as_bytes()[0].is_ascii_alphabetic()
            && !text.ends_with('-')
            && !text.contains("--");
        if sound {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "{text:?} is not a vault name: it has 3 to 24 letters, digits and single hyphens, begins with a \
                 letter and does not end with a hyphen."
            ),
        ))
    }
}

impl fmt::Display for VaultName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
