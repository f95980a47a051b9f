//! How the deployed app is reached by those who have no rights of their own: its address as a flag or an environment
//! variable, its key as neither a flag nor anything else that a list of processes shows.

#![allow(
    clippy::disallowed_methods,
    reason = "settings are read here, and the key comes from the environment or a file"
)]

use std::{env, fs, io::Read as _};

use azure_core::credentials::Secret;
use clap::Args;
use url::{Host, Url};

use super::present;
use crate::{
    error::{Error, ErrorKind, Result},
    model::Cloud,
};

/// The environment variable of the function key. It has no flag, because every user of a machine can read the flags of
/// all processes.
const KEY: &str = "BACKUP_APP_KEY";

/// How the deployed app is reached, as it was typed.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "The deployed app")]
pub struct AppSettings {
    /// Have the deployed app at this address do it, with its rights and its settings. Its function key is read from the
    /// environment variable BACKUP_APP_KEY.
    #[arg(long = "app", global = true, env = "BACKUP_APP_URL", value_name = "URL", hide_env_values = true)]
    pub url: Option<String>,
    /// Read the app's function key from this file, or from standard input with a hyphen.
    #[arg(
        long = "app-key-file",
        global = true,
        env = "BACKUP_APP_KEY_FILE",
        value_name = "FILE",
        hide_env_values = true
    )]
    pub key_file: Option<String>,
    /// Sign in to the app as yourself, for a token of this scope, such as api://00000000-0000-0000-0000-000000000000.
    #[arg(long = "app-scope", global = true, env = "BACKUP_APP_SCOPE", value_name = "SCOPE", hide_env_values = true)]
    pub scope: Option<String>,
}

/// Where the deployed app is, and what opens it.
#[derive(Clone, Debug)]
pub struct AppAccess {
    /// Below which its routes are; ends with a slash.
    pub api: Url,
    /// A function key.
    pub key: Option<Secret>,
    /// What a token is asked for.
    pub scope: Option<String>,
    /// The cloud whose vaults may be named by their URIs.
    pub cloud: Cloud,
}

impl AppSettings {
    /// Whether the work is to be done by an app.
    pub fn are_set(&self) -> bool {
        present(&self.url).is_some()
    }

    /// Reads the settings and the key, or says everything that is wrong with them. `cloud` is `AZURE_CLOUD` as it was
    /// typed.
    pub fn read(&self, cloud: &Option<String>) -> Result<AppAccess, Vec<Error>> {
        let mut mistakes = Vec::new();
        let cloud = present(cloud).map_or(Ok(Cloud::default()), str::parse);
        let cloud = cloud.map_err(|error: Error| mistakes.push(error.at("AZURE_CLOUD"))).unwrap_or_default();
        let api = api(present(&self.url).unwrap_or_default()).map_err(|error| mistakes.push(error)).ok();
        let key = self.key().map_err(|error| mistakes.push(error)).ok().flatten();
        let scope = present(&self.scope).map(scope);
        if key.is_none() && scope.is_none() && mistakes.is_empty() {
            let message = "Nothing is there to open the app with. Put one of its function keys into the environment \
                           variable BACKUP_APP_KEY or into the file that --app-key-file names, or give --app-scope to \
                           sign in. `az functionapp keys list` shows the keys.";
            mistakes.push(Error::invalid(KEY, message));
        }
        match api {
            Some(api) if mistakes.is_empty() => Ok(AppAccess { api, key, scope, cloud }),
            _ => Err(mistakes),
        }
    }

