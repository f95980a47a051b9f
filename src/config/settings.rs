//! The settings as they were typed: flags and environment variables of the same meaning.

use clap::Args;

/// The settings as they were typed.
///
/// An empty environment variable counts as absent: that is how app settings are switched off in Azure.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Settings")]
pub struct Settings {
    /// Vaults to back up: names or URIs, separated by commas.
    #[arg(long, global = true, env = "BACKUP_VAULTS", value_name = "VAULTS", hide_env_values = true)]
    pub backup_vaults: Option<String>,
    /// Items to back up: patterns such as secrets/db-* or !keys/tmp-*, separated by commas [default: all].
    #[arg(long, global = true, env = "BACKUP_ITEMS", value_name = "PATTERNS", hide_env_values = true)]
    pub backup_items: Option<String>,
    /// Where backups are kept: the URL of a blob container, or of a folder such as file:///mnt/backups.
    #[arg(long, global = true, env = "BACKUP_STORE_URL", value_name = "URL", hide_env_values = true)]
    pub backup_store_url: Option<String>,
    /// The flag that this command has for that, in which a mistake is told.
    #[arg(skip)]
    pub backup_store_flag: Option<&'static str>,
    /// Where leases and operation records are kept [default: BACKUP_STORE_URL with -state added].
    #[arg(long, global = true, env = "STATE_STORE_URL", value_name = "URL", hide_env_values = true)]
    pub state_store_url: Option<String>,
    /// After how many days every item is read anew, changed or not [default: 7].
    #[arg(long, global = true, env = "BACKUP_FULL_EVERY_DAYS", value_name = "DAYS", hide_env_values = true)]
    pub backup_full_every_days: Option<String>,
    /// Requests per second to one vault, at most [default: 100, a quarter of Key Vault's quota].
    #[arg(long, global = true, env = "BACKUP_REQUESTS_PER_SECOND", value_name = "NUMBER", hide_env_values = true)]
    pub backup_requests_per_second: Option<String>,
    /// Requests per second to all vaults together, at most [default: five times BACKUP_REQUESTS_PER_SECOND].
    #[arg(
        long,
        global = true,
        env = "BACKUP_TOTAL_REQUESTS_PER_SECOND",
        value_name = "NUMBER",
        hide_env_values = true
    )]
    pub backup_total_requests_per_second: Option<String>,
    /// Items of one vault that are dealt with at once [default: 16].
    #[arg(long, global = true, env = "BACKUP_CONCURRENCY", value_name = "NUMBER", hide_env_values = true)]
    pub backup_concurrency: Option<String>,
    /// Vaults that may be restored into: names or URIs, separated by commas [default: none].
    #[arg(long, global = true, env = "RESTORE_TARGET_VAULTS", value_name = "VAULTS", hide_env_values = true)]
    pub restore_target_vaults: Option<String>,
    /// Which backups are kept: last, hourly, daily, weekly, monthly, yearly, such as last=7,daily=35,monthly=12
    /// [default: all].
    #[arg(long, global = true, env = "BACKUP_KEEP", value_name = "POLICY", hide_env_values = true)]
    pub backup_keep: Option<String>,
    /// The period of the backup container's immutability policy, in days [default: none].
    #[arg(long, global = true, env = "BACKUP_IMMUTABLE_DAYS", value_name = "DAYS", hide_env_values = true)]
    pub backup_immutable_days: Option<String>,
    /// The share of items that may vanish from one backup to the next before the guard trips [default: 20].
    #[arg(long, global = true, env = "GUARD_DELETED_PERCENT", value_name = "PERCENT", hide_env_values = true)]
    pub guard_deleted_percent: Option<String>,
    /// The share of items that may be disabled from one backup to the next before the guard trips [default: 20].
    #[arg(long, global = true, env = "GUARD_DISABLED_PERCENT", value_name = "PERCENT", hide_env_values = true)]
    pub guard_disabled_percent: Option<String>,
    /// An empty vault into which drills restore: a name or a URI [default: none].
    #[arg(long, global = true, env = "DRILL_VAULT", value_name = "VAULT", hide_env_values = true)]
    pub drill_vault: Option<String>,
    /// How many items a drill restores, chosen at random [default: all].
    #[arg(long, global = true, env = "DRILL_SAMPLE", value_name = "NUMBER", hide_env_values = true)]
    pub drill_sample: Option<String>,
    /// How old the newest good backup of a vault may be, in hours [default: 26].
    #[arg(long, global = true, env = "STATUS_MAX_AGE_HOURS", value_name = "HOURS", hide_env_values = true)]
    pub status_max_age_hours: Option<String>,
    /// Client id of the managed identity that backs up.
    #[arg(long, global = true, env = "BACKUP_IDENTITY_CLIENT_ID", value_name = "GUID", hide_env_values = true)]
    pub backup_identity_client_id: Option<String>,
    /// Client id of the managed identity that restores.
    #[arg(long, global = true, env = "RESTORE_IDENTITY_CLIENT_ID", value_name = "GUID", hide_env_values = true)]
    pub restore_identity_client_id: Option<String>,
    /// Client id of the managed identity that removes backups by the retention policy.
    #[arg(long, global = true, env = "PRUNE_IDENTITY_CLIENT_ID", value_name = "GUID", hide_env_values = true)]
    pub prune_identity_client_id: Option<String>,
    /// The cloud: public, usgovernment or china [default: public].
    #[arg(long, global = true, env = "AZURE_CLOUD", value_name = "CLOUD", hide_env_values = true)]
    pub azure_cloud: Option<String>,
    /// What is logged: error, warn, info, debug or trace [default: info; off on the command line].
    #[arg(long, global = true, env = "LOG_LEVEL", value_name = "LEVEL", hide_env_values = true)]
    pub log_level: Option<String>,
}
