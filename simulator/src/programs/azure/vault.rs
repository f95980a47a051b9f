//! The text form of a vault's options.

use std::str::FromStr;

use simulator::key_vault::{Delays, VaultOptions};

/// `NAME[,KEY=VALUE…]`.
#[derive(Clone)]
pub(super) struct VaultArgument(VaultOptions);

impl VaultArgument {
    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    pub(super) fn options(&self, delays: Delays) -> VaultOptions {
        VaultOptions { delays, ..self.0.clone() }
    }
}

impl FromStr for VaultArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default();
        // As Azure: 3 to 24 letters, digits and hyphens, beginning with a letter.
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !(3..=24).contains(&name.len()) || !plain || !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return Err(format!(
                "'{name}' is no vault name: 3 to 24 letters, digits and hyphens, beginning with a letter."
            ));
        }
        let mut options = VaultOptions { name: name.to_owned(), ..VaultOptions::default() };
        for part in parts {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("'{part}' is not KEY=VALUE."))?;
            match key {
                "subscription" => options.subscription = parse(key, value, "a GUID")?,
                "geography" => options.geography = value.to_owned(),
                "region" => options.region = value.to_owned(),
                "resourceGroup" => options.resource_group = value.to_owned(),
                "purgeProtection" => options.purge_protection = parse(key, value, "true or false")?,
                "retentionDays" => {
                    options.retention_days = parse(key, value, "a number of days")?;
                    if !(7..=90).contains(&options.retention_days) {
                        return Err(format!("retentionDays must be from 7 to 90, not {value}."));
                    }
                }
                "backupVersions" => options.backup_versions = parse(key, value, "a number")?,
                _ => {
                    return Err(format!(
                        "'{key}' is not known. Known are subscription, geography, region, resourceGroup, \
                         purgeProtection, retentionDays and backupVersions."
                    ));
                }
            }
        }
        Ok(Self(options))
    }
}

fn parse<T: FromStr>(key: &str, value: &str, wanted: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{key} must be {wanted}, not '{value}'."))
}

#[cfg(test)]
mod tests {
    use super::VaultArgument;

    #[test]
    fn every_option_is_read() {
        let vault: VaultArgument =
            "contoso,geography=Asia,purgeProtection=true,retentionDays=7,backupVersions=3".parse().expect("a vault");
        assert_eq!((vault.name(), vault.0.geography.as_str()), ("contoso", "Asia"));
        assert_eq!((vault.0.purge_protection, vault.0.retention_days, vault.0.backup_versions), (true, 7, 3));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, named) in [
            ("no", "vault name"),
            ("1abc", "vault name"),
            ("contoso,geography", "KEY=VALUE"),
            ("contoso,retentionDays=5", "from 7 to 90"),
            ("contoso,subscription=mine", "a GUID"),
            ("contoso,colour=blue", "'colour' is not known"),
        ] {
            let error = text.parse::<VaultArgument>().err().expect("a mistake");
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
