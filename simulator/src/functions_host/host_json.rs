//! `host.json`: what the stand-in knows of it, with the defaults of the real host.

use super::{Error, Result, Settings, settings};
use serde::{Deserialize, de::IgnoredAny};
use std::{path::Path, path::PathBuf, time::Duration};

/// The parts of `host.json` that steer the stand-in.
#[derive(Clone, Debug)]
pub(super) struct HostJson {
    /// How long one invocation may run; `None` means without end (`"-1"`).
    pub(super) function_timeout: Option<Duration>,
    pub(super) handler: HandlerDescription,
    /// How long the handler may take until it listens.
    pub(super) initialization_timeout: Duration,
    pub(super) queues: QueueOptions,
    /// Stands before every HTTP route, without slashes at its ends; may be empty.
    pub(super) route_prefix: String,
}

/// `customHandler.description`, expanded and made absolute.
#[derive(Clone, Debug)]
pub(super) struct HandlerDescription {
    pub(super) executable: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) working_directory: PathBuf,
    /// `useStdErrorStreamForErrorsOnly`; true by default for custom handlers.
    pub(super) stderr_is_error: bool,
}

/// `extensions.queues`.
#[derive(Clone, Debug)]
pub(super) struct QueueOptions {
    pub(super) batch_size: usize,
    pub(super) new_batch_threshold: usize,
    pub(super) max_dequeue_count: u32,
    pub(super) visibility_timeout: Duration,
    pub(super) base64: bool,
    pub(super) max_polling_interval: Duration,
}

/// Default `functionTimeout` on Flex Consumption, Premium and Dedicated plans (learn: functions-scale).
const DEFAULT_FUNCTION_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Default `customHandler.initializationTimeout` in the source (`HttpWorkerOptions`); the documentation says 60 s.
const DEFAULT_INITIALIZATION_TIMEOUT: Duration = Duration::from_secs(30);

impl HostJson {
    /// Reads `host.json` of `app_root`.
    ///
    /// # Errors
    /// When it is missing, or holds anything the stand-in does not know how to imitate.
    pub(super) fn read(app_root: &Path, settings: &Settings) -> Result<Self> {
        let file = app_root.join("host.json");
        let text = std::fs::read_to_string(&file)
            .map_err(|e| Error::new(format!("cannot read {}: {e}; is this the app root?", file.display())))?;
        Self::parse(&text, app_root, settings)
            .map_err(|e| Error::new(format!("cannot start from {}: {e}", file.display())))
    }

