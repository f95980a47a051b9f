//! The deployed app as its clients see it: the same operations as [`crate::jobs`], asked of its HTTP API
//! (`docs/openapi.yaml`) and answered with the same values, for those who have no rights of their own.
//!
//! Every request may be repeated: what starts something has an `Operation-Id`. No address of an answer is followed, so that
//! the key goes to the host that was named and to no other (`docs/decisions/0033-the-app-as-a-deputy.md`).

mod answer;
mod body;

use std::{collections::HashSet, sync::Arc, time::Duration};

use azure_core::{
    credentials::TokenCredential,
    error::ErrorKind as Cause,
    http::{HttpClient, Method, Request},
};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};
use url::Url;
use uuid::Uuid;

use self::answer::Answer;
use crate::{
    config::{AppAccess, connect},
    coverage::Coverage,
    error::{Error, ErrorKind, Result},
    jobs::{BackupRequest, Comparison, DrillRequest, RestoreRequest},
    model::{BackupId, Label, VaultName},
    report::Progress,
    repository::{
        BackupRef,
        findings::Findings,
        guard::Acknowledgement,
        manifest::{Guard, Header, Manifest},
        operation::Operation,
    },
    restore::Plan,
};

/// Rows of a page. The app reads something for each vault and each backup of a page before it answers.
const ROWS: usize = 200;

/// How often a request is sent that is not answered, or answered with "later".
const ATTEMPTS: u32 = 4;

/// The longest that one `Retry-After` is believed.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How often an operation is looked at: its record is written as often.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long the following of an operation goes on while the app does not answer: a deployment, or a restart.
const PATIENCE: Duration = Duration::from_secs(300);

/// From here on a call that was cut off has met the front end of the app, which waits for 230 seconds ([`connect`]).
const CUT_OFF_AFTER: Duration = Duration::from_secs(200);

/// A backup of a listing, whose manifest may be damaged or from a newer release.
pub type Row = (BackupRef, Result<Header>);

/// The backups of a vault.
#[derive(Debug)]
pub struct Backups {
    /// Newest first.
    pub rows: Vec<Row>,
    /// Those in which the last verification found damage.
    pub damaged: HashSet<BackupId>,
    /// What tripped the guard, if it is up; an error when that cannot be told.
    pub guard: Result<Option<Guard>>,
}

/// Something that the app was asked to do.
#[derive(Debug)]
pub struct Started {
    /// As it stood when the app answered.
    pub operation: Operation,
    /// When the app wants to be asked about it.
    pub ask_after: Duration,
}

/// The deployed app.
pub struct App {
    access: AppAccess,
    client: Arc<dyn HttpClient>,
    sign_in: Option<Arc<dyn TokenCredential>>,
}

/// What is asked of the app.
struct Asked<'a> {
    method: Method,
    path: &'a [&'a str],
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
    operation: Option<Uuid>,
}

impl App {
    /// Asks nothing yet.
    pub fn new(access: AppAccess) -> Result<Self> {
        let sign_in = access.scope.is_some().then(connect::own_sign_in).transpose()?;
        Ok(Self { sign_in, ..Self::over(connect::app_client()?, access) })
    }

    /// The app behind this client, without a sign-in.
    pub fn over(client: Arc<dyn HttpClient>, access: AppAccess) -> Self {
        Self { access, client, sign_in: None }
    }

    /// What a person calls it.
    pub fn describe(&self) -> String {
        let (host, port) = (self.access.api.host_str().unwrap_or_default(), self.access.api.port());
        format!("the app at {host}{}", port.map(|port| format!(":{port}")).unwrap_or_default())
    }

    /// The vault of that name or URI.
    pub fn name(&self, text: &str) -> Result<VaultName> {
        VaultName::parse(text, self.access.cloud)
    }