    fn key(&self) -> Result<Option<Secret>> {
        let (text, from) = match present(&self.key_file) {
            Some("-") => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).map_err(|cause| {
                    let message = "The function key could not be read from standard input. Put it there, as one line.";
                    Error::invalid("BACKUP_APP_KEY_FILE", message).because(cause)
                })?;
                (text, "Standard input")
            }
            Some(path) => {
                let text = fs::read_to_string(path).map_err(|cause| {
                    let message = format!(
                        "The function key could not be read from the file {path}. Check the path that --app-key-file or \
                         BACKUP_APP_KEY_FILE gives, and who may read it."
                    );
                    Error::invalid("BACKUP_APP_KEY_FILE", message).because(cause)
                })?;
                (text, "The file of --app-key-file")
            }
            None => match env::var(KEY) {
                Ok(text) if !text.trim().is_empty() => (text, KEY),
                _ => return Ok(None),
            },
        };
        let key = text.trim();
        // What no header can hold would be quoted by the error of whoever tries to send it.
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message = format!("{from} holds no function key, which is one word of letters, digits and signs.");
            return Err(Error::invalid(if from == KEY { KEY } else { "BACKUP_APP_KEY_FILE" }, message));
        }
        Ok(Some(Secret::new(key.to_owned())))
    }
}

/// The address below which the routes are: `api` unless the URL has a path.
fn api(text: &str) -> Result<Url> {
    let refuse = |why: &str| {
        // The text itself is not repeated: a key can be in it.
        let message = format!(
            "The address of the app cannot be used: {why}. Write it like https://contoso-backup.azurewebsites.net."
        );
        Err(Error::new(ErrorKind::InvalidInput, message).at("BACKUP_APP_URL"))
    };
    let Ok(mut url) = Url::parse(text) else { return refuse("it is not a URL") };
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return refuse("it holds a user, a query or a fragment, such as a key, which has its own place");
    }
    let is_this_machine = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => (),
        "http" if is_this_machine => (),
        "http" => return refuse("it begins with http://, and the key would go over the network for everybody to read"),
        _ => return refuse("it does not begin with https://"),
    }
    let path = url.path().trim_end_matches('/');
    let path = if path.is_empty() { "/api/".to_owned() } else { format!("{path}/") };
    url.set_path(&path);
    Ok(url)
}

/// A scope as Entra wants it: an application's id or URI means all that is granted there.
fn scope(text: &str) -> String {
    let is_whole = text.rsplit_once('/').is_some_and(|(before, last)| !last.is_empty() && !before.ends_with('/'));
    if is_whole { text.to_owned() } else { format!("{}/.default", text.trim_end_matches('/')) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_host_or_the_prefix_of_the_routes() {
        for (text, expected) in [
            ("https://contoso-backup.azurewebsites.net", "https://contoso-backup.azurewebsites.net/api/"),
            ("https://contoso-backup.azurewebsites.net/api/", "https://contoso-backup.azurewebsites.net/api/"),
            ("https://contoso.azure-api.net/backup/v1", "https://contoso.azure-api.net/backup/v1/"),
            ("http://127.0.0.1:7071", "http://127.0.0.1:7071/api/"),
            ("http://[::1]:7071", "http://[::1]:7071/api/"),
        ] {
            assert_eq!(api(text).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn an_address_that_would_give_the_key_away_is_refused_and_not_repeated() {
        for text in [
            "http://contoso-backup.azurewebsites.net",
            "http://127.0.0.1.contoso.example",
            "https://app.example/api?code=canary",
            "https://canary@app.example",
            "https://:canary@app.example",
            "ftp://app.example",
            "app.example",
            "",
        ] {
            let error = api(text).unwrap_err();
            assert_eq!((error.kind(), error.target()), (ErrorKind::InvalidInput, Some("BACKUP_APP_URL")), "{text}");
            assert!(!error.chain().contains("canary"), "{error:?}");
        }
    }

    #[test]
    fn a_scope_may_be_given_as_the_application() {
        let id = "00000000-0000-0000-0000-000000000000";
        assert_eq!(scope(&format!("api://{id}")), format!("api://{id}/.default"));
        assert_eq!(scope(&format!("api://{id}/.default")), format!("api://{id}/.default"));
        assert_eq!(scope(&format!("api://{id}/user_impersonation")), format!("api://{id}/user_impersonation"));
        assert_eq!(scope(id), format!("{id}/.default"));
    }
}
