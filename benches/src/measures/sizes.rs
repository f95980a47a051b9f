//! Memory, time and requests as vaults grow.

use std::path::PathBuf;

use simulator::proxy::Protocols;

use crate::{
    Result, Setup,
    azure::{Azure, Container, Storage},
    client::tool,
    plot,
    process::Cost,
    report::{Report, table},
    series::{grouped, short},
};

const VAULT: &str = "contoso-prod";
const TARGET: &str = "contoso-dr";

/// What product.md asks for.
const MOST_MEMORY: f64 = 64.0;

/// Flat apart from the manifest, which has some 500 bytes for each item: half of what the ninety thousand more would take.
const MOST_GROWTH: f64 = 24.0;
const BESIDE_PAGES: u64 = 10;
const LARGEST: usize = 100_000;
const UNCHANGED: usize = 10_000;

const MIB: f64 = 1024.0 * 1024.0;

/// What Key Vault puts on a page at most.
const PAGE: usize = 25;

pub(super) async fn run(setup: &Setup, report: &mut Report) -> Result<()> {
    let sizes = match (setup.sizes.as_slice(), setup.quick) {
        ([], true) => &[1_000, UNCHANGED, LARGEST],
        ([], false) => &[1_000, UNCHANGED, 50_000, LARGEST][..],
        (some, _) => some,
    };
    let (mut memory, mut unchanged, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    for &items in sizes {
        // Azurite takes ten minutes and more to write 50,000 blobs, and to verify 10,000 longer than a quick run has time.
        // Memory is the same either way.
        let in_folder = items > if setup.quick { 1_000 } else { UNCHANGED };
        let size = Size::measure(setup, items, in_folder).await?;
        let name = format!("{}{}", grouped(items as i64), if in_folder { ", in a folder" } else { "" });
        memory.push(size.row(&name));
        let [connections, key_vault, storage] = size.requests;
        unchanged.push(vec![
            name.clone(),
            grouped(size.pages as i64),
            grouped(key_vault as i64),
            if in_folder { "–".to_owned() } else { grouped(storage as i64) },
            grouped(connections as i64),
            short(size.unchanged.wall),
        ]);
        if items == UNCHANGED {
            report.verdict(
                "nothing changed, 10,000 items: requests to the vault",
                "≤ pages + 10",
                format!("{key_vault} ({} pages)", size.pages),
                key_vault <= size.pages + BESIDE_PAGES,
            );
        }
        if items == LARGEST {
            for (what, cost) in size.all() {
                let peak = cost.peak as f64 / MIB;
                let what = format!("memory, 100,000 items: {what}");
                report.verdict(&what, "≤ 64 MiB", format!("{} MiB", short(peak)), peak <= MOST_MEMORY);
            }
        }
        peaks.push((items, size));
    }
    let of = |items| peaks.iter().find(|it| it.0 == items).map(|it: &(usize, Size)| it.1.all());
    if let (Some(less), Some(more)) = (of(UNCHANGED), of(LARGEST)) {
        let grown = less.iter().zip(&more).map(|(less, more)| (more.1.peak as f64 - less.1.peak as f64) / MIB);
        let most = grown.fold(f64::MIN, f64::max);
        let measured = format!("{} MiB", short(most));
        report.verdict(
            "memory, from 10,000 to 100,000 items: most that one grew by",
            "≤ 24 MiB",
            measured,
            most <= MOST_GROWTH,
        );
    }
    let head = ["items", "backup", "nothing changed", "plan of a restore", "verify", "prune"];
    report.section("memory", &format!("Peak MiB / seconds, one run each:\n\n{}", table(&head, memory)));
    let head = ["items", "pages", "requests to the vault", "to the storage", "connections", "seconds"];
    report.section("unchanged", &table(&head, unchanged));
    let colours = [(31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189)];
    let labels = ["backup", "nothing changed", "plan of a restore", "verify", "prune"];
    let lines: Vec<plot::Line> = labels
        .into_iter()
        .zip(colours)
        .enumerate()
        .map(|(index, (label, colour))| {
            let peak = |size: &Size| size.all()[index].1.peak as f64 / MIB;
            plot::Line { label, colour, points: peaks.iter().map(|it| (it.0 as f64, peak(&it.1))).collect() }
        })
        .collect();
    report.image("memory.svg", plot::lines("Peak memory", "items", "MiB", &lines)?);
    Ok(())
}

/// What the commands cost with so many items.
struct Size {
    pages: u64,
    /// Connections, requests to the vault, requests to the storage, of the backup in which nothing had changed.
    requests: [u64; 3],
    backup: Cost,
    unchanged: Cost,
    plan: Cost,
    verify: Cost,
    prune: Cost,
}

impl Size {
    async fn measure(setup: &Setup, items: usize, in_folder: bool) -> Result<Self> {
        let azure = Azure::start(Protocols::Both).await?;
        azure.add_vault(VAULT, items);
        azure.add_vault(TARGET, 0);
        let folder = tempfile::tempdir_in(folder_of(setup)?)?;
        let container =
            if in_folder { Container::folder(folder.path()) } else { azure.create_container(Storage::Direct).await? };
        let run = async |arguments: &[&str], store: &str| -> Result<Cost> {
            let program =
                tool(setup, arguments, store).set("RESTORE_TARGET_VAULTS", TARGET).set("BACKUP_KEEP", "last=1");
            Ok(azure.client(program).run().await?.0)
        };
        // Pruning is measured alone, so backups must not do it.
        let backup = async |arguments: &[&str], store: &str| -> Result<Cost> {
            Ok(azure.client(tool(setup, arguments, store)).run().await?.0)
        };
        let full = backup(&["backup", VAULT], &container.url).await?;
        let before = azure.counters.read();
        let unchanged = backup(&["backup", VAULT], &container.counted()).await?;
        let after = azure.counters.read();
        let plan = run(&["restore", VAULT, "--to", TARGET, "--dry-run"], &container.url).await?;
        let verify = run(&["verify", VAULT], &container.url).await?;
        let prune = run(&["prune", VAULT, "--yes"], &container.url).await?;
        azure.check()?;
        let rows = azure.vaults.snapshot(VAULT).items;
        let pages = simulator::key_vault::Kind::ALL
            .map(|kind| rows.keys().filter(|it| it.0 == kind).count().div_ceil(PAGE) as u64)
            .iter()
            .sum();
        let requests = [0, 1, 2].map(|index| after[index] - before[index]);
        Ok(Self { pages, requests, backup: full, unchanged, plan, verify, prune })
    }

    fn all(&self) -> [(&'static str, &Cost); 5] {
        [
            ("backup", &self.backup),
            ("nothing changed", &self.unchanged),
            ("plan of a restore", &self.plan),
            ("verify", &self.verify),
            ("prune", &self.prune),
        ]
    }

    fn row(&self, name: &str) -> Vec<String> {
        let cells = self.all().map(|(_, cost)| format!("{} / {}", short(cost.peak as f64 / MIB), short(cost.wall)));
        [name.to_owned()].into_iter().chain(cells).collect()
    }
}

/// A disk, not the memory that `/tmp` often is.
fn folder_of(setup: &Setup) -> Result<PathBuf> {
    let folder = setup.program.parent().unwrap_or(&setup.program).join("stores");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