    /// How well these vaults are protected; all in the app's scope and all that have backups when none is named.
    pub async fn vaults(&self, only: &[VaultName]) -> Result<Vec<Coverage>> {
        let only: Vec<&str> = only.iter().map(VaultName::as_str).collect();
        let query = if only.is_empty() { Vec::new() } else { vec![("vaults", only.join(","))] };
        let body = self.pages(&["backups"], query, "value", ROWS).await?;
        let rows: Vec<Coverage> = body::rows(body, "value", body::coverage)?;
        let position = |row: &Coverage| only.iter().position(|name| *name == row.vault.as_str());
        if let Some(missing) = only.iter().find(|name| !rows.iter().any(|row| row.vault.as_str() == **name)) {
            return Err(self.is_older(&format!("it does not tell of vault {missing}")));
        }
        let mut rows: Vec<Coverage> =
            rows.into_iter().filter(|row| only.is_empty() || position(row).is_some()).collect();
        // In the order in which they were named; without names they stay as they are.
        rows.sort_by_key(position);
        Ok(rows)
    }

    /// The backups of a vault.
    pub async fn backups(&self, vault: &VaultName) -> Result<Backups> {
        let body = self.pages(&["backups", vault.as_str()], Vec::new(), "value", ROWS).await?;
        let damaged = body::damaged(&body["value"])?;
        Ok(Backups { guard: body::guard(&body), damaged, rows: body::rows(body, "value", body::row)? })
    }

    /// What tripped the guard of a vault, if it is up.
    pub async fn guard(&self, vault: &VaultName) -> Result<Option<Guard>> {
        body::guard(&self.get(&["backups", vault.as_str()], vec![("top", "1".to_owned())]).await?)
    }

    /// Says that what tripped the guard was meant.
    pub async fn acknowledge_guard(
        &self,
        vault: &VaultName,
        backup: &BackupId,
        by: &str,
        reason: Option<&str>,
    ) -> Result<Acknowledgement> {
        let order = json!({ "backup": backup, "by": by, "reason": reason });
        body::acknowledgement(self.post(&["backups", vault.as_str(), "guard"], order, None).await?)
    }

    /// All about a backup but its items, and whether the last verification found damage in it.
    pub async fn header(&self, vault: &VaultName, backup: &str) -> Result<(Header, bool)> {
        let body = self.get(&["backups", vault.as_str(), backup], vec![("top", "1".to_owned())]).await?;
        let damaged = body["damaged"] == true;
        Ok((body::manifest(body)?.header, damaged))
    }

    /// A backup with its items, and whether the last verification found damage in it.
    pub async fn backup(&self, vault: &VaultName, backup: &str) -> Result<(Manifest, bool)> {
        let body = self.whole(&["backups", vault.as_str(), backup], Vec::new()).await?;
        let damaged = body["damaged"] == true;
        Ok((body::manifest(body)?, damaged))
    }

    /// Compares a backup with another one of `with`, or with that vault as it is now when none is named.
    pub async fn compare(
        &self,
        vault: &VaultName,
        from: &BackupId,
        to: Option<&BackupId>,
        with: &VaultName,
    ) -> Result<Comparison> {
        let mut query = vec![("compare", to.map_or("live", BackupId::as_str).to_owned())];
        if with != vault {
            query.push(("with", with.to_string()));
        }
        let path = ["backups", vault.as_str(), from.as_str()];
        let comparison = body::comparison(self.whole(&path, query).await?)?;
        if comparison.to_vault != *with {
            return Err(self.is_older("it compares backups of one vault only"));
        }
        Ok(comparison)
    }

    /// What a restore would do.
    pub async fn plan_restore(&self, request: &RestoreRequest) -> Result<Plan> {
        let mut order = json!(request);
        order["dryRun"] = true.into();
        body::plan(self.post(&["restore"], order, None).await?)
    }

    /// Starts a restore, or finds the one that was started under that id.
    pub async fn restore(&self, id: Uuid, request: &RestoreRequest) -> Result<Started> {
        self.start(&["restore"], json!(request), id).await
    }

    /// Starts backups of these vaults; of all in the app's scope when none is named.
    pub async fn back_up(
        &self,
        vaults: &[VaultName],
        label: Option<&Label>,
        request: &BackupRequest,
    ) -> Result<Vec<Started>> {
        let vaults = (!vaults.is_empty()).then_some(vaults);
        let order = json!({ "vaults": vaults, "label": label, "full": request.full });
        let (body, ask_after) = self.order(&["backups"], order, Some(Uuid::new_v4())).await?;
        let operations = match body.get("value") {
            Some(_) => body::rows(body, "value", body::operation)?,
            None => vec![body::operation(body)?],
        };
        Ok(operations.into_iter().map(|operation| Started { operation, ask_after }).collect())
    }

