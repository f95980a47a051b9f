//! Backups and restores beside scripts that do the same with Microsoft's SDKs.

use std::time::Duration;

use simulator::{key_vault::Throttling, proxy::Protocols};

use crate::{
    Result, Setup,
    azure::{Azure, Container, Storage},
    client::{Client, Vaults, tool},
    load::Job,
    plot,
    process::Cost,
    report::{Report, table, table_of_turns},
    series::{Series, grouped, short},
};

const VAULTS: Vaults<'static> = Vaults { source: "contoso-prod", target: "contoso-dr" };

/// What product.md asks for.
const CPU_RATIO: f64 = 20.0;
const SHARE_OF_CEILING: f64 = 0.9;
const OVER_SEQUENTIAL: f64 = 10.0;
const OVER_ASYNCIO: f64 = 3.0;

/// Each of the scripts backs up a small vault and restores it into an empty one, which must then hold the same; and what
/// is restored of their backup must be what is restored of ours.
pub(super) async fn same(setup: &Setup) -> Result<()> {
    let azure = Azure::start(Protocols::Both).await?;
    azure.add_vault(VAULTS.source, 30);
    azure.add_vault(VAULTS.target, 0);
    let wanted = azure.vaults.snapshot(VAULTS.source);
    for client in Client::ALL {
        let container = azure.create_container(Storage::Direct).await?;
        client.run(setup, &azure, Job::Backup, VAULTS, &container).await?;
        azure.vaults.lose_everything(VAULTS.target);
        client.run(setup, &azure, Job::Restore, VAULTS, &container).await?;
        let differences = wanted.differences(&azure.vaults.snapshot(VAULTS.target));
        if !differences.is_empty() {
            return Err(format!("{} does not do the job: {}", client.name(), differences.join("; ")).into());
        }
    }
    azure.check()
}

/// A full backup with nothing but the processors in the way.
pub(super) async fn backup(setup: &Setup, report: &mut Report) -> Result<()> {
    let items = items(setup);
    let azure = Azure::start(Protocols::Both).await?;
    azure.add_vault(VAULTS.source, items);
    warm_up(setup, &azure).await?;
    let mut runs = Runs::new(setup, items);
    for round in 0..setup.rounds() {
        for client in turns(&runs.clients(), round) {
            let container = azure.create_container(Storage::Direct).await?;
            runs.add(client, client.run(setup, &azure, Job::Backup, VAULTS, &container).await?);
            azure.delete_container(&container).await?;
        }
    }
    azure.check()?;
    runs.report(report, Job::Backup)
}

fn items(setup: &Setup) -> usize {
    if setup.quick { 500 } else { 2_000 }
}

/// Azurite is slower in its first seconds, and whoever came first would pay for it.
async fn warm_up(setup: &Setup, azure: &Azure) -> Result<()> {
    for _ in 0..2 {
        let container = azure.create_container(Storage::Direct).await?;
        Client::Load.run(setup, azure, Job::Backup, VAULTS, &container).await?;
        azure.delete_container(&container).await?;
    }
    Ok(())
}

/// A restore of everything, into an empty vault.
pub(super) async fn restore(setup: &Setup, report: &mut Report) -> Result<()> {
    let items = items(setup);
    let azure = Azure::start(Protocols::Both).await?;
    azure.add_vault(VAULTS.source, items);
    azure.add_vault(VAULTS.target, 0);
    let stored = Stored::prepare(setup, &azure, Storage::Direct).await?;
    let mut runs = Runs::new(setup, items);
    for round in 0..setup.rounds() {
        for client in turns(&runs.clients(), round) {
            azure.vaults.lose_everything(VAULTS.target);
            let cost = client.run(setup, &azure, Job::Restore, VAULTS, stored.of(client)).await?;
            runs.add(client, cost);
        }
    }
    azure.check()?;
    runs.report(report, Job::Restore)
}

/// The same once with the time that requests take in Azure, and its quota.
pub(super) async fn as_in_azure(setup: &Setup, report: &mut Report) -> Result<()> {
    let items = if setup.quick { 300 } else { 2_000 };
    let azure = Azure::start(Protocols::Both).await?;
    azure.add_vault(VAULTS.source, items);
    azure.set_latency(Duration::from_millis(20));
    let mut rows = Vec::new();
    let clients = [Client::Tool].into_iter().chain(Client::PEERS);
    for client in clients {
        // A window that somebody else has used up is not this client's.
        azure.vaults.set_throttling(VAULTS.source, None);
        tokio::time::sleep(Duration::from_secs(10)).await;
        azure.vaults.set_throttling(VAULTS.source, Some(Throttling { scale: 1.0, retry_after: None }));
        azure.vaults.reset_log();
        let container = azure.create_container(Storage::Counted).await?;
        let cost = match client {
            // Three requests of four that the vault grants; the scripts know no pace.
            Client::Tool => {
                let program = tool(setup, &["backup", VAULTS.source, "--full"], &container.url);
                azure.client(program.set("BACKUP_REQUESTS_PER_SECOND", "300")).run().await.map(|it| it.0)
            }
            other => other.run(setup, &azure, Job::Backup, VAULTS, &container).await,
        };
        let throttled = azure.vaults.count_status(429).to_string();
        azure.delete_container(&container).await?;
        rows.push(match cost {
            Ok(cost) => {
                let rate = items as f64 / cost.wall;
                vec![client.name().to_owned(), short(cost.wall), short(rate), throttled, "yes".to_owned()]
            }
            Err(_) => vec![client.name().to_owned(), "–".to_owned(), "–".to_owned(), throttled, "**no**".to_owned()],
        });
    }
    report.section(
        "azure",
        &format!(
            "A full backup of {} items, 20 ms for each request to vault and storage, the documented quota, one run \
             each:\n\n{}",
            grouped(items as i64),
            table(&["", "seconds", "items per second", "times told to wait (429)", "completed"], rows)
        ),
    );
    Ok(())
}

