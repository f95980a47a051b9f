//! Microsoft's own storage emulator, started beside the simulator over HTTPS.
//!
//! It takes bearer tokens (`--oauth basic`), whose claims it checks but not their signature, so the managed-identity
//! endpoint of the simulator opens it as it opens the vaults.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::proxy::Authority;

/// The account every Azurite has.
pub const ACCOUNT: &str = "devstoreaccount1";

/// Node loads Azurite's two hundred modules in a second or two; a busy machine may take many times that.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs Azurite until its standard input ends, so that it cannot outlive this process however this process dies.
const LAUNCHER: &str = "process.stdin.on('end', () => process.exit(0)).resume(); require(process.argv[1]);";

/// A running Azurite with an empty blob and queue store in memory; dropping it stops it.
#[derive(Debug)]
pub struct Azurite {
    blob_url: String,
    queue_url: String,
    requests: RequestLog,
    _process: Child,
}

/// What Azurite has been asked, by container or queue and then by method and, if there is one, what `comp` asks for:
/// `PUT`, `GET list`.
#[derive(Clone, Debug, Default)]
pub struct RequestLog(Arc<Mutex<BTreeMap<String, BTreeMap<String, u64>>>>);

impl RequestLog {
    /// How many requests of each sort a container has had. Azurite tells of a request a moment after it has answered.
    pub fn of(&self, container: &str) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(container).cloned().unwrap_or_default()
    }

    fn note(&self, line: &str) {
        if let Some((container, what)) = answered(line) {
            let mut requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *requests.entry(container).or_default().entry(what).or_default() += 1;
        }
    }
}

impl Azurite {
    /// Starts Azurite on free loopback ports with a certificate of this authority, and waits until it listens.
    ///
    /// Its program is `AZURITE_JS`, or else what `scripts/tools.sh` installed.
    ///
    /// # Errors
    /// When Node or Azurite is missing or Azurite does not start. The message says what to do.
    pub async fn start(authority: &Authority) -> io::Result<Self> {
        let program = find(env::var_os("AZURITE_JS"))?;
        let certificate = authority.certify("azurite", &["localhost", "127.0.0.1"])?;
        let mut process = Command::new("node")
            .args(["-e", LAUNCHER])
            .arg(&program)
            .args(["--oauth", "basic", "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"])
            .args(["--blobHost", "127.0.0.1", "--blobPort", "0", "--queueHost", "127.0.0.1"])
            .args(["--queuePort", "0", "--tableHost", "127.0.0.1", "--tablePort", "0", "--cert"])
            .arg(&certificate.chain)
            .arg("--key")
            .arg(&certificate.key)
            .env_remove("AZURITE_ACCOUNTS")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("Could not start Azurite with node: {error}. Install Node.js, then run scripts/test.sh."),
                )
            })?;
        let stdout = process.stdout.take().expect("standard output is piped");
        let mut lines = BufReader::new(stdout).lines();
        let urls = tokio::time::timeout(PATIENCE, listening(&mut lines)).await;
        let (blob_url, queue_url) = match urls {
            Ok(Some(urls)) => urls,
            Ok(None) => return Err(died(process, &program).await),
            Err(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("Azurite ({}) did not listen within {} s.", program.display(), PATIENCE.as_secs()),
                ));
            }
        };
        let requests = RequestLog::default();
        // A pipe nobody empties would stop Azurite once it is full.
        tokio::spawn({
            let requests = requests.clone();
            async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    requests.note(&line);
                }
            }
        });
        if let Some(mut stderr) = process.stderr.take() {
            tokio::spawn(async move { tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await });
        }
        Ok(Self { blob_url, queue_url, requests, _process: process })
    }

    /// Where the account's containers are: `https://127.0.0.1:PORT/devstoreaccount1`.
    pub fn blob_url(&self) -> &str {
        &self.blob_url
    }

    /// Where the account's queues are.
    pub fn queue_url(&self) -> &str {
        &self.queue_url
    }

    /// What it is asked, kept up to date.
    pub fn requests(&self) -> &RequestLog {
        &self.requests
    }
}

/// Azurite closes idle connections after five seconds.
const IDLE: Duration = Duration::from_secs(4);

/// Azurite behind somebody who answers under the name that the account would have in Azure.
#[derive(Clone, Debug)]
pub struct Account {
    client: reqwest::Client,
    url: String,
}