    /// Starts a verification of a vault's backups.
    pub async fn verify(&self, vault: &VaultName) -> Result<Started> {
        self.start(&["backups", vault.as_str(), "verify"], json!({}), Uuid::new_v4()).await
    }

    /// Starts a drill of a backup in the app's drill vault.
    pub async fn drill(&self, vault: &VaultName, request: &DrillRequest) -> Result<Started> {
        self.start(&["backups", vault.as_str(), "drill"], json!(request), Uuid::new_v4()).await
    }

    /// What the app's retention policy would remove, as [`crate::json::prune`] describes it.
    pub async fn plan_prune(&self, vault: &VaultName) -> Result<Value> {
        self.post(&["backups", vault.as_str(), "prune"], json!({ "dryRun": true }), None).await
    }

    /// The newest operations, newest first and without their items.
    pub async fn operations(&self, most: usize) -> Result<Vec<Operation>> {
        let body = self.get(&["operations"], vec![("top", most.to_string())]).await?;
        body::rows(body, "value", body::operation)
    }

    /// An operation, and of a verification what it found, as long as no later one has ended.
    pub async fn operation(&self, id: Uuid) -> Result<(Operation, Option<Findings>)> {
        let body = self.get(&["operations", &id.to_string()], Vec::new()).await?;
        let found = body::findings(&body)?;
        Ok((body::operation(body)?, found))
    }