/// Backups to restore: ours, and one in the layout of the scripts.
struct Stored {
    ours: Container,
    theirs: Container,
}

impl Stored {
    async fn prepare(setup: &Setup, azure: &Azure, storage: Storage) -> Result<Self> {
        let (ours, theirs) = (azure.create_container(storage).await?, azure.create_container(storage).await?);
        Client::Tool.run(setup, azure, Job::Backup, VAULTS, &ours).await?;
        Client::Asyncio.run(setup, azure, Job::Backup, VAULTS, &theirs).await?;
        Ok(Self { ours, theirs })
    }

    fn of(&self, client: Client) -> &Container {
        if client == Client::Tool { &self.ours } else { &self.theirs }
    }
}

/// Every client once, each round beginning with another: nobody always runs after the same one.
pub(super) fn turns<T: Copy>(clients: &[T], round: usize) -> Vec<T> {
    let mut turns = clients.to_vec();
    turns.rotate_left(round % clients.len());
    turns
}

/// What the runs of each client cost.
struct Runs {
    items: f64,
    costs: Vec<(Client, Vec<Cost>)>,
}

impl Runs {
    fn new(setup: &Setup, items: usize) -> Self {
        // No target is about JavaScript.
        let clients = Client::ALL.into_iter().filter(|client| !setup.quick || *client != Client::JavaScript);
        Self { items: items as f64, costs: clients.map(|client| (client, Vec::new())).collect() }
    }

    fn clients(&self) -> Vec<Client> {
        self.costs.iter().map(|it| it.0).collect()
    }

    fn add(&mut self, client: Client, cost: Cost) {
        let runs = self.costs.iter_mut().find(|(it, _)| *it == client);
        runs.expect("every client has a row").1.push(cost);
    }

    fn series(&self, client: Client, figure: impl Fn(&Cost) -> f64) -> Series {
        let mut series = Series::default();
        self.costs.iter().filter(|(it, _)| *it == client).flat_map(|it| &it.1).for_each(|it| series.push(figure(it)));
        series
    }

    fn report(&self, report: &mut Report, job: Job) -> Result<()> {
        let wall = |client| self.series(client, |it| it.wall);
        let cpu = |client| self.series(client, |it| it.cpu / self.items * 1e3);
        let mib = |client| self.series(client, |it| it.peak as f64 / 1024.0 / 1024.0);
        let rows = self.clients().into_iter().map(|client| {
            let (slower, hungrier) = (wall(client).over(&wall(Client::Tool)), cpu(client).over(&cpu(Client::Tool)));
            vec![
                client.name().to_owned(),
                wall(client).to_string(),
                format!("{slower} ×"),
                cpu(client).to_string(),
                format!("{hungrier} ×"),
                short(mib(client).median()),
            ]
        });
        let head = ["", "seconds", "to ours", "CPU ms per item", "to ours", "peak MiB"];
        let verb = job.verb();
        let what = if verb == "backup" { "Full backup" } else { "Restore" };
        let what = format!("{what} of {} items", grouped(self.items as i64));
        report.section(verb, &table_of_turns(&what, self.costs[0].1.len(), &head, rows));

        let ceiling = wall(Client::Load).over(&wall(Client::Tool));
        let percent = ceiling.times(100.0);
        report.verdict(
            &format!("{verb}: share of what the emulators can do"),
            "90 %",
            format!("{percent} %"),
            ceiling.median() >= SHARE_OF_CEILING,
        );
        for (client, faster) in [(Client::Sequential, OVER_SEQUENTIAL), (Client::Asyncio, OVER_ASYNCIO)] {
            let ratio = cpu(client).over(&cpu(Client::Tool));
            let of_the_sdk = cpu(client).over(&cpu(Client::Sdk)).median();
            report.verdict(
                &format!("{verb}: CPU per item, {}", client.name()),
                &format!("{CPU_RATIO:.0} × (the Rust SDK alone: {} ×)", short(of_the_sdk)),
                format!("{ratio} ×"),
                ratio.median() >= CPU_RATIO,
            );
            // Nobody is faster than the emulators allow; then the share of what they allow is the target, run by run.
            let allowed = wall(client).over(&wall(Client::Load)).median();
            let is_allowed = allowed * SHARE_OF_CEILING >= faster;
            let ratio = wall(client).over(&wall(Client::Tool));
            let target = if is_allowed {
                format!("{faster:.0} ×")
            } else {
                format!("{faster:.0} ×, or 90 % of the {} × that the emulators allow", short(allowed))
            };
            let what = format!("{verb}: time, {}", client.name());
            let passes = ratio.median() >= faster || (!is_allowed && ceiling.median() >= SHARE_OF_CEILING);
            report.verdict(&what, &target, format!("{ratio} ×"), passes);
        }
        let bars: Vec<_> = self.clients().into_iter().map(|client| (client.name(), cpu(client).median())).collect();
        let image = if verb == "backup" { "cpu-backup.svg" } else { "cpu-restore.svg" };
        let svg = plot::bars(&format!("Processor time of the client, {verb}"), "milliseconds per item", &bars)?;
        report.image(image, svg);
        Ok(())
    }
}