    fn parse(text: &str, app_root: &Path, settings: &Settings) -> Result<Self> {
        let raw: Raw = serde_json::from_str(text).map_err(|e| Error::new(e.to_string()))?;
        if raw.version != "2.0" {
            return Err(Error::new(format!("version is '{}'; only \"2.0\" is known", raw.version)));
        }
        if raw.custom_handler.enable_forwarding_http_request || raw.custom_handler.enable_proxying_http_request {
            return Err(Error::new(
                "forwarding or proxying of HTTP requests is enabled; the stand-in only speaks the JSON protocol, set \
                 enableForwardingHttpRequest and enableProxyingHttpRequest to false",
            ));
        }
        let function_timeout = match raw.function_timeout.as_deref() {
            None => Some(DEFAULT_FUNCTION_TIMEOUT),
            Some("-1") => None,
            Some(text) => Some(span("functionTimeout", text)?),
        };
        let initialization_timeout = raw.custom_handler.initialization_timeout.as_deref();
        Ok(Self {
            function_timeout,
            initialization_timeout: initialization_timeout
                .map_or(Ok(DEFAULT_INITIALIZATION_TIMEOUT), |text| span("customHandler.initializationTimeout", text))?,
            handler: raw.custom_handler.description.resolve(app_root, settings)?,
            queues: raw.extensions.queues.resolve()?,
            route_prefix: raw
                .extensions
                .http
                .route_prefix
                .map_or_else(|| "api".to_owned(), |p| p.trim_matches('/').to_owned()),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    version: String,
    function_timeout: Option<String>,
    custom_handler: RawHandler,
    #[serde(default)]
    extensions: RawExtensions,
    // These change nothing that a handler can observe.
    #[serde(rename = "$schema")]
    _schema: Option<IgnoredAny>,
    #[serde(rename = "extensionBundle")]
    _extension_bundle: Option<IgnoredAny>,
    #[serde(rename = "logging")]
    _logging: Option<IgnoredAny>,
    #[serde(rename = "telemetryMode")]
    _telemetry_mode: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawHandler {
    description: RawDescription,
    initialization_timeout: Option<String>,
    #[serde(default)]
    enable_forwarding_http_request: bool,
    #[serde(default)]
    enable_proxying_http_request: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawDescription {
    default_executable_path: String,
    #[serde(default)]
    arguments: Vec<String>,
    #[serde(default)]
    working_directory: String,
    #[serde(default = "yes")]
    use_std_error_stream_for_errors_only: bool,
}

fn yes() -> bool {
    true
}

impl RawDescription {
    fn resolve(self, app_root: &Path, settings: &Settings) -> Result<HandlerDescription> {
        let expand = |text: &str| {
            settings::expand(text, "customHandler.description", |name| {
                settings.get(name).cloned().or_else(|| std::env::var(name).ok())
            })
        };
        let path = expand(&self.default_executable_path)?;
        if path.is_empty() {
            return Err(Error::new("customHandler.description.defaultExecutablePath is empty; name the handler"));
        }
        let working_directory = app_root.join(expand(&self.working_directory)?);
        let beside = working_directory.join(&path);
        Ok(HandlerDescription {
            // A name that is no file of the app is left to the search path, as `node` or `pwsh` would be.
            executable: if beside.exists() { beside } else { PathBuf::from(path) },
            arguments: self.arguments.iter().map(|a| expand(a)).collect::<Result<_>>()?,
            working_directory,
            stderr_is_error: self.use_std_error_stream_for_errors_only,
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawExtensions {
    #[serde(default)]
    queues: RawQueues,
    #[serde(default)]
    http: RawHttp,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawHttp {
    route_prefix: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawQueues {
    batch_size: Option<usize>,
    new_batch_threshold: Option<usize>,
    max_dequeue_count: Option<u32>,
    visibility_timeout: Option<String>,
    message_encoding: Option<String>,
    max_polling_interval: Option<String>,
}

impl RawQueues {
    /// Fills in the defaults and holds the limits of the queue extension (learn: functions-bindings-storage-queue).
    fn resolve(self) -> Result<QueueOptions> {
        let batch_size = self.batch_size.unwrap_or(16);
        if !(1..=32).contains(&batch_size) {
            return Err(Error::new(format!("extensions.queues.batchSize is {batch_size}; it must be from 1 to 32")));
        }
        let max_dequeue_count = self.max_dequeue_count.unwrap_or(5);
        if max_dequeue_count == 0 {
            return Err(Error::new("extensions.queues.maxDequeueCount is 0; it must be at least 1"));
        }
        let max_polling_interval =
            span("extensions.queues.maxPollingInterval", self.max_polling_interval.as_deref().unwrap_or("00:01:00"))?;
        if max_polling_interval < Duration::from_millis(100) {
            return Err(Error::new("extensions.queues.maxPollingInterval is below the minimum of 100 ms; raise it"));
        }
        Ok(QueueOptions {
            batch_size,
            new_batch_threshold: self.new_batch_threshold.unwrap_or(batch_size / 2),
            max_dequeue_count,
            visibility_timeout: span(
                "extensions.queues.visibilityTimeout",
                self.visibility_timeout.as_deref().unwrap_or("00:00:00"),
            )?,
            base64: match self.message_encoding.as_deref() {
                None | Some("base64") => true,
                Some("none") => false,
                Some(other) => {
                    return Err(Error::new(format!(
                        "extensions.queues.messageEncoding is '{other}'; it must be base64 or none"
                    )));
                }
            },
            max_polling_interval,
        })
    }
}

fn span(name: &str, text: &str) -> Result<Duration> {
    settings::time_span(text)
        .ok_or_else(|| Error::new(format!("{name} is '{text}'; write it as hh:mm:ss, for example 00:00:30")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<HostJson> {
        HostJson::parse(text, Path::new("/app"), &Settings::from([("HANDLER".into(), "bin/run".into())]))
    }

    #[test]
    fn defaults_are_those_of_the_real_host() {
        let host = parse(r#"{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"%HANDLER%"}}}"#)
            .unwrap();
        assert_eq!(host.function_timeout, Some(Duration::from_secs(1800)));
        assert_eq!((host.queues.batch_size, host.queues.new_batch_threshold), (16, 8));
        assert_eq!((host.queues.max_dequeue_count, host.queues.base64), (5, true));
        assert_eq!(host.queues.visibility_timeout, Duration::ZERO);
        assert_eq!(host.route_prefix, "api");
        assert_eq!(host.handler.executable, Path::new("bin/run"));
        assert!(host.handler.stderr_is_error);
        assert_eq!(host.initialization_timeout, Duration::from_secs(30));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let with = |extra: &str| {
            format!(r#"{{"version":"2.0","customHandler":{{"description":{{"defaultExecutablePath":"h"}}}}{extra}}}"#)
        };
        parse(&with("")).unwrap();
        for (extra, named) in [
            (r#","watchDirectories":[]"#, "watchDirectories"),
            (r#","extensions":{"blobs":{}}"#, "blobs"),
            (r#","extensions":{"queues":{"batchsize":1}}"#, "batchsize"),
            (r#","extensions":{"queues":{"batchSize":33}}"#, "batchSize"),
            (r#","extensions":{"queues":{"messageEncoding":"Base64"}}"#, "messageEncoding"),
            (r#","functionTimeout":"30""#, "functionTimeout"),
        ] {
            let error = parse(&with(extra)).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        let forwarding = r#"{"version":"2.0","customHandler":{"enableForwardingHttpRequest":true,"description":{"defaultExecutablePath":"h"}}}"#;
        assert!(parse(forwarding).unwrap_err().to_string().contains("forwarding"));
        assert!(parse(r#"{"version":"2.0"}"#).unwrap_err().to_string().contains("customHandler"));
    }
}