    /// Looks at an operation until it has ended, and passes its progress on. An app that does not answer for a while is
    /// waited for.
    pub async fn follow(&self, started: Started, progress: &Progress) -> Result<(Operation, Option<Findings>)> {
        let Started { operation: Operation { id, status, .. }, ask_after } = started;
        // A repeated request may find that all is done.
        if !status.is_final() {
            sleep(ask_after.min(LONGEST_WAIT)).await;
        }
        let mut answered = Instant::now();
        loop {
            match self.operation(id).await {
                Ok((operation, found)) => {
                    answered = Instant::now();
                    progress.show(operation.progress);
                    if operation.status.is_final() {
                        return Ok((operation, found));
                    }
                }
                Err(error) if error.kind().is_transient() && answered.elapsed() < PATIENCE => (),
                Err(error) => {
                    let message =
                        format!("Operation {id} was started, and how it ends is not known. {}", error.message());
                    return Err(Error::new(error.kind(), message).because(error));
                }
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn get(&self, path: &[&str], query: Vec<(&'static str, String)>) -> Result<Value> {
        let asked = Asked { method: Method::Get, path, query, body: None, operation: None };
        self.ask(asked).await.map(|(body, _)| body)
    }

    /// An answer that holds all rows, so that they are of one moment, and made once.
    async fn whole(&self, path: &[&str], query: Vec<(&'static str, String)>) -> Result<Value> {
        let body = self.get(path, query).await?;
        if body["nextLink"].is_null() { Ok(body) } else { Err(self.is_older("it gives pages of what is one answer")) }
    }

    async fn post(&self, path: &[&str], body: Value, operation: Option<Uuid>) -> Result<Value> {
        self.order(path, body, operation).await.map(|(body, _)| body)
    }

    async fn start(&self, path: &[&str], body: Value, id: Uuid) -> Result<Started> {
        let (body, ask_after) = self.order(path, body, Some(id)).await?;
        Ok(Started { operation: body::operation(body)?, ask_after })
    }

    async fn order(&self, path: &[&str], body: Value, operation: Option<Uuid>) -> Result<(Value, Duration)> {
        // Null counts as absent there, and is no field that an older app could refuse.
        let body = match body {
            Value::Object(fields) => fields.into_iter().filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>(),
            _ => Map::new(),
        };
        let (body, wait) = self
            .ask(Asked { method: Method::Post, path, query: Vec::new(), body: Some(body.into()), operation })
            .await?;
        Ok((body, wait.unwrap_or(LOOK_EVERY)))
    }

    /// All pages of a listing: the first one, with the rows of all others in its `field`.
    async fn pages(
        &self,
        path: &[&str],
        mut query: Vec<(&'static str, String)>,
        field: &str,
        rows: usize,
    ) -> Result<Value> {
        query.push(("top", rows.to_string()));
        let mut whole = self.get(path, query.clone()).await?;
        let mut next = whole["nextLink"].take();
        while let Some(after) = after(&next) {
            let mut query = query.clone();
            query.push(("after", after));
            let mut page = self.get(path, query).await?;
            next = page["nextLink"].take();
            match (&mut whole[field], page[field].take()) {
                (Value::Array(rows), Value::Array(more)) if !more.is_empty() => rows.extend(more),
                // Without this an answer that leads nowhere would be asked for for ever.
                _ => return Err(self.is_older("it gives a page without rows")),
            }
        }
        Ok(whole)
    }

    /// Asks, and asks again what was not answered or answered with "later".
    async fn ask(&self, asked: Asked<'_>) -> Result<(Value, Option<Duration>)> {
        let mut attempt = 1;
        loop {
            let request = self.request(&asked).await?;
            let start = Instant::now();
            let (result, again, wait) = match self.exchange(&request).await {
                Ok(answer) => (answer.read(self), answer.is_for_later(), answer.retry_after()),
                Err(_) if start.elapsed() >= CUT_OFF_AFTER => (Err(answer::cut_off(&self.describe())), false, None),
                Err(cause) => {
                    // What cannot be reached at all is not there a second later either.
                    let is_there = *cause.kind() != Cause::Connection;
                    (Err(answer::no_answer(&self.describe()).because(cause)), is_there, None)
                }
            };
            if !again || attempt == ATTEMPTS {
                return result.map(|body| (body, wait));
            }
            sleep(wait.unwrap_or(Duration::from_secs(1 << (attempt - 1))).min(LONGEST_WAIT)).await;
            attempt += 1;
        }
    }

    async fn exchange(&self, request: &Request) -> azure_core::Result<Answer> {
        let (status, headers, body) = self.client.execute_request(request).await?.deconstruct();
        Ok(Answer::new(status.into(), &headers, body.collect().await?))
    }

    async fn request(&self, asked: &Asked<'_>) -> Result<Request> {
        let mut request = Request::new(self.url(asked), asked.method);
        if let Some(key) = &self.access.key {
            request.insert_header("x-functions-key", key.secret().to_owned());
        }
        if let Some(token) = self.token().await? {
            request.insert_header("authorization", format!("Bearer {token}"));
        }
        if let Some(id) = asked.operation {
            request.insert_header("operation-id", id.to_string());
        }
        if let Some(body) = &asked.body {
            request.insert_header("content-type", "application/json");
            request.set_body(body.to_string().into_bytes());
        }
        Ok(request)
    }

    /// The token of whoever runs this, when there is a scope for it. The credential keeps it until it is old.
    async fn token(&self) -> Result<Option<String>> {
        let (Some(sign_in), Some(scope)) = (&self.sign_in, &self.access.scope) else { return Ok(None) };
        let token = sign_in.get_token(&[scope], None).await.map_err(|cause| {
            let kind =
                if crate::token::may_come(&cause) { ErrorKind::Unavailable } else { ErrorKind::Unauthenticated };
            let message = format!(
                "No token for {scope} could be had to sign in to {}. Sign in with `az login --scope {scope}` or `azd auth \
                 login`, or give a function key instead.",
                self.describe()
            );
            Error::new(kind, message).because(cause)
        })?;
        Ok(Some(token.token.secret().to_owned()))
    }

    fn url(&self, asked: &Asked<'_>) -> Url {
        let mut url = self.access.api.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(asked.path);
        }
        if !asked.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&asked.query);
        }
        url
    }

    fn is_older(&self, why: &str) -> Error {
        let message = format!(
            "{} is of another release than this program, which is {}: {why}. Deploy this release, or run the command \
             without --app.",
            answer::capital(&self.describe()),
            answer::RELEASE
        );
        Error::new(ErrorKind::InvalidInput, message).at("BACKUP_APP_URL")
    }
}

/// Where a page ends that another one follows. Of the link to that one nothing else is used: it may name any host.
fn after(next: &Value) -> Option<String> {
    let link: Url = next.as_str()?.parse().ok()?;
    link.query_pairs().find(|(name, _)| name == "after").map(|(_, after)| after.into_owned())
}
