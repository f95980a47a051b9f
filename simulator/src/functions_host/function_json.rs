//! `function.json`: the functions of an app, their trigger, outputs and retry policy.

use super::{Error, Result, Settings, route::Route, schedule::Schedule, settings};
use hyper::Method;
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeSet, path::Path, time::Duration};

/// One function of the app.
#[derive(Clone, Debug)]
pub(super) struct Function {
    /// The folder name, which is also the path the handler sees.
    pub(super) name: String,
    pub(super) trigger: Trigger,
    pub(super) outputs: Vec<Output>,
    pub(super) retry: Option<Retry>,
}

/// What starts a function. `binding` is the name under `Data` in the request.
#[derive(Clone, Debug)]
pub(super) enum Trigger {
    Timer { binding: String, schedule: Schedule, use_monitor: bool, run_on_startup: bool },
    Queue { binding: String, queue: String },
    Http { binding: String, auth: AuthLevel, methods: Vec<Method>, route: Route },
}

/// Where a result goes. `binding` is the name under `Outputs` in the response.
#[derive(Clone, Debug)]
pub(super) enum Output {
    Queue { binding: String, queue: String, binary: bool },
    Http { binding: String },
}

/// Who may call an HTTP function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum AuthLevel {
    Anonymous,
    Function,
    Admin,
}

/// The retry policy of a timer.
#[derive(Clone, Debug)]
pub(super) struct Retry {
    /// How often a failed run is tried again; `None` means for ever (`-1`).
    pub(super) max_retry_count: Option<u32>,
    minimum: Duration,
    maximum: Duration,
}

impl Retry {
    /// The time before the retry with this number, counted from 1: doubling for exponential back-off.
    pub(super) fn delay(&self, retry: u32) -> Duration {
        let doubled = 2u32.saturating_pow(retry.saturating_sub(1));
        self.minimum.saturating_mul(doubled).min(self.maximum)
    }
}

