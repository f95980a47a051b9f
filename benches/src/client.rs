//! Who does a job, and how each is started.

use std::env;

use crate::{
    Result, Setup,
    azure::{Azure, Container, NO_PACE},
    load::Job,
    process::{Cost, Program},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// The release binary.
    Tool,
    /// The bare load generator.
    Load,
    /// The official Rust SDK, and nothing around it.
    Sdk,
    Asyncio,
    JavaScript,
    Sequential,
}

impl Client {
    pub(crate) const ALL: [Self; 6] =
        [Self::Tool, Self::Load, Self::Sdk, Self::Asyncio, Self::JavaScript, Self::Sequential];

    /// The scripts.
    pub(crate) const PEERS: [Self; 3] = [Self::Asyncio, Self::JavaScript, Self::Sequential];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tool => "keyvault-backup",
            Self::Load => "bare load generator",
            Self::Sdk => "Rust SDK alone, 16 at once",
            Self::Asyncio => "Python SDK, asyncio, 16 at once",
            Self::JavaScript => "JavaScript SDK, 16 at once",
            Self::Sequential => "Python SDK, one after the other",
        }
    }

    /// Does the job once: a backup of `source` into the container, or a restore of that backup into `target`.
    ///
    /// # Errors
    /// When the job was not done.
    pub(crate) async fn run(
        self,
        setup: &Setup,
        azure: &Azure,
        job: Job,
        vault: Vaults<'_>,
        container: &Container,
    ) -> Result<Cost> {
        let subject = match job {
            Job::Backup => vault.source,
            Job::Restore => vault.target,
        };
        let (verb, url) = (job.verb(), format!("https://{subject}.vault.azure.net"));
        let script = |interpreter: std::path::PathBuf, file: &str| {
            let file = setup.peers.join(file).display().to_string();
            Program::new(interpreter, &[&file, verb, &url, &container.url])
        };
        let python = setup.peers.join("python/bin/python");
        let program = match self {
            Self::Tool => return tool_job(setup, azure, job, vault, container).await,
            Self::Load => {
                Program::new(env::current_exe()?, &["load", verb, &url, &container.url]).set_all(azure.tokens())
            }
            Self::Sdk => Program::new(env::current_exe()?, &["sdk", verb, &url, &container.url]),
            Self::Asyncio => script(python, "at_once.py"),
            Self::JavaScript => script("node".into(), "at_once.mjs"),
            Self::Sequential => script(python, "sequential.py"),
        };
        Ok(azure.client(program).run().await?.0)
    }
}

/// The vault that is backed up, and the one that is restored into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vaults<'a> {
    pub(crate) source: &'a str,
    pub(crate) target: &'a str,
}

impl Job {
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Restore => "restore",
        }
    }
}

async fn tool_job(setup: &Setup, azure: &Azure, job: Job, vaults: Vaults<'_>, container: &Container) -> Result<Cost> {
    let arguments = match job {
        Job::Backup => vec!["backup", vaults.source, "--full"],
        Job::Restore => vec!["restore", vaults.source, "--to", vaults.target],
    };
    let program = tool(setup, &arguments, &container.url).set("RESTORE_TARGET_VAULTS", vaults.target);
    Ok(azure.client(program).run().await?.0)
}

/// The release binary with a command, as fast as it can. Its exit code says whether everything went well.
pub(crate) fn tool(setup: &Setup, arguments: &[&str], store: &str) -> Program {
    Program::new(&setup.program, arguments).set("BACKUP_STORE_URL", store).set("BACKUP_REQUESTS_PER_SECOND", NO_PACE)
}
