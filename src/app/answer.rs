//! What an answer means: the app's own words, or those of what stands before it (the Functions host, the front end of App
//! Service, something else that answers at the address).

use std::time::Duration;

use azure_core::http::headers::{HeaderName, Headers};
use bytes::Bytes;
use serde_json::Value;

use super::App;
use crate::{
    error::{Error, ErrorKind, Result},
    json::RELEASE_HEADER,
};

/// The release of this program.
pub(super) const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// One answer, read to its end.
pub(super) struct Answer {
    status: u16,
    release: Option<String>,
    retry_after: Option<String>,
    location: Option<String>,
    body: Bytes,
}

/// Whether the app itself said this: it always gives a reason.
fn is_refusal(error: &Value) -> bool {
    error["code"].is_string() && error["message"].as_str().is_some_and(|message| !message.is_empty())
}

impl Answer {
    pub(super) fn new(status: u16, headers: &Headers, body: Bytes) -> Self {
        let header = |name| headers.get_optional_str(&HeaderName::from_static(name)).map(str::to_owned);
        let (release, retry_after) = (header(RELEASE_HEADER), header("retry-after"));
        Self { status, release, retry_after, location: header("location"), body }
    }

    /// How long the app wants to be left alone. A date instead of seconds, which Azure does not send here, counts as
    /// nothing.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.retry_after.as_ref()?.trim().parse().ok().map(Duration::from_secs)
    }

    /// Whether the same request may be answered a little later.
    pub(super) fn is_for_later(&self) -> bool {
        matches!(self.status, 429 | 502 | 503)
    }

    /// The body of what was done, or why it was not.
    pub(super) fn read(&self, app: &App) -> Result<Value> {
        let body = serde_json::from_slice::<Value>(&self.body).ok();
        match (self.status, body) {
            (200..=299, Some(body)) if body.is_object() => Ok(body),
            (200..=299, _) => Err(wrong_address(&app.describe())),
            (_, Some(body)) if is_refusal(&body["error"]) => Err(self.refusal(&body["error"], app)),
            _ => Err(self.of_others(app)),
        }
    }

    /// The app's own words.
    fn refusal(&self, error: &Value, app: &App) -> Error {
        let code = error["code"].as_str().unwrap_or_default();
        let kind = ErrorKind::from_code(code).unwrap_or(ErrorKind::Internal);
        let text = |error: &Value| error["message"].as_str().unwrap_or_default().to_owned();
        let details: Vec<String> = error["details"].as_array().into_iter().flatten().map(text).collect();
        let mut message = if details.iter().any(|detail| !detail.is_empty()) { details.join(" ") } else { text(error) };
        if kind == ErrorKind::InvalidInput && self.status == 500 {
            message = format!("The settings of {} are wrong. {message}", app.describe());
        }
        if kind == ErrorKind::InvalidInput && self.release.as_deref() != Some(RELEASE) {
            let release = self.release.as_deref().unwrap_or("an older one");
            message = format!("{message} The release of {} is {release}; this program is {RELEASE}.", app.describe());
        }
        let refusal = Error::new(kind, message);
        match error["target"].as_str() {
            Some(target) => refusal.at(target),
            None => refusal,
        }
    }

    /// What was said by something that stands before the app. Its text is for browsers and is not repeated.
    fn of_others(&self, app: &App) -> Error {
        let (name, status) = (app.describe(), self.status);
        let with_key = app.access.key.is_some();
        match status {
            300..=399 => {
                let to = self.location.as_deref().and_then(|to| url::Url::parse(to).ok());
                let to = to.as_ref().and_then(url::Url::host_str).unwrap_or("another place").to_owned();
                let what = if to.contains("login.") {
                    "It wants a sign-in: give --app-scope with the scope of its registration"
                } else {
                    "Redirects are not followed, because the key would go along: give the address it leads to"
                };
                let message = format!("{} answered {status} and leads to {to}. {what}.", capital(&name));
                Error::new(ErrorKind::InvalidInput, message).at("BACKUP_APP_URL")
            }
            401 if with_key => {
                let and_token = if app.sign_in.is_some() { " or the token" } else { "" };
                let message = format!(
                    "{} refused the function key{and_token} (401). Give a host key of this app, which `az functionapp keys \
                     list` shows under functionKeys; a key of one function opens that function only. It is read from \
                     BACKUP_APP_KEY or from the file of --app-key-file.",
                    capital(&name)
                );
                Error::new(ErrorKind::Unauthenticated, message)
            }
            401 => {
                let message = format!(
                    "{} refused the token (401). Its functions want a function key, also of those who are signed in: give \
                     it in BACKUP_APP_KEY; or the scope of --app-scope is not one of this app.",
                    capital(&name)
                );
                Error::new(ErrorKind::Unauthenticated, message)
            }
            403 if self.says("stopped") => {
                let message = format!(
                    "{} is stopped. Start it with `az functionapp start`, or run the command without --app.",
                    capital(&name)
                );
                Error::new(ErrorKind::Unavailable, message)
            }
            403 => {
                let message = format!(
                    "{} answered 403 before the app was asked: a network rule keeps this machine out, the sign-in has no \
                     right to the app, or the app is stopped.",
                    capital(&name)
                );
                Error::new(ErrorKind::Forbidden, message)
            }
            404 | 405 => {
                let message = format!(
                    "{} has no such function ({status}). Either the address is another app's, or the functions are not \
                     deployed or switched off, or the app is of an older release than this program, which is {RELEASE}. \
                     `az functionapp function list` shows what there is.",
                    capital(&name)
                );
                Error::new(ErrorKind::InvalidInput, message).at("BACKUP_APP_URL")
            }
            408 | 504 => cut_off(&name),
            429 => {
                let message = format!("{} asks for fewer requests (429). Try again later.", capital(&name));
                Error::new(ErrorKind::Throttled, message)
            }
            502 | 503 => {
                let message = format!(
                    "{} does not run ({status}): it starts, or cannot start. Try again in a minute; after that, look at \
                     its log, or run the command without --app.",
                    capital(&name)
                );
                Error::new(ErrorKind::Unavailable, message)
            }
            _ => {
                let message = format!("{} failed ({status}) and does not say why; its log does.", capital(&name));
                Error::new(ErrorKind::Internal, message)
            }
        }
    }

    fn says(&self, word: &str) -> bool {
        String::from_utf8_lossy(&self.body).contains(word)
    }
}

/// A call that took longer than the front end of the app waits.
pub(super) fn cut_off(name: &str) -> Error {
    let message = format!(
        "{} did not answer in 230 seconds, and its front end waits no longer. What was started goes on: `keyvault-backup \
         operations` shows it. A plan or a comparison that takes so long is made without --app, or of fewer items.",
        capital(name)
    );
    Error::new(ErrorKind::Unavailable, message)
}

/// No answer at all.
pub(super) fn no_answer(name: &str) -> Error {
    let message = format!(
        "{} cannot be reached. Check the address and the network from here to there; if the app is gone, run the command \
         without --app, with rights of your own.",
        capital(name)
    );
    Error::new(ErrorKind::Unavailable, message)
}

/// Something answers, and it is not this app.
fn wrong_address(name: &str) -> Error {
    let message = format!(
        "{} answers, but not as keyvault-backup does. Give the address of the Functions app, such as \
         https://contoso-backup.azurewebsites.net.",
        capital(name)
    );
    Error::new(ErrorKind::InvalidInput, message).at("BACKUP_APP_URL")
}

/// A name at the beginning of a sentence.
pub(super) fn capital(name: &str) -> String {
    name.replacen("the ", "The ", 1)
}
