//! Instructions for each item, counted by valgrind: the figure that does not depend on the machine.

use std::{collections::HashMap, fs, mem, path::Path};

use simulator::proxy::Protocols;

use crate::{
    Result, Setup,
    azure::{Azure, Storage},
    client::tool,
    process::Program,
    report::{Report, table},
    series::{grouped, short},
};

const VAULT: &str = "contoso-prod";

/// The difference of two runs leaves out what every run costs.
const FEW: usize = 100;
const MANY: usize = 400;

/// How many single functions are shown.
const FUNCTIONS: usize = 14;

/// Which code a function is of: the first text that its name contains decides.
const PARTS: &[(&str, &[&str])] = &[
    ("encryption of connections (AES-GCM, TLS records)", &["aes", "gcm", "gcm_ghash", "rustls", "chacha"]),
    (
        "handshakes and certificates",
        &[
            "ecp_nistz",
            "p256",
            "p384",
            "x25519",
            "bn_",
            "rsa",
            "webpki",
            "ec_",
            "fiat_",
            "curve25519",
            "felem",
            "mlkem",
            "ml_kem",
            "keccak",
            "x509",
        ],
    ),
    ("hashing (SHA-256)", &["sha256", "sha2", "sha512", "sha1"]),
    ("base64", &["base64"]),
    ("JSON", &["serde_json", "serde_core", "serde::"]),
    ("XML", &["quick_xml"]),
    ("copying and comparing memory", &["memcpy", "memmove", "memset", "memcmp", "memchr", "bcmp"]),
    ("allocation", &["malloc", "free", "realloc", "calloc", "_int_", "unlink_chunk", "__rust_alloc", "__rdl"]),
    ("HTTP", &["hyper", "reqwest", "httparse", "http::", "h2::", "tower"]),
    ("Azure SDK", &["azure_", "typespec"]),
    ("telemetry and logging", &["tracing", "opentelemetry"]),
    ("tokio", &["tokio", "mio::", "futures"]),
    ("URLs, dates, text", &["url::", "idna", "time::", "percent_encoding", "core::fmt", "alloc::fmt", "core::str"]),
    ("keyvault-backup itself", &["keyvault_backup"]),
];

pub(super) async fn run(setup: &Setup, report: &mut Report) -> Result<()> {
    let program = setup.symbols.as_ref().unwrap_or(&setup.program);
    let setup = Setup { program: program.clone(), ..setup.clone() };
    let azure = Azure::start(Protocols::Both).await?;
    azure.add_vault("contoso-dr", 0);
    let folder = program.parent().unwrap_or(program).join("profiles");
    fs::create_dir_all(&folder)?;
    let mut profiles = Vec::new();
    for items in [FEW, MANY] {
        let file = |command: &str| folder.join(format!("{command}-{items}.callgrind"));
        azure.add_vault(VAULT, items);
        let container = azure.create_container(Storage::Direct).await?;
        let full = tool(&setup, &["backup", VAULT, "--full"], &container.url);
        let full = profile(&azure, &full, &file("backup")).await?;
        let unchanged = tool(&setup, &["backup", VAULT], &container.url);
        let unchanged = profile(&azure, &unchanged, &file("unchanged")).await?;
        azure.vaults.lose_everything("contoso-dr");
        let restore = tool(&setup, &["restore", VAULT, "--to", "contoso-dr"], &container.url);
        let restore = restore.set("RESTORE_TARGET_VAULTS", "contoso-dr");
        let restore = profile(&azure, &restore, &file("restore")).await?;
        profiles.push([full, unchanged, restore]);
    }
    azure.check()?;
    let per_item = |command: usize| {
        let total = |size: usize| profiles[size][command].values().sum::<u64>() as f64;
        (total(1) - total(0)) / (MANY - FEW) as f64
    };
    let rows = ["full backup", "backup, nothing changed", "restore"].into_iter().enumerate().map(|(index, name)| {
        let start = profiles[0][index].values().sum::<u64>() as f64 - per_item(index) * FEW as f64;
        vec![name.to_owned(), short(per_item(index) / 1e3), short(start / 1e6)]
    });
    let head = ["", "thousand instructions per item", "million for the run"];
    report.section("instructions", &table(&head, rows));

    // What every run costs: the command that does least.
    let every = by_function(&profiles[0][1], &HashMap::new());
    let all: i64 = every.iter().map(|it| it.1).sum();
    let every = every.into_iter().take(FUNCTIONS / 2).map(|(function, cost)| row(&function, cost, all, 1_000_000));
    let head = ["function", "share", "million instructions"];
    report.section("every-run", &table(&head, every));

    let parts = by_part(&profiles[1][0], &profiles[0][0]);
    let all: i64 = parts.iter().map(|part| part.1).sum();
    let rows = parts.iter().filter(|part| part.1 * 200 > all).map(|(part, cost)| {
        let percent = *cost as f64 * 100.0 / all as f64;
        let each = cost / (MANY - FEW) as i64;
        vec![part.clone(), format!("{percent:.1} %"), grouped(each)]
    });
    let head = ["", "share", "instructions per item"];
    let items = (MANY - FEW) as i64;
    let most = by_function(&profiles[1][0], &profiles[0][0]).into_iter().take(FUNCTIONS);
    let most = most.map(|(function, cost)| row(&function, cost, all, items));
    let functions = table(&["function", "share", "instructions per item"], most);
    report.section("profile", &format!("{}\n\n{functions}", table(&head, rows)));
    Ok(())
}

