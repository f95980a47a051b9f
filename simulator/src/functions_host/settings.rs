//! App settings: their `%NAME%` expansion, their file, and the time spans written in `host.json`.

use super::{Error, Result};
use serde::Deserialize;
use std::{collections::BTreeMap, path::Path, time::Duration};

/// App settings by name. They become the environment of the handler.
pub type Settings = BTreeMap<String, String>;

/// Reads a `local.settings.json` file as the Core Tools do: `{"IsEncrypted": false, "Values": {…}}`.
///
/// # Errors
/// When the file cannot be read, is not of that form, or is encrypted.
pub fn read_settings(file: &Path) -> Result<Settings> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields)]
    struct LocalSettings {
        #[serde(default)]
        is_encrypted: bool,
        #[serde(default)]
        values: Settings,
    }

    let shown = file.display();
    let text = std::fs::read_to_string(file).map_err(|e| Error::new(format!("cannot read settings {shown}: {e}")))?;
    let settings: LocalSettings =
        serde_json::from_str(&text).map_err(|e| Error::new(format!("cannot understand settings {shown}: {e}")))?;
    if settings.is_encrypted {
        return Err(Error::new(format!("settings {shown} are encrypted; store them with IsEncrypted false")));
    }
    Ok(settings.values)
}

/// Replaces every `%NAME%` in `text` by what `lookup` knows; `place` says where the text stands.
///
/// # Errors
/// When a name is unknown: the real host fails to index the function then.
pub(super) fn expand(text: &str, place: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String> {
    let mut parts = text.split('%');
    let mut expanded = parts.next().unwrap_or_default().to_owned();
    while let Some(name) = parts.next() {
        let Some(after) = parts.next() else {
            return Err(Error::new(format!("{place} has an unpaired '%' in '{text}'; write %NAME%")));
        };
        let value = lookup(name).ok_or_else(|| {
            Error::new(format!("{place}: '%{name}%' does not resolve to a value; add the app setting {name}"))
        })?;
        expanded.push_str(&value);
        expanded.push_str(after);
    }
    Ok(expanded)
}

/// Parses a .NET time span, `[d.]hh:mm:ss[.fraction]`, without sign.
pub(super) fn time_span(text: &str) -> Option<Duration> {
    let mut fields = text.split(':');
    let (first, minutes, seconds) = (fields.next()?, fields.next()?, fields.next()?);
    if fields.next().is_some() {
        return None;
    }
    let (days, hours) = first.split_once('.').unwrap_or(("0", first));
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let number = |digits: &str, limit: u64| digits.parse::<u64>().ok().filter(|n| *n < limit);
    let whole = number(days, 10_000_000)? * 86_400
        + number(hours, 24)? * 3_600
        + number(minutes, 60)? * 60
        + number(seconds, 60)?;
    number(fraction, 10_000_000)?;
    let fraction: f64 = format!("0.{fraction}").parse().ok()?;
    Some(Duration::from_secs(whole) + Duration::from_secs_f64(fraction))
}

/// Writes a duration as .NET does: `hh:mm:ss`, with seven digits of fraction when there is one.
pub(super) fn show_time_span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let days = if seconds >= 86_400 { format!("{}.", seconds / 86_400) } else { String::new() };
    let fraction = match duration.subsec_nanos() / 100 {
        0 => String::new(),
        ticks => format!(".{ticks:07}"),
    };
    format!("{days}{:02}:{:02}:{:02}{fraction}", seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans_are_read_and_written_as_dotnet_does() {
        for (text, milliseconds) in
            [("00:00:30", 30_000), ("1.00:00:00", 86_400_000), ("00:05:00", 300_000), ("00:00:00.5000000", 500)]
        {
            assert_eq!(time_span(text), Some(Duration::from_millis(milliseconds)), "{text}");
            assert_eq!(show_time_span(Duration::from_millis(milliseconds)), text);
        }
        for text in ["30", "00:30", "00:60:00", "24:00:00", "-00:00:01", "", "a:b:c"] {
            assert_eq!(time_span(text), None, "{text}");
        }
    }

    #[test]
    fn an_unknown_setting_is_named() {
        let known = |name: &str| (name == "QUEUE").then(|| "jobs".to_owned());
        assert_eq!(expand("x-%QUEUE%-y", "here", known).unwrap(), "x-jobs-y");
        let error = expand("%OTHER%", "here", known).unwrap_err().to_string();
        assert!(error.contains("%OTHER%") && error.contains("here"), "{error}");
        assert!(expand("50%", "here", known).is_err());
    }
}
