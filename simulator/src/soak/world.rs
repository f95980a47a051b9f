//! The Azure of one soak, and the program in it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use futures::FutureExt as _;
use serde_json::Value;
use tokio::{process::Command, time::Instant};

use super::{
    StoreKind,
    place::{ACCOUNT_HOST, Place},
    wire::{Storage, Wire},
};
use crate::{
    azurite::Azurite,
    clock::Clock,
    identity::Directory,
    key_vault::{ALL_DATA_ACTIONS, Delays, KeyVaults, VaultOptions},
    proxy::{Doors, Protocols, Services},
};

/// The vaults that are backed up.
pub(super) const SOURCES: [&str; 2] = ["contoso-prod", "contoso-billing"];
/// Where restores go that are disturbed.
pub(super) const TARGET: &str = "contoso-dr";
/// Where it is shown, undisturbed, what a backup brings back.
pub(super) const PROOF: &str = "contoso-proof";
/// Where drills go.
pub(super) const DRILL: &str = "contoso-drill";

/// Longer than any command takes that is not stuck. A server that hangs holds one up for 60 s per try, so this ends
/// some; what is not running can claim nothing.
const PATIENCE: Duration = Duration::from_secs(100);

/// How long a process lives that is to be killed and does not come to the request after which it should be.
const IMPATIENCE: Duration = Duration::from_secs(8);

/// The role of the backup identity in the vaults, as README gives it.
const BACKUP_ROLE: [&str; 6] = [
    "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
    "Microsoft.KeyVault/vaults/secrets/backup/action",
    "Microsoft.KeyVault/vaults/keys/read",
    "Microsoft.KeyVault/vaults/keys/backup/action",
    "Microsoft.KeyVault/vaults/certificates/read",
    "Microsoft.KeyVault/vaults/certificates/backup/action",
];

/// Everything the program meets.
pub(super) struct World {
    pub(super) vaults: KeyVaults,
    pub(super) place: Place,
    pub(super) wire: Wire,
    /// How many processes were killed.
    pub(super) kills: u64,
    /// Holds what every command said.
    pub(super) folder: PathBuf,
    program: PathBuf,
    settings: BTreeMap<String, String>,
    doors: Doors,
    runs: u64,
    log: File,
}

/// When a process is killed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kill {
    /// Not at all.
    Never,
    /// When its n-th request was carried out and not answered; or when that takes too long.
    AfterRequest(u64),
    /// After this time. What it hits depends on the machine.
    After(Duration),
}

/// How a process ended.
#[derive(Clone, Debug)]
pub(super) struct Ran {
    /// What was asked of it.
    pub(super) command: String,
    /// Nothing when it was killed.
    pub(super) code: Option<i32>,
    /// Standard output as JSON; null when it is none.
    pub(super) json: Value,
    pub(super) stderr: String,
    /// How many requests it made.
    pub(super) requests: u64,
    pub(super) took: Duration,
}