/// Reads every `*/function.json` of `app_root`, in the order of the names.
///
/// # Errors
/// When one holds anything the stand-in does not know how to imitate, or there is none.
pub(super) fn read_all(app_root: &Path, settings: &Settings) -> Result<Vec<Function>> {
    let unreadable = |e: std::io::Error| Error::new(format!("cannot list the app root {}: {e}", app_root.display()));
    let mut functions = Vec::new();
    for entry in std::fs::read_dir(app_root).map_err(unreadable)? {
        let folder = entry.map_err(unreadable)?.path();
        let file = folder.join("function.json");
        if !file.is_file() {
            continue;
        }
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let shown = file.display();
        let text = std::fs::read_to_string(&file).map_err(|e| Error::new(format!("cannot read {shown}: {e}")))?;
        functions.push(
            parse(&name, &text, settings).map_err(|e| Error::new(format!("cannot load function from {shown}: {e}")))?,
        );
    }
    if functions.is_empty() {
        return Err(Error::new(format!("no function found: {} has no */function.json", app_root.display())));
    }
    functions.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(functions)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    bindings: Vec<Value>,
    retry: Option<RawRetry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawTimer {
    name: String,
    schedule: String,
    #[serde(default)]
    run_on_startup: bool,
    #[serde(default = "yes")]
    use_monitor: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawQueue {
    name: String,
    queue_name: String,
    #[serde(rename = "connection")]
    _connection: Option<String>,
    data_type: Option<DataType>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum DataType {
    String,
    Binary,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawHttpTrigger {
    name: String,
    auth_level: Option<AuthLevel>,
    methods: Option<Vec<String>>,
    route: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawHttpOutput {
    name: String,
}

#[derive(Deserialize)]
#[serde(tag = "strategy", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
enum RawRetry {
    FixedDelay { max_retry_count: i64, delay_interval: String },
    ExponentialBackoff { max_retry_count: i64, minimum_interval: String, maximum_interval: String },
}

fn parse(name: &str, text: &str, settings: &Settings) -> Result<Function> {
    let raw: Raw = serde_json::from_str(text).map_err(|e| Error::new(e.to_string()))?;
    let mut triggers = Vec::new();
    let mut outputs = Vec::new();
    let mut names = BTreeSet::new();
    for binding in raw.bindings {
        let binding_name = binding["name"].as_str().unwrap_or_default().to_owned();
        if binding_name.is_empty() || binding_name == "$return" {
            return Err(Error::new("a binding has no name, or the name $return, which takes another path; name it"));
        }
        if !names.insert(binding_name.clone()) {
            return Err(Error::new(format!("two bindings have the name {binding_name}; names must differ")));
        }
        match parse_binding(name, binding, settings)? {
            Binding::In(trigger) => triggers.push(trigger),
            Binding::Out(output) => outputs.push(output),
        }
    }
    let trigger = match (triggers.pop(), triggers.len()) {
        (Some(trigger), 0) => trigger,
        (Some(_), _) => return Err(Error::new("it has more than one trigger; a function has exactly one")),
        (None, _) => return Err(Error::new("it has no trigger; a function has exactly one")),
    };
    let replies = outputs.iter().filter(|o| matches!(o, Output::Http { .. })).count();
    if replies != usize::from(matches!(trigger, Trigger::Http { .. })) {
        return Err(Error::new("an httpTrigger needs exactly one http output, and nothing else may have one"));
    }
    let retry = raw.retry.map(RawRetry::resolve).transpose()?;
    if retry.is_some() && !matches!(trigger, Trigger::Timer { .. }) {
        return Err(Error::new(
            "it has a retry policy, which the real host only honours for timers here; queues have maxDequeueCount",
        ));
    }
    Ok(Function { name: name.to_owned(), trigger, outputs, retry })
}

enum Binding {
    In(Trigger),
    Out(Output),
}

fn parse_binding(function: &str, mut binding: Value, settings: &Settings) -> Result<Binding> {
    let kind = take(&mut binding, "type")?;
    let direction = take(&mut binding, "direction")?;
    let place = format!("binding {kind} of {function}");
    let expand = |text: &str| settings::expand(text, &place, |name| settings.get(name).cloned());
    match (kind.as_str(), direction.as_str()) {
        ("timerTrigger", "in") => {
            let raw: RawTimer = fields(binding, &place)?;
            let expression = expand(&raw.schedule)?;
            Ok(Binding::In(Trigger::Timer {
                binding: raw.name,
                schedule: Schedule::parse(&expression).map_err(|e| Error::new(format!("{place}: {e}")))?,
                use_monitor: raw.use_monitor,
                run_on_startup: raw.run_on_startup,
            }))
        }
        ("queueTrigger", "in") => {
            let raw: RawQueue = fields(binding, &place)?;
            if raw.data_type == Some(DataType::Binary) {
                return Err(Error::new(format!("{place} has dataType binary, which is not imitated for triggers")));
            }
            Ok(Binding::In(Trigger::Queue { binding: raw.name, queue: queue_name(&expand(&raw.queue_name)?, &place)? }))
        }
        ("queue", "out") => {
            let raw: RawQueue = fields(binding, &place)?;
            Ok(Binding::Out(Output::Queue {
                binding: raw.name,
                queue: queue_name(&expand(&raw.queue_name)?, &place)?,
                binary: raw.data_type == Some(DataType::Binary),
            }))
        }
        ("httpTrigger", "in") => {
            let raw: RawHttpTrigger = fields(binding, &place)?;
            let methods = raw.methods.unwrap_or_default().iter().map(|m| method(m, &place)).collect::<Result<_>>()?;
            let route = expand(raw.route.as_deref().unwrap_or(function))?;
            Ok(Binding::In(Trigger::Http {
                binding: raw.name,
                auth: raw.auth_level.unwrap_or(AuthLevel::Function),
                methods,
                route: Route::parse(&route).map_err(|e| Error::new(format!("{place}: {e}")))?,
            }))
        }
        ("http", "out") => {
            let raw: RawHttpOutput = fields(binding, &place)?;
            Ok(Binding::Out(Output::Http { binding: raw.name }))
        }
        _ => Err(Error::new(format!(
            "binding type '{kind}' with direction '{direction}' is not known; known are timerTrigger, queueTrigger, \
             httpTrigger (in) and queue, http (out)"
        ))),
    }
}

fn take(binding: &mut Value, field: &str) -> Result<String> {
    let taken = binding.as_object_mut().and_then(|o| o.shift_remove(field));
    match taken {
        Some(Value::String(text)) => Ok(text),
        _ => Err(Error::new(format!("a binding has no text field '{field}'; add it"))),
    }
}

fn fields<T: for<'de> Deserialize<'de>>(binding: Value, place: &str) -> Result<T> {
    serde_json::from_value(binding).map_err(|e| Error::new(format!("{place}: {e}")))
}

fn method(name: &str, place: &str) -> Result<Method> {
    match name.to_ascii_uppercase().parse() {
        Ok(method @ (Method::GET | Method::POST | Method::PUT | Method::DELETE | Method::PATCH | Method::HEAD)) => {
            Ok(method)
        }
        _ => Err(Error::new(format!("{place} names the method '{name}', which is not known"))),
    }
}

/// Holds the naming rule of Azure Storage queues (learn: naming-queues-and-metadata).
fn queue_name(name: &str, place: &str) -> Result<String> {
    let good = (3..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    if good {
        return Ok(name.to_owned());
    }
    Err(Error::new(format!(
        "{place} has the queue name '{name}'; it must be 3 to 63 lower-case letters, digits and single hyphens"
    )))
}

impl RawRetry {
    fn resolve(self) -> Result<Retry> {
        let span = |text: &str| {
            settings::time_span(text).ok_or_else(|| Error::new(format!("retry has '{text}'; write it as hh:mm:ss")))
        };
        let (count, minimum, maximum) = match &self {
            Self::FixedDelay { max_retry_count, delay_interval } => (*max_retry_count, delay_interval, delay_interval),
            Self::ExponentialBackoff { max_retry_count, minimum_interval, maximum_interval } => {
                (*max_retry_count, minimum_interval, maximum_interval)
            }
        };
        let max_retry_count = match count {
            -1 => None,
            count => Some(
                u32::try_from(count)
                    .map_err(|_| Error::new(format!("retry has maxRetryCount {count}; it must be -1 or more")))?,
            ),
        };
        Ok(Retry { max_retry_count, minimum: span(minimum)?, maximum: span(maximum)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Function> {
        parse("Job", text, &Settings::from([("Q".into(), "jobs".into()), ("WHEN".into(), "0 0 2 * * *".into())]))
    }

    #[test]
    fn timer_with_output_and_retry_is_understood() {
        let function = load(
            r#"{"bindings":[{"type":"timerTrigger","direction":"in","name":"timer","schedule":"%WHEN%"},
                {"type":"queue","direction":"out","name":"jobs","queueName":"%Q%","connection":"AzureWebJobsStorage"}],
                "retry":{"strategy":"fixedDelay","maxRetryCount":3,"delayInterval":"00:05:00"}}"#,
        )
        .unwrap();
        assert!(matches!(&function.trigger, Trigger::Timer { use_monitor: true, run_on_startup: false, .. }));
        assert!(matches!(&function.outputs[0], Output::Queue { queue, .. } if queue == "jobs"));
        let retry = function.retry.unwrap();
        assert_eq!((retry.max_retry_count, retry.delay(1), retry.delay(3)), (Some(3), five_minutes(), five_minutes()));
    }

    fn five_minutes() -> Duration {
        Duration::from_secs(300)
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let queue = r#"{"type":"queueTrigger","direction":"in","name":"job","queueName":"jobs"}"#;
        let one = |binding: &str| format!(r#"{{"bindings":[{binding}]}}"#);
        load(&one(queue)).unwrap();
        for (text, named) in [
            (one(r#"{"type":"blobTrigger","direction":"in","name":"b","path":"x"}"#), "blobTrigger"),
            (one(r#"{"type":"queueTrigger","direction":"in","name":"job"}"#), "queueName"),
            (one(r#"{"type":"queueTrigger","direction":"in","name":"job","queueName":"Jobs"}"#), "Jobs"),
            (one(r#"{"type":"queueTrigger","direction":"in","name":"job","queueName":"%NO%"}"#), "%NO%"),
            (one(r#"{"type":"queueTrigger","direction":"in","name":"job","queueName":"jobs","x":1}"#), "`x`"),
            (one(r#"{"type":"timerTrigger","direction":"in","name":"t","schedule":"0 0 2 * *"}"#), "0 0 2 * *"),
            (one(r#"{"type":"httpTrigger","direction":"in","name":"req"}"#), "http output"),
            (format!(r#"{{"bindings":[{queue},{}]}}"#, queue.replace("\"job\"", "\"b\"")), "more than one trigger"),
            (format!(r#"{{"bindings":[{queue},{queue}]}}"#), "two bindings"),
            (r#"{"bindings":[]}"#.to_owned(), "no trigger"),
            (
                format!(
                    r#"{{"bindings":[{queue}],"retry":{{"strategy":"fixedDelay","maxRetryCount":1,"delayInterval":"00:00:01"}}}}"#
                ),
                "retry policy",
            ),
        ] {
            let error = load(&text).unwrap_err().to_string();
            assert!(error.contains(named), "{named}: {error}");
        }
    }
}
