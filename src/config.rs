//! Settings: flags and environment variables of the same meaning, read in this file only. Every mistake is reported at
//! once, each with the setting's name and the remedy.

mod app;
pub mod connect;
mod measured;
mod settings;
mod tool;

use std::{path::PathBuf, time::Duration};

use url::Url;
use uuid::Uuid;

pub use self::{
    app::{AppAccess, AppSettings},
    settings::Settings,
};
use crate::{
    error::{Error, ErrorKind, Result},
    guard,
    model::{Cloud, VaultName, did_you_mean, filter::ItemFilter},
    retention::Policy,
    vault::pacing::{DEFAULT_REQUESTS_PER_SECOND, VAULTS_PER_SUBSCRIPTION},
};

/// Seconds.
const HOUR: u64 = 3600;

/// Seconds.
const DAY: u64 = 24 * HOUR;

/// The settings as they are meant.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cloud that all vaults and stores are in.
    pub cloud: Cloud,
    /// The vaults in scope of the timer.
    pub vaults: Vec<VaultName>,
    /// The items in scope.
    pub filter: ItemFilter,
    /// Where backups are.
    pub backups: Location,
    /// Where leases and records are.
    pub state: Location,
    /// How long an unchanged item is carried over.
    pub full_every: Duration,
    /// Requests per second to one vault.
    pub requests_per_second: f64,
    /// Requests per second to all vaults together.
    pub total_requests_per_second: f64,
    /// Items at once.
    pub concurrency: usize,
    /// Where restores may go.
    pub restore_targets: Vec<VaultName>,
    /// Which backups are kept; `None` keeps all.
    pub keep: Option<Policy>,
    /// How long the backup container protects a blob from its creation, if it does.
    pub immutable_for: Option<Duration>,
    /// When the guard trips.
    pub guard: guard::Limits,
    /// Where drills restore.
    pub drill_vault: Option<VaultName>,
    /// How many items a drill restores; `None` means all.
    pub drill_sample: Option<usize>,
    /// How old the newest good backup of a vault may be.
    pub max_age: Duration,
    /// The identity that backs up.
    pub backup_identity: Option<Uuid>,
    /// The identity that restores.
    pub restore_identity: Option<Uuid>,
    /// The identity that prunes.
    pub prune_identity: Option<Uuid>,
}

/// The place of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A blob container.
    Container(Url),
    /// A folder.
    Folder(PathBuf),
}

