//! `simulator azure`: vaults, identity and storage, until it is asked to stop.

mod environment;
mod vault;

use std::{collections::BTreeMap, io, path::PathBuf, time::Duration};

use simulator::{
    azurite::Azurite,
    clock::Clock,
    identity::{Directory, Identity},
    key_vault::{ALL_DATA_ACTIONS, DATA_ACTIONS, Delays, KeyVaults, PerKind, Throttling},
    proxy::{Doors, Protocols, Services},
};

use self::{environment::EnvironmentFile, vault::VaultArgument};

/// The options of `simulator azure`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A vault, for example `contoso,geography=Europe,purgeProtection=true,retentionDays=7`; give it once for each.
    ///
    /// Backups open in vaults of the same `subscription` (a GUID) and `geography` only. `region` and `resourceGroup`
    /// are what answers say.
    #[arg(long = "vault", value_name = "NAME[,KEY=VALUE…]", required = true)]
    vaults: Vec<VaultArgument>,

    /// Fills a vault with so many items of all kinds, the same ones in every run.
    #[arg(long, value_name = "NAME=COUNT", value_parser = pair::<usize>)]
    seed: Vec<(String, usize)>,

    /// A user-assigned identity, with all rights in all vaults, or with the data actions given after the name.
    ///
    /// `NAME=ACTION+ACTION`, for example `backup=Microsoft.KeyVault/vaults/secrets/readMetadata/action`. Its client id
    /// is in the environment file as `CLIENT_ID_NAME`. The system-assigned identity always has all rights.
    #[arg(long = "identity", value_name = "NAME[=ACTION+ACTION…]", value_parser = identity)]
    identities: Vec<(String, Option<Vec<String>>)>,

    /// The time each vault request takes.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    latency_ms: u64,

    /// How long deletes, recoveries, purges and new certificates take, instead of the times recorded from Azure.
    #[arg(long, value_name = "MILLISECONDS")]
    delays_ms: Option<u64>,

    /// Enforces the documented request limits; a factor such as 0.01 makes them smaller.
    #[arg(long, value_name = "FACTOR", num_args = 0..=1, default_missing_value = "1")]
    throttle: Option<f64>,

    /// Sends `Retry-After` with a 429. The one real 429 that was captured has none.
    #[arg(long, value_name = "SECONDS", requires = "throttle")]
    retry_after: Option<u32>,

    /// Offers HTTP/1.1 alone; otherwise the client chooses between HTTP/2 and HTTP/1.1.
    #[arg(long)]
    http1: bool,

    /// Starts Microsoft's Azurite too, with a certificate of the same authority.
    #[arg(long)]
    azurite: bool,

    /// Written when everything answers, and removed at the end: what a client's environment must hold.
    #[arg(long, value_name = "FILE")]
    env_file: PathBuf,
}

/// Runs until it is asked to stop.
pub(crate) async fn run(arguments: Arguments) -> io::Result<()> {
    let clock = Clock::system();
    let directory = Directory::new(clock.clone());
    let vaults = KeyVaults::new(clock, directory.clone());
    furnish(&vaults, &arguments)?;
    let client_ids = admit(&vaults, &directory, &arguments);

    let certificates = tempfile::Builder::new().prefix("keyvault-simulator-").tempdir()?;
    let protocols = if arguments.http1 { Protocols::Http1 } else { Protocols::Both };
    let doors = Doors::open(Services::of(vaults.clone(), directory), protocols, certificates.path()).await?;
    let azurite = if arguments.azurite { Some(Azurite::start(doors.authority()).await?) } else { None };

    let mut environment = doors.environment();
    if let Some(azurite) = &azurite {
        environment.push(("AZURITE_BLOB_URL", azurite.blob_url().to_owned()));
        environment.push(("AZURITE_QUEUE_URL", azurite.queue_url().to_owned()));
    }
    let file = EnvironmentFile::write(&arguments.env_file, &environment, &client_ids)?;
    for vault in &arguments.vaults {
        println!("https://{}.vault.azure.net", vault.name());
    }
    println!("The simulator runs. In another terminal: source {}", std::path::absolute(&arguments.env_file)?.display());
    super::asked_to_stop().await?;
    drop(file);
    report(&vaults, &doors);
    Ok(())
}

/// Makes and fills the vaults.
fn furnish(vaults: &KeyVaults, arguments: &Arguments) -> io::Result<()> {
    let delays = arguments.delays_ms.map_or_else(Delays::recorded, |milliseconds| {
        let time = Duration::from_millis(milliseconds);
        let all = PerKind { secret: time, key: time, certificate: time };
        Delays { delete: all, recover: all, purge: all, certificate_creation: time }
    });
    for vault in &arguments.vaults {
        vaults.add_vault(vault.options(delays));
        if let Some(scale) = arguments.throttle {
            vaults.set_throttling(vault.name(), Some(Throttling { scale, retry_after: arguments.retry_after }));
        }
    }
    vaults.set_latency(Duration::from_millis(arguments.latency_ms));
    for (name, count) in &arguments.seed {
        if !arguments.vaults.iter().any(|vault| vault.name() == name) {
            return Err(io::Error::other(format!(
                "--seed {name}={count} names a vault that does not exist. Add --vault {name}."
            )));
        }
        vaults.seed(name, *count);
    }
    Ok(())
}

/// Makes the identities and gives them their rights; returns the client id of each by name.
fn admit(vaults: &KeyVaults, directory: &Directory, arguments: &Arguments) -> BTreeMap<String, String> {
    let assign = |identity: &Identity, actions: Option<&[String]>| {
        for vault in &arguments.vaults {
            match actions {
                None => vaults.assign(identity, vault.name(), ALL_DATA_ACTIONS),
                Some(actions) => {
                    vaults.assign(identity, vault.name(), &actions.iter().map(String::as_str).collect::<Vec<_>>())
                }
            }
        }
    };
    let system = directory.identity("system");
    directory.set_system_assigned(Some(&system));
    assign(&system, None);
    let client_id = |(name, actions): &(String, Option<Vec<String>>)| {
        let identity = directory.identity(name);
        directory.attach(&identity);
        assign(&identity, actions.as_deref());
        (name.clone(), identity.client_id.to_string())
    };
    arguments.identities.iter().map(client_id).collect()
}

/// A client that asked for what the simulator does not know is the first thing its user must hear about.
fn report(vaults: &KeyVaults, doors: &Doors) {
    for line in vaults.unknown_requests().into_iter().chain(doors.refused()) {
        eprintln!("refused: {line}");
    }
}

fn pair<T: std::str::FromStr>(text: &str) -> Result<(String, T), String> {
    let (name, value) = text.split_once('=').ok_or("Write it as NAME=COUNT.")?;
    let value = value.parse().map_err(|_| format!("{value} is not a number."))?;
    Ok((name.to_owned(), value))
}

fn identity(text: &str) -> Result<(String, Option<Vec<String>>), String> {
    let Some((name, actions)) = text.split_once('=') else { return Ok((text.to_owned(), None)) };
    let actions: Vec<String> = actions.split('+').map(str::to_owned).collect();
    match actions.iter().find(|action| !DATA_ACTIONS.contains(&action.as_str())) {
        None => Ok((name.to_owned(), Some(actions))),
        Some(action) => {
            Err(format!("Key Vault has no data action '{action}'. There are: {}.", DATA_ACTIONS.join(", ")))
        }
    }
}
