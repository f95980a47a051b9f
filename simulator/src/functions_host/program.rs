//! The program `simulator host`: what `func start` is to the real host.
#![allow(clippy::print_stdout, reason = "it is a terminal program; this is its output")]

use super::{
    Core, Error, Host, HostOptions, Level, Queues, Result, Settings, StorageQueues,
    function_json::{AuthLevel, Trigger},
    read_settings,
};
use std::path::PathBuf;
use url::Url;

/// Runs a Functions app with a custom handler until Ctrl-C.
#[derive(clap::Args)]
pub struct Args {
    /// Folder with host.json and one folder per function
    #[arg(long, default_value = ".")]
    app_root: PathBuf,
    /// Handler program to start instead of the one host.json names
    #[arg(long)]
    handler: Option<PathBuf>,
    /// Port of the HTTP front on 127.0.0.1
    #[arg(long, default_value_t = 7071)]
    port: u16,
    /// App settings in the format of local.settings.json
    #[arg(long)]
    settings: Option<PathBuf>,
    /// "memory", or the https URL of Azurite's queue service, such as https://127.0.0.1:10001/devstoreaccount1
    #[arg(long, default_value = "memory")]
    queues: String,
    /// Certificate authority, PEM, that signed Azurite's certificate
    #[arg(long)]
    queues_ca: Option<PathBuf>,
    /// Key that callers of the functions need
    #[arg(long, default_value = "local-functions-key")]
    functions_key: String,
}

/// Runs the program.
///
/// # Errors
/// When the app cannot be started, or the host stops because the handler keeps failing.
pub async fn run(args: Args) -> Result<()> {
    let mut options = HostOptions::new(args.app_root);
    options.handler = args.handler;
    options.port = args.port;
    options.settings = args.settings.as_deref().map_or_else(|| Ok(Settings::new()), read_settings)?;
    options.functions_key = args.functions_key;
    options.run_schedules = true;
    options.queues = match args.queues.as_str() {
        "memory" => Queues::InMemory,
        url => {
            let endpoint = Url::parse(url).map_err(|e| Error::new(format!("--queues {url} is no URL: {e}")))?;
            let authority = args.queues_ca.map(|file| {
                std::fs::read(&file).map_err(|e| Error::new(format!("cannot read --queues-ca {}: {e}", file.display())))
            });
            Queues::Storage(StorageQueues::azurite(endpoint, authority.transpose()?.as_deref())?)
        }
    };
    let host = Host::start(options).await?;
    announce(&host.core, host.url());
    let mut lines = host.core.log.follow();
    let mut state = host.core.handler.state();
    let mut shown = 0;
    loop {
        {
            let lines = lines.borrow_and_update();
            lines[shown..].iter().for_each(print);
            shown = lines.len();
        }
        tokio::select! {
            _ = lines.changed() => {}
            _ = state.changed() => {
                if let Some(why) = host.stopped() {
                    return Err(Error::new(format!("the host stopped: {why}")));
                }
            }
            _ = tokio::signal::ctrl_c() => {
                host.stop().await;
                return Ok(());
            }
        }
    }
}

fn announce(core: &Core, url: &Url) {
    println!("Functions:\n");
    for function in core.functions.values() {
        let name = &function.name;
        match &function.trigger {
            Trigger::Http { methods, route, auth, .. } => {
                let methods = methods.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
                let key = if *auth == AuthLevel::Anonymous { "" } else { "  (x-functions-key)" };
                let path: Vec<_> =
                    [core.route_prefix.as_str(), &route.template].into_iter().filter(|s| !s.is_empty()).collect();
                println!("  {name}: [{methods}] {url}{}{key}", path.join("/"));
            }
            Trigger::Queue { queue, .. } => println!("  {name}: queue {queue}"),
            Trigger::Timer { schedule, .. } => {
                println!("  {name}: timer, next at {}", schedule.show_next());
                println!("    POST {url}admin/functions/{name} runs it now  (x-functions-key)");
            }
        }
    }
    println!();
}

fn print(line: &super::LogLine) {
    let level = match line.level {
        Level::Information => "info",
        Level::Warning => "warn",
        Level::Error => "fail",
    };
    println!("{level} {}: {}", line.category, line.message);
}
