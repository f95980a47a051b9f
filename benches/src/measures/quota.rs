//! How much of a vault's quota is used, and what that does to others who need the vault.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use simulator::{
    key_vault::{ALL_DATA_ACTIONS, Logged, RESOURCE, Throttling},
    proxy::Protocols,
};
use tokio::time::MissedTickBehavior;

use crate::{
    Result, Setup,
    azure::{Azure, Storage},
    client::tool,
    plot,
    report::{Report, table},
    series::short,
};

const VAULT: &str = "contoso-prod";

/// What every request takes, to the vault and to the storage.
const LATENCY: Duration = Duration::from_millis(20);

/// 4,000 in ten seconds (Microsoft Learn, "Azure Key Vault service limits").
const QUOTA: f64 = 400.0;

/// What product.md asks for.
const SHARE: f64 = 0.95;

/// One situation.
struct Situation {
    name: &'static str,
    /// `BACKUP_REQUESTS_PER_SECOND`.
    pace: f64,
    retry_after: Option<u32>,
    /// Requests per second of an application that needs the vault meanwhile.
    production: f64,
    /// Keys and certificates too, of which some count twice.
    mixed: bool,
    judged: Judged,
}

enum Judged {
    Share,
    Production,
    Nothing,
}

const SITUATIONS: [Situation; 7] = [
    Situation::alone("at the quota, no `Retry-After`", QUOTA, None, false, Judged::Share),
    Situation::alone("at the quota, `Retry-After: 1`", QUOTA, Some(1), false, Judged::Share),
    Situation::alone("at twice the quota, no `Retry-After`", 2.0 * QUOTA, None, false, Judged::Nothing),
    Situation::alone("at twice the quota, `Retry-After: 1`", 2.0 * QUOTA, Some(1), false, Judged::Nothing),
    Situation::alone("at the quota, with keys in HSMs that count twice", QUOTA, None, true, Judged::Nothing),
    Situation {
        name: "at the default pace, beside 250 requests per second of production",
        pace: 100.0,
        retry_after: None,
        production: 250.0,
        mixed: true,
        judged: Judged::Production,
    },
    Situation {
        name: "at the quota, beside 250 requests per second of production",
        pace: QUOTA,
        retry_after: None,
        production: 250.0,
        mixed: true,
        judged: Judged::Nothing,
    },
];

impl Situation {
    const fn alone(name: &'static str, pace: f64, retry_after: Option<u32>, mixed: bool, judged: Judged) -> Self {
        Self { name, pace, retry_after, production: 0.0, mixed, judged }
    }

    /// Enough items for so many seconds at this pace.
    fn items(&self, seconds: f64) -> usize {
        (self.pace.min(QUOTA) * seconds / 2.08) as usize
    }
}

pub(super) async fn run(setup: &Setup, report: &mut Report) -> Result<()> {
    let seconds = if setup.quick { 20.0 } else { 30.0 };
    let mut rows = Vec::new();
    for (index, situation) in SITUATIONS.iter().enumerate() {
        if setup.quick && !matches!(index, 0 | 5) {
            continue;
        }
        let seen = observe(setup, situation, seconds).await?;
        let share = seen.share();
        match situation.judged {
            Judged::Share => report.verdict(
                &format!("share of the quota, {}", situation.name),
                "95 %, no item failed",
                format!("{} %{}", short(share * 100.0), if seen.good { "" } else { ", items failed" }),
                share >= SHARE && seen.good,
            ),
            Judged::Production => report.verdict(
                &format!("production told to wait, {}", situation.name),
                "never",
                format!("{} of {} requests", seen.production_throttled, seen.production),
                seen.production_throttled == 0 && seen.good,
            ),
            Judged::Nothing => {}
        }
        rows.push(vec![
            situation.name.to_owned(),
            format!("{} %", short(share * 100.0)),
            short(seen.seconds),
            seen.throttled.to_string(),
            if seen.good { "none" } else { "**some**" }.to_owned(),
            if seen.production > 0 {
                format!("{} of {}", seen.production_throttled, seen.production)
            } else {
                "–".to_owned()
            },
        ]);
        if index + 1 == SITUATIONS.len() {
            report.image("quota.svg", seen.plot(situation)?);
        }
    }
    let head = ["", "of the quota", "seconds", "429s for us", "items failed", "429s for production"];
    report.section("quota", &table(&head, rows));
    Ok(())
}

/// What happened.
struct Seen {
    good: bool,
    /// What our requests counted for.
    granted: f64,
    /// From our first request to our last.
    seconds: f64,
    throttled: u64,
    production: u64,
    production_throttled: u64,
    requests: Vec<Logged>,
}