fn row(function: &str, cost: i64, all: i64, unit: i64) -> Vec<String> {
    let name: String = function.chars().take(90).collect();
    vec![format!("`{name}`"), format!("{:.1} %", cost as f64 * 100.0 / all as f64), grouped(cost / unit)]
}

/// Instructions by function, of one run.
/// What callgrind wrote stays in `out`, for `callgrind_annotate --tree=both` and the like.
async fn profile(azure: &Azure, program: &Program, out: &Path) -> Result<HashMap<String, u64>> {
    let file = format!("--callgrind-out-file={}", out.display());
    let mut arguments = vec!["--tool=callgrind".to_owned(), "--quiet".to_owned(), file];
    arguments.push(program.path.display().to_string());
    arguments.extend(program.arguments.iter().cloned());
    let program = Program { path: "valgrind".into(), arguments, environment: program.environment.clone() };
    azure.client(program).run().await?;
    own_costs(out)
}

/// What the items cost, by part, the most expensive first.
fn by_part(more: &HashMap<String, u64>, less: &HashMap<String, u64>) -> Vec<(String, i64)> {
    let mut parts = HashMap::<String, i64>::new();
    for (function, cost) in by_function(more, less) {
        let lower = function.to_lowercase();
        let part = PARTS.iter().find(|(_, words)| words.iter().any(|word| lower.contains(word)));
        *parts.entry(part.map_or("everything else", |it| it.0).to_owned()).or_default() += cost;
    }
    let mut parts: Vec<_> = parts.into_iter().collect();
    parts.sort_by_key(|part| -part.1);
    parts
}

/// What is left of the bigger run without the smaller one, by function, the most expensive first.
fn by_function(more: &HashMap<String, u64>, less: &HashMap<String, u64>) -> Vec<(String, i64)> {
    let cost = |function: &String, cost: u64| cost as i64 - less.get(function).map_or(0, |less| *less as i64);
    let mut left: Vec<_> = more.iter().map(|(name, all)| (name.clone(), cost(name, *all))).collect();
    left.sort_by_key(|function| -function.1);
    left
}

/// Reads callgrind's file: after each `fn=`, lines of position and cost, but for the line behind `calls=`, which is what
/// the callee cost. A name is written once, and then known by its number.
fn own_costs(file: &Path) -> Result<HashMap<String, u64>> {
    let text = fs::read_to_string(file)?;
    let (mut names, mut costs) = (HashMap::<&str, &str>::new(), HashMap::<String, u64>::new());
    let (mut function, mut of_callee) = ("", false);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("fn=").or_else(|| line.strip_prefix("cfn=")) {
            let (number, written) = name.split_once(' ').unwrap_or((name, ""));
            let known = names.entry(number).or_insert(written);
            if line.starts_with("fn=") {
                function = known;
            }
        } else if line.starts_with("calls=") {
            of_callee = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '*'))
            && !mem::take(&mut of_callee)
            && let Some(cost) = line.split(' ').nth(1)
        {
            *costs.entry(function.to_owned()).or_default() += cost.parse::<u64>()?;
        }
    }
    Ok(costs)
}