impl Config {
    /// Reads the settings, or says everything that is wrong with them.
    pub fn read(settings: &Settings) -> Result<Self, Vec<Error>> {
        let mut mistakes = Vec::new();
        let mut reader = Reader { mistakes: &mut mistakes };
        let cloud = reader.one("AZURE_CLOUD", &settings.azure_cloud, str::parse).unwrap_or_default();
        let vaults = |text: &str| {
            let mut vaults = list(text).map(|name| VaultName::parse(name, cloud)).collect::<Result<Vec<_>>>()?;
            vaults.sort_unstable();
            vaults.dedup();
            Ok(vaults)
        };
        let name = settings.backup_store_flag.unwrap_or("BACKUP_STORE_URL");
        let backups = reader.one(name, &settings.backup_store_url, |text| Location::parse(text, cloud));
        if present(&settings.backup_store_url).is_none() {
            let message = format!(
                "{name} is not set. Set it to the URL of a blob container, such as \
                 https://ACCOUNT.blob.core.windows.net/keyvault-backups, or of a folder, such as file:///mnt/backups."
            );
            reader.mistakes.push(Error::invalid(name, message));
        }
        let state = reader
            .one("STATE_STORE_URL", &settings.state_store_url, |text| Location::parse(text, cloud))
            .or_else(|| backups.as_ref().map(Location::beside));
        if backups.is_some() && backups == state {
            reader.mistakes.push(Error::invalid(
                "STATE_STORE_URL",
                "STATE_STORE_URL is the same place as BACKUP_STORE_URL. Backups may be locked against any change, state \
                 must change: use two containers.",
            ));
        }
        let requests_per_second = reader
            .one("BACKUP_REQUESTS_PER_SECOND", &settings.backup_requests_per_second, rate)
            .unwrap_or(DEFAULT_REQUESTS_PER_SECOND);
        let mut config = Self {
            cloud,
            vaults: reader.one("BACKUP_VAULTS", &settings.backup_vaults, vaults).unwrap_or_default(),
            filter: reader
                .one("BACKUP_ITEMS", &settings.backup_items, |text| ItemFilter::new(list(text)))
                .unwrap_or_default(),
            full_every: reader
                .one("BACKUP_FULL_EVERY_DAYS", &settings.backup_full_every_days, |text| number(text, 1.0, 365.0))
                .map_or(Duration::from_secs(7 * DAY), |days| Duration::from_secs_f64(days * DAY as f64)),
            requests_per_second,
            total_requests_per_second: reader
                .one("BACKUP_TOTAL_REQUESTS_PER_SECOND", &settings.backup_total_requests_per_second, rate)
                .unwrap_or(VAULTS_PER_SUBSCRIPTION * requests_per_second),
            concurrency: reader
                .one("BACKUP_CONCURRENCY", &settings.backup_concurrency, |text| whole_number(text, 1, 256))
                .unwrap_or(16),
            restore_targets: reader
                .one("RESTORE_TARGET_VAULTS", &settings.restore_target_vaults, vaults)
                .unwrap_or_default(),
            keep: reader.one("BACKUP_KEEP", &settings.backup_keep, str::parse),
            immutable_for: None,
            guard: guard::Limits {
                deleted_percent: reader
                    .one("GUARD_DELETED_PERCENT", &settings.guard_deleted_percent, |text| number(text, 0.0, 100.0))
                    .unwrap_or(guard::DEFAULT_PERCENT),
                disabled_percent: reader
                    .one("GUARD_DISABLED_PERCENT", &settings.guard_disabled_percent, |text| number(text, 0.0, 100.0))
                    .unwrap_or(guard::DEFAULT_PERCENT),
            },
            drill_vault: reader.one("DRILL_VAULT", &settings.drill_vault, |text| VaultName::parse(text, cloud)),
            drill_sample: reader.one("DRILL_SAMPLE", &settings.drill_sample, |text| whole_number(text, 1, 1_000_000)),
            max_age: reader
                .one("STATUS_MAX_AGE_HOURS", &settings.status_max_age_hours, |text| number(text, 1.0, 10_000.0))
                .map_or(Duration::from_secs(26 * HOUR), |hours| Duration::from_secs_f64(hours * HOUR as f64)),
            backup_identity: reader.one("BACKUP_IDENTITY_CLIENT_ID", &settings.backup_identity_client_id, client_id),
            restore_identity: reader.one("RESTORE_IDENTITY_CLIENT_ID", &settings.restore_identity_client_id, client_id),
            prune_identity: reader.one("PRUNE_IDENTITY_CLIENT_ID", &settings.prune_identity_client_id, client_id),
            // Only used when there is no mistake, and then both are there.
            backups: backups.unwrap_or_else(|| Location::Folder(PathBuf::new())),
            state: state.unwrap_or_else(|| Location::Folder(PathBuf::new())),
        };
        config.immutable_for = reader
            .one("BACKUP_IMMUTABLE_DAYS", &settings.backup_immutable_days, |text| number(text, 1.0, 146_000.0))
            .map(|days| Duration::from_secs_f64(days * DAY as f64));
        config.check_together(reader.mistakes);
        if mistakes.is_empty() { Ok(config) } else { Err(mistakes) }
    }

    /// What is wrong with settings that are right one by one.
    fn check_together(&self, mistakes: &mut Vec<Error>) {
        // Immutability counts from the creation of a blob, and a blob is carried over for the full interval.
        if self.immutable_for.is_some_and(|period| period <= self.full_every) {
            mistakes.push(Error::invalid(
                "BACKUP_FULL_EVERY_DAYS",
                "BACKUP_FULL_EVERY_DAYS is not below BACKUP_IMMUTABLE_DAYS, so newer backups would rely on blobs that are \
                 no longer protected. Lower it, or lengthen the container's immutability period.",
            ));
        }
        if let Some(drill) = self.drill_vault.as_ref().filter(|drill| self.vaults.contains(drill)) {
            let message = format!(
                "DRILL_VAULT is {drill}, which BACKUP_VAULTS names too. A drill deletes what it has restored: give it a \
                 vault of its own that holds nothing else."
            );
            mistakes.push(Error::invalid("DRILL_VAULT", message));
        }
    }