async fn observe(setup: &Setup, situation: &Situation, seconds: f64) -> Result<Seen> {
    let azure = Azure::start(Protocols::Both).await?;
    let items = situation.items(seconds);
    azure.add_vault(VAULT, if situation.mixed { items } else { 0 });
    for number in 0..if situation.mixed { 1 } else { items } {
        azure.vaults.set_secret(VAULT, &format!("secret-{number:05}"), "value");
    }
    azure.set_latency(LATENCY);
    let throttling = Throttling { scale: 1.0, retry_after: situation.retry_after };
    azure.vaults.set_throttling(VAULT, Some(throttling));
    let container = azure.create_container(Storage::Counted).await?;
    let program = tool(setup, &["backup", VAULT, "--full"], &container.url)
        .set("BACKUP_REQUESTS_PER_SECOND", situation.pace.to_string());
    azure.vaults.reset_log();
    let production = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let load = tokio::spawn(produce(azure.vaults.clone(), situation.production, Arc::clone(&production)));
    let ran = azure.client(program).run().await;
    load.abort();
    let requests: Vec<Logged> = azure.vaults.requests();
    let ours = || requests.iter().filter(|it| it.identity == "system");
    let (first, last) = (ours().map(|it| it.at_millis).min(), ours().map(|it| it.at_millis).max());
    let [asked, refused] = [0, 1].map(|index| production[index].load(Relaxed));
    if let Err(error) = &ran {
        eprintln!("{}: {error}", situation.name);
    }
    azure.check()?;
    Ok(Seen {
        good: ran.is_ok(),
        granted: azure.vaults.quota_granted(VAULT) - (asked - refused) as f64,
        seconds: (last.unwrap_or_default() - first.unwrap_or_default()) as f64 / 1e3,
        throttled: ours().filter(|it| it.status == 429).count() as u64,
        production: asked,
        production_throttled: refused,
        requests,
    })
}

/// An application that reads a secret so many times a second, evenly.
async fn produce(vaults: simulator::key_vault::KeyVaults, per_second: f64, counts: Arc<[AtomicU64; 2]>) {
    if per_second == 0.0 {
        return;
    }
    let application = vaults.directory().identity("production");
    vaults.assign(&application, VAULT, ALL_DATA_ACTIONS);
    let token = vaults.directory().mint(&application, RESOURCE);
    let mut turn = tokio::time::interval(Duration::from_secs_f64(1.0 / per_second));
    turn.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        turn.tick().await;
        let request = Request::get(format!("https://{VAULT}.vault.azure.net/secrets/secret-00000?api-version=7.6"))
            .header("authorization", format!("Bearer {token}"))
            .body(Bytes::new());
        let (vaults, counts) = (vaults.clone(), Arc::clone(&counts));
        let Ok(request) = request else { return };
        tokio::spawn(async move {
            let answer = vaults.handle(request).await;
            counts[0].fetch_add(1, Relaxed);
            counts[1].fetch_add(u64::from(answer.status() == 429), Relaxed);
        });
    }
}

impl Seen {
    fn share(&self) -> f64 {
        self.granted / (self.seconds * QUOTA)
    }

    /// What was asked and refused in every second.
    fn plot(&self, situation: &Situation) -> Result<String> {
        let start = self.requests.first().map_or(0, |it| it.at_millis);
        let count = |wanted: &dyn Fn(&Logged) -> bool| {
            let last = self.requests.last().map_or(0, |it| (it.at_millis - start) / 1000);
            let mut seconds: BTreeMap<i64, f64> = (0..=last).map(|second| (second, 0.0)).collect();
            for request in self.requests.iter().filter(|it| wanted(it)) {
                *seconds.entry((request.at_millis - start) / 1000).or_default() += 1.0;
            }
            seconds.into_iter().map(|(second, count)| (second as f64, count)).collect::<Vec<_>>()
        };
        let line =
            |label, colour, wanted: &dyn Fn(&Logged) -> bool| plot::Line { label, colour, points: count(wanted) };
        let lines = [
            line("keyvault-backup asks", (31, 119, 180), &|it| it.identity == "system"),
            line("keyvault-backup is told to wait", (214, 39, 40), &|it| it.identity == "system" && it.status == 429),
            line("production asks", (44, 160, 44), &|it| it.identity == "production"),
            line("production is told to wait", (255, 127, 14), &|it| it.identity == "production" && it.status == 429),
        ];
        plot::lines(&format!("Pacing {}", situation.name), "seconds", "requests per second", &lines)
    }
}