impl Account {
    /// The account at the [`Azurite::blob_url`], whose certificate is of this authority (PEM).
    ///
    /// # Errors
    /// When the authority's certificate cannot be read.
    pub fn new(authority: &[u8], url: &str) -> reqwest::Result<Self> {
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(authority)?])
            .no_proxy()
            .pool_idle_timeout(IDLE)
            .build()?;
        Ok(Self { client, url: url.to_owned() })
    }

    /// Passes a request on: Azurite has the account's name in the path, Azure in the host.
    ///
    /// # Errors
    /// When Azurite does not answer.
    pub async fn pass(&self, request: Request<Bytes>) -> reqwest::Result<Response<Bytes>> {
        let (mut head, body) = request.into_parts();
        for name in [header::HOST, header::CONNECTION, header::TRANSFER_ENCODING] {
            head.headers.remove(name);
        }
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let request = self.client.request(head.method, format!("{}{path}", self.url)).headers(head.headers).body(body);
        let answer = request.send().await?;
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        headers.remove(header::CONNECTION);
        headers.remove(header::TRANSFER_ENCODING);
        let mut response = Response::new(answer.bytes().await?);
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        Ok(response)
    }
}

/// The URLs, once Azurite has said that all its services listen; `None` when it ended without.
async fn listening(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<(String, String)> {
    let (mut blob, mut queue) = (None, None);
    while let Ok(Some(line)) = lines.next_line().await {
        // "Azurite Blob service is successfully listening at https://127.0.0.1:10000"
        let Some((service, address)) = line.split_once(" service is successfully listening at ") else { continue };
        let url = format!("{}/{ACCOUNT}", address.trim());
        match service {
            "Azurite Blob" => blob = Some(url),
            "Azurite Queue" => queue = Some(url),
            _ => {}
        }
        if let (Some(blob), Some(queue)) = (&blob, &queue) {
            return Some((blob.clone(), queue.clone()));
        }
    }
    None
}

/// The container and the sort of a request, from a line of the access log:
/// `127.0.0.1 - - [22/Nov/2026:02:00:00 +0000] "PUT /devstoreaccount1/container/blob?comp=lease HTTP/1.1" 201 -`.
fn answered(line: &str) -> Option<(String, String)> {
    let (method, rest) = line.split_once('"')?.1.split_once(' ')?;
    let target = rest.split_once(' ')?.0;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let container = path.strip_prefix('/')?.strip_prefix(ACCOUNT)?.strip_prefix('/')?.split('/').next()?;
    let comp = query.split('&').find_map(|pair| pair.strip_prefix("comp="));
    Some((container.to_owned(), comp.map_or_else(|| method.to_owned(), |comp| format!("{method} {comp}"))))
}

async fn died(mut process: Child, program: &Path) -> io::Error {
    let mut said = String::new();
    if let Some(mut stderr) = process.stderr.take() {
        let _ = stderr.read_to_string(&mut said).await;
    }
    io::Error::other(format!(
        "Azurite ({}) ended instead of listening. Run scripts/test.sh, which installs it anew if needed. It said: {}",
        program.display(),
        said.trim()
    ))
}

fn find(configured: Option<OsString>) -> io::Result<PathBuf> {
    let program = configured.map_or_else(|| tools().join("node_modules/azurite/dist/src/azurite.js"), PathBuf::from);
    if program.is_file() {
        return Ok(program);
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!("There is no Azurite at {}. Run scripts/test.sh, which installs it.", program.display()),
    ))
}

/// Where `scripts/tools.sh` installs what is not Rust: `tools` in the target folder.
pub fn tools() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target"), PathBuf::from);
    target.join("tools")
}

#[cfg(test)]
mod tests {
    use super::{answered, find};

    #[test]
    fn requests_are_told_apart_by_container_method_and_what_is_asked_for() {
        let line = |request: &str| format!("127.0.0.1 - - [22/Nov/2026:02:00:00 +0000] \"{request} HTTP/1.1\" 201 -");
        let of = |request: &str| answered(&line(request));
        let found = |container: &str, what: &str| Some((container.to_owned(), what.to_owned()));
        assert_eq!(of("PUT /devstoreaccount1/backups/a/b.backup"), found("backups", "PUT"));
        assert_eq!(of("GET /devstoreaccount1/backups?restype=container&comp=list"), found("backups", "GET list"));
        assert_eq!(of("PUT /devstoreaccount1/state/leases/a?comp=lease"), found("state", "PUT lease"));
        assert_eq!(of("GET /elsewhere/backups"), None);
        assert_eq!(answered("Azurite Blob service is starting"), None);
    }

    #[test]
    fn a_missing_azurite_is_an_error_that_names_the_place_and_the_remedy() {
        let error = find(Some("/nowhere/azurite.js".into())).expect_err("nothing is there");
        let text = error.to_string();
        assert!(text.contains("/nowhere/azurite.js") && text.contains("scripts/test.sh"), "{text}");
    }
}