    /// Where the backups and the state of another repository are, by the URL of its backups, which `flag` gives.
    pub fn other_repository(&self, flag: &str, url: &str) -> Result<[Location; 2]> {
        let backups = Location::parse(url.trim(), self.cloud)
            .map_err(|error| Error::invalid(flag, format!("{flag} is wrong: {}", error.message())))?;
        let state = backups.beside();
        if [&backups, &state].into_iter().any(|place| [&self.backups, &self.state].contains(&place)) {
            let message = format!(
                "{flag} is {}, which is the place of the repository itself, or of its state. Choose another.",
                url.trim()
            );
            return Err(Error::invalid(flag, message));
        }
        Ok([backups, state])
    }

    /// Checks that restores may go into this vault.
    pub fn check_restore_target(&self, target: &VaultName) -> Result<()> {
        if self.restore_targets.contains(target) {
            return Ok(());
        }
        let allowed = if self.restore_targets.is_empty() {
            "it allows none".to_owned()
        } else {
            let names: Vec<&str> = self.restore_targets.iter().map(VaultName::as_str).collect();
            format!("it allows {}", names.join(", "))
        };
        let meant = did_you_mean(target.as_str(), self.restore_targets.iter().map(VaultName::as_str));
        let message = format!(
            "Vault {target} may not be restored into: RESTORE_TARGET_VAULTS does not name it ({allowed}). Add it there if \
             that is what you want.{meant}"
        );
        Err(Error::new(ErrorKind::Forbidden, message).at("targetVault"))
    }
}

impl Location {
    fn parse(text: &str, cloud: Cloud) -> Result<Self> {
        let refuse = |why: &str| Err(Error::new(ErrorKind::InvalidInput, format!("{text:?} cannot be used: {why}.")));
        let Ok(mut url) = Url::parse(text) else {
            return refuse("it is not a URL; write https://ACCOUNT.blob.core.windows.net/CONTAINER or file:///FOLDER");
        };
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            // The text itself may hold a signature, so it is not repeated.
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "The URL holds a user, a query or a fragment, such as a signature. Give the plain URL of the container; \
                 access is by managed identity.",
            ));
        }
        if url.scheme() == "file" {
            return match url.to_file_path() {
                Ok(path) if path.is_absolute() => Ok(Self::Folder(path)),
                _ => refuse("it does not name a folder of this machine; write file:///FOLDER with three slashes"),
            };
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        let emulator = matches!(host.as_str(), "127.0.0.1" | "localhost" | "[::1]");
        let azure = host.strip_suffix(cloud.blob_suffix()).is_some_and(|account| account.ends_with('.'));
        if url.scheme() != "https" {
            return refuse("it begins neither with https:// nor with file://");
        }
        if !emulator && !azure {
            return refuse(&format!(
                "its host does not end with .{}, and tokens are sent nowhere else",
                cloud.blob_suffix()
            ));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        // The emulator has the account's name in the path.
        let depth = if emulator { 2 } else { 1 };
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let container = segments.last().copied().unwrap_or_default();
        let sound = segments.len() == depth
            && (3..=63).contains(&container.len())
            && container.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if !sound {
            return refuse("its path is not the name of a container (3 to 63 lower-case letters, digits and hyphens)");
        }
        Ok(Self::Container(url))
    }

    /// The place of the state that belongs to these backups, unless a setting says otherwise.
    fn beside(&self) -> Self {
        match self {
            Self::Container(url) => {
                let mut url = url.clone();
                let path = format!("{}-state", url.path());
                url.set_path(&path);
                Self::Container(url)
            }
            Self::Folder(path) => {
                let mut name = path.clone().into_os_string();
                name.push("-state");
                Self::Folder(name.into())
            }
        }
    }
}

/// Parses settings one by one and gathers what is wrong.
struct Reader<'a> {
    mistakes: &'a mut Vec<Error>,
}

impl Reader<'_> {
    fn one<T>(&mut self, name: &str, value: &Option<String>, parse: impl Fn(&str) -> Result<T>) -> Option<T> {
        match parse(present(value)?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.mistakes.push(Error::invalid(name, format!("{name} is wrong: {}", error.message())));
                None
            }
        }
    }
}