impl World {
    /// Empty vaults and an empty store; what happens is written down in `folder`.
    pub(super) async fn new(program: &Path, store: StoreKind, folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder.join("runs"))?;
        let clock = Clock::system();
        let directory = Directory::new(clock.clone());
        let vaults = KeyVaults::new(clock, directory.clone());
        let backup = directory.identity("backup");
        let restore = directory.identity("restore");
        let prune = directory.identity("prune");
        for identity in [&backup, &restore, &prune] {
            directory.attach(identity);
        }
        for name in SOURCES.into_iter().chain([TARGET, PROOF, DRILL]) {
            // Deleting and purging take no time here: what the program does meanwhile is shown by other tests.
            vaults.add_vault(VaultOptions { name: name.to_owned(), delays: Delays::none(), ..Default::default() });
            if SOURCES.contains(&name) {
                vaults.assign(&backup, name, &BACKUP_ROLE);
            } else {
                vaults.assign(&restore, name, ALL_DATA_ACTIONS);
            }
        }
        let wire = Wire::new();
        let account = Arc::new(std::sync::OnceLock::<Storage>::new());
        let services = services(&vaults, &directory, &wire, &account);
        let doors = Doors::open(services, Protocols::Both, folder).await?;
        let place = match store {
            StoreKind::Local => Place::Local(folder.to_owned()),
            StoreKind::Azurite => {
                let azurite = Azurite::start(doors.authority()).await?;
                let authority = fs::read(doors.ca_file())?;
                let storage = Storage::new(&authority, azurite.blob_url()).map_err(io::Error::other)?;
                let storage = account.get_or_init(|| storage).clone();
                Place::azurite(azurite, storage, &directory).await?
            }
        };
        let mut settings: BTreeMap<String, String> =
            doors.environment().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        settings.extend(
            [
                ("BACKUP_STORE_URL", place.url()),
                ("BACKUP_VAULTS", SOURCES.join(",")),
                ("RESTORE_TARGET_VAULTS", [TARGET, PROOF, DRILL].join(",")),
                ("BACKUP_REQUESTS_PER_SECOND", "10000".to_owned()),
                ("BACKUP_IDENTITY_CLIENT_ID", backup.client_id.to_string()),
                ("RESTORE_IDENTITY_CLIENT_ID", restore.client_id.to_string()),
                ("PRUNE_IDENTITY_CLIENT_ID", prune.client_id.to_string()),
                ("DRILL_VAULT", DRILL.to_owned()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        let log = File::create(folder.join("commands.log"))?;
        let (program, folder) = (std::path::absolute(program)?, folder.to_owned());
        Ok(Self { vaults, place, wire, kills: 0, folder, program, settings, doors, runs: 0, log })
    }

    /// Runs the program with nothing in its environment but the settings, and these changes of them.
    pub(super) async fn run(&mut self, arguments: &[&str], changes: &[(&str, String)], kill: Kill) -> io::Result<Ran> {
        self.runs += 1;
        let (out, err) = (self.output("out"), self.output("err"));
        let mut process = Command::new(&self.program);
        process.args(arguments).args(["--output", "json"]).env_clear().envs(&self.settings);
        process.envs(changes.iter().map(|(name, value)| (*name, value)));
        process.stdin(Stdio::null()).stdout(File::create(&out)?).stderr(File::create(&err)?).kill_on_drop(true);
        let (last, time) = match kill {
            Kill::Never => (None, PATIENCE),
            Kill::AfterRequest(number) => (Some(number), IMPATIENCE),
            Kill::After(time) => (None, time),
        };
        self.wire.begin(last);
        let start = Instant::now();
        let mut process = process.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("Could not start {}: {error}.", self.program.display()))
        })?;
        let status = tokio::select! {
            biased;
            () = self.wire.cut() => None,
            () = tokio::time::sleep(time) => None,
            status = process.wait() => Some(status?),
        };
        if status.is_none() {
            process.kill().await?;
            self.kills += 1;
        }
        let took = start.elapsed();
        let ran = Ran {
            command: arguments.join(" "),
            code: status.and_then(|status| status.code()),
            json: serde_json::from_slice(&fs::read(&out)?).unwrap_or_default(),
            stderr: fs::read_to_string(&err)?,
            requests: self.wire.passed(),
            took,
        };
        let (number, ended) = (self.runs, ran.code.map_or("killed".to_owned(), |code| format!("exit code {code}")));
        self.note(&format!("{number:05} {} {kill:?}: {ended}, {} requests, {took:.2?}", ran.command, ran.requests));
        Ok(ran)
    }

    /// Writes down what happens, for whoever looks into a failure.
    pub(super) fn note(&mut self, line: &str) {
        let _ = writeln!(self.log, "{line}"); // the soak goes on without it
    }

    /// What the program asked for and nobody serves.
    pub(super) fn refused(&self) -> Vec<String> {
        self.vaults.unknown_requests().into_iter().chain(self.doors.refused()).collect()
    }

    /// How many requests were hit by a fault.
    pub(super) fn faults(&self) -> u64 {
        self.vaults.faults_hit() + self.place.storage().map_or(0, Storage::hits)
    }

    fn output(&self, ending: &str) -> PathBuf {
        self.folder.join("runs").join(format!("{:05}.{ending}", self.runs))
    }
}

/// The simulated Azure behind the counter, with the storage account as one more host.
fn services(
    vaults: &KeyVaults,
    directory: &Directory,
    wire: &Wire,
    account: &Arc<std::sync::OnceLock<Storage>>,
) -> Services {
    let mut services = Services::of(vaults.clone(), directory.clone());
    let (hosts, key_vault, account) = (services.serves, services.vaults, Arc::clone(account));
    services.serves = Arc::new(move |host| host == ACCOUNT_HOST || hosts(host));
    services.vaults = wire.over(Arc::new(move |request| {
        match account.get().filter(|_| request.uri().host() == Some(ACCOUNT_HOST)).cloned() {
            Some(storage) => async move { storage.handle(request).await }.boxed(),
            None => key_vault(request),
        }
    }));
    services.identity = wire.over(services.identity);
    services
}
