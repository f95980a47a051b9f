//! The function app: the Functions host stand-in with this executable as its custom handler, and a client of its API.

use std::{collections::BTreeMap, path::Path, time::Duration};

use reqwest::RequestBuilder;
use serde_json::Value;
use simulator::functions_host::{Host, HostOptions, Level, Settings, read_settings};
use url::Url;

use crate::{
    Result,
    azure::{Azure, DISASTER_RECOVERY, PRODUCTION},
    story::number,
};

/// The app's folder: host.json and one folder per function.
const APP_ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The key that the API asks for.
const FUNCTIONS_KEY: &str = "quickstart-functions-key";

/// The time between two looks at an operation. Its `Retry-After` says 5 s; whoever watches a demonstration waits less.
const POLL: Duration = Duration::from_millis(250);

/// The running app.
pub(crate) struct App {
    host: Host,
    http: reqwest::Client,
}

/// An answer of the API.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Where to ask about the operation that was started.
    pub(crate) operation_location: Option<Url>,
    pub(crate) body: Value,
}

/// A backup as the API shows it.
pub(crate) struct Backup {
    /// All but the items.
    pub(crate) summary: Value,
    /// The bytes of all items of a kind.
    pub(crate) bytes: BTreeMap<String, u64>,
}

impl App {
    /// Starts the host, and the host starts the handler. Backups go to the folder `backups` in `folder`.
    pub(crate) async fn start(azure: &Azure, folder: &Path, requests_per_second: f64) -> Result<Self> {
        let mut options = HostOptions::new(APP_ROOT);
        options.handler = Some(std::env::current_exe()?);
        options.functions_key = FUNCTIONS_KEY.to_owned();
        options.settings = settings(azure, folder, requests_per_second)?;
        let host = Host::start(options).await?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { host, http })
    }

    /// Where a path of the API is.
    pub(crate) fn url(&self, path: &str) -> Result<Url> {
        Ok(self.host.url().join("api/")?.join(path)?)
    }

    /// Fires a timer now instead of at its hour.
    pub(crate) async fn fire(&self, timer: &str) -> Result<()> {
        match self.host.fire(timer).await?.error {
            None => Ok(()),
            Some(error) => Err(format!("{timer} failed: {error}").into()),
        }
    }

    /// The body of a `GET` that must be answered with 200.
    pub(crate) async fn get(&self, url: Url) -> Result<Value> {
        let asked = format!("GET {url}");
        let Answer { status, body, .. } = self.send(self.http.get(url)).await?;
        if status == 200 { Ok(body) } else { Err(format!("{asked} was answered with {status}: {body}").into()) }
    }

    /// Asks for something.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        let request = self.http.post(self.url(path)?).header("Content-Type", "application/json");
        self.send(request.body(body.to_string())).await
    }

    /// Asks about an operation until it has ended, and tells every change on the way; gives it as it ended, which must
    /// be with success.
    pub(crate) async fn follow(&self, location: &Url, mut tell: impl FnMut(&Value)) -> Result<Value> {
        let mut last = Value::Null;
        loop {
            let operation = self.get(location.clone()).await?;
            let look = Value::from(vec![operation["status"].clone(), operation["progress"].clone()]);
            if look != last {
                tell(&operation);
                last = look;
            }
            match operation["status"].as_str() {
                Some("NotStarted" | "Running") => self.pause().await?,
                Some("Succeeded") => return Ok(operation),
                _ => {
                    let Value::Object(mut operation) = operation else {
                        return Err("an operation is no object".into());
                    };
                    operation.remove("items");
                    return Err(format!("the operation did not succeed: {}", Value::from(operation)).into());
                }
            }
        }
    }

    /// Waits before the next look, which makes sense only while the host is there.
    pub(crate) async fn pause(&self) -> Result<()> {
        if let Some(why) = self.host.stopped() {
            return Err(format!("the Functions host stopped: {why}").into());
        }
        tokio::time::sleep(POLL).await;
        Ok(())
    }

    /// The newest backup of a vault.
    pub(crate) async fn newest_backup(&self, vault: &str) -> Result<Backup> {
        let mut bytes = BTreeMap::new();
        let mut next = self.url(&format!("backups/{vault}/latest?top=1000"))?;
        loop {
            let mut page = self.get(next).await?;
            for item in page["items"].as_array().into_iter().flatten() {
                *bytes.entry(item["kind"].as_str().unwrap_or_default().to_owned()).or_default() +=
                    number(&item["size"]);
            }
            match page["nextLink"].as_str() {
                Some(link) => next = link.parse()?,
                None => {
                    page["items"].take();
                    return Ok(Backup { summary: page, bytes });
                }
            }
        }
    }

    /// What the host and the handler complained about; shown when the story fails.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let lines = self.host.logs().into_iter().filter(|line| line.level > Level::Information);
        lines.map(|line| format!("{}: {}", line.category, line.message)).collect()
    }

    /// Ends the handler and the host.
    pub(crate) async fn stop(self) {
        self.host.stop().await;
    }

    async fn send(&self, request: RequestBuilder) -> Result<Answer> {
        let response = request.header("x-functions-key", FUNCTIONS_KEY).send().await?;
        let status = response.status().as_u16();
        let operation_location = match response.headers().get("operation-location") {
            Some(location) => Some(location.to_str()?.parse()?),
            None => None,
        };
        let text = response.bytes().await?;
        Ok(Answer { status, operation_location, body: serde_json::from_slice(&text).unwrap_or_default() })
    }
}

/// The app settings: those of the example file, with what this machine and this story need.
fn settings(azure: &Azure, folder: &Path, requests_per_second: f64) -> Result<Settings> {
    let mut settings = read_settings(&Path::new(APP_ROOT).join("local.settings.json.example"))?;
    let backups = Url::from_file_path(folder.join("backups")).map_err(|()| "the backup folder is not absolute")?;
    let own = [
        ("BACKUP_VAULTS", PRODUCTION.to_owned()),
        ("BACKUP_STORE_URL", backups.into()),
        ("BACKUP_REQUESTS_PER_SECOND", requests_per_second.to_string()),
        ("RESTORE_TARGET_VAULTS", DISASTER_RECOVERY.to_owned()),
    ];
    settings.extend(own.into_iter().chain(azure.environment()).map(|(name, value)| (name.to_owned(), value)));
    Ok(settings)
}