fn present(value: &Option<String>) -> Option<&str> {
    value.as_deref().map(str::trim).filter(|value| !value.is_empty())
}

/// The parts of a list, which commas, semicolons or white space separate.
pub fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ';', ' ', '\n', '\t']).map(str::trim).filter(|part| !part.is_empty())
}

fn number(text: &str, least: f64, most: f64) -> Result<f64> {
    match text.parse::<f64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => {
            let message = format!("{text:?} is not a number from {least} to {most}.");
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
    }
}

fn rate(text: &str) -> Result<f64> {
    number(text, 0.1, 100_000.0)
}

fn whole_number(text: &str, least: usize, most: usize) -> Result<usize> {
    match text.parse::<usize>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => {
            let message = format!("{text:?} is not a whole number from {least} to {most}.");
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
    }
}

fn client_id(text: &str) -> Result<Uuid> {
    text.parse().map_err(|cause| {
        let message =
            format!("{text:?} is not a client id; it is a GUID such as 00000000-0000-0000-0000-000000000000.");
        Error::new(ErrorKind::InvalidInput, message).because(cause)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(store: &str) -> Settings {
        Settings { backup_store_url: Some(store.into()), ..Default::default() }
    }

    #[test]
    fn every_mistake_is_reported_at_once_and_by_name() {
        let settings = Settings {
            backup_vaults: Some("contoso, x".into()),
            backup_items: Some("db-*".into()),
            backup_full_every_days: Some("0".into()),
            backup_concurrency: Some("many".into()),
            restore_target_vaults: Some("https://contoso.vault.evil.example".into()),
            backup_identity_client_id: Some("me".into()),
            azure_cloud: Some("moon".into()),
            ..Default::default()
        };
        let mistakes = Config::read(&settings).unwrap_err();
        let named: Vec<&str> = mistakes.iter().filter_map(Error::target).collect();
        assert_eq!(
            named,
            [
                "AZURE_CLOUD",
                "BACKUP_STORE_URL",
                "BACKUP_VAULTS",
                "BACKUP_ITEMS",
                "BACKUP_FULL_EVERY_DAYS",
                "BACKUP_CONCURRENCY",
                "RESTORE_TARGET_VAULTS",
                "BACKUP_IDENTITY_CLIENT_ID"
            ]
        );
    }

    #[test]
    fn the_state_is_kept_beside_the_backups() {
        let config = Config::read(&settings("https://contoso.blob.core.windows.net/backups/")).unwrap();
        let url = "https://contoso.blob.core.windows.net/backups-state".parse().unwrap();
        assert_eq!(config.state, Location::Container(url));
        let config = Config::read(&settings("file:///mnt/backups")).unwrap();
        assert_eq!(config.state, Location::Folder("/mnt/backups-state".into()));
    }

    #[test]
    fn tokens_for_storage_go_to_azure_or_the_emulator_only() {
        for url in [
            "https://contoso.blob.core.windows.net.evil.example/backups",
            "https://evil.example/backups",
            "http://contoso.blob.core.windows.net/backups",
            "https://contoso.blob.core.windows.net/",
            "https://contoso.blob.core.windows.net/a/b",
            "https://user:word@contoso.blob.core.windows.net/backups",
            "file://server/share",
            "backups",
        ] {
            assert_eq!(Config::read(&settings(url)).unwrap_err()[0].target(), Some("BACKUP_STORE_URL"), "{url}");
        }
        let signed = settings("https://contoso.blob.core.windows.net/backups?sig=canary");
        assert!(!Config::read(&signed).unwrap_err()[0].message().contains("canary"));
        assert!(Config::read(&settings("https://127.0.0.1:10000/devstoreaccount1/backups")).is_ok());
    }

    #[test]
    fn restores_go_only_where_they_are_allowed() {
        let mut settings = settings("file:///mnt/backups");
        let target: VaultName = "contoso-dr".parse().unwrap();
        let refused = Config::read(&settings).unwrap().check_restore_target(&target).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Forbidden);
        settings.restore_target_vaults = Some("https://contoso-dr.vault.azure.net/".into());
        assert!(Config::read(&settings).unwrap().check_restore_target(&target).is_ok());
    }
}
