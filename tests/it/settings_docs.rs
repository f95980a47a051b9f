//! The tables of settings, events and exit codes in the documents against the code.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use keyvault_backup::config::{Config, Settings};
use serde_json::Value;

use crate::{format_docs::read, infra, tidy::visit};

/// Read by the Functions host itself.
const OF_THE_HOST: [&str; 2] = ["FUNCTIONS_WORKER_RUNTIME", "AzureWebJobsStorage"];

#[test]
fn the_runbook_names_every_setting_with_its_default() {
    let text = read("docs/operations.md");
    let documented: BTreeMap<String, String> =
        rows(&text, "| setting | default |").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    assert_eq!(documented, settings());
    let of_functions: BTreeSet<String> =
        rows(&text, "| setting | meaning |").into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(of_functions, settings_of_functions());
}

#[test]
fn the_example_of_local_settings_holds_every_setting_and_the_defaults() {
    let file: Value = serde_json::from_str(&read("local.settings.json.example")).unwrap();
    let values = file["Values"].as_object().unwrap();
    let mut expected: BTreeSet<String> = settings().into_keys().collect();
    expected.extend(settings_of_functions());
    expected.extend(OF_THE_HOST.map(str::to_owned));
    assert_eq!(values.keys().cloned().collect::<BTreeSet<_>>(), expected);

    let value = |name: &str| values[name].as_str().map(str::to_owned);
    let example = Settings {
        backup_vaults: value("BACKUP_VAULTS"),
        backup_items: value("BACKUP_ITEMS"),
        backup_store_url: value("BACKUP_STORE_URL"),
        backup_store_flag: None,
        state_store_url: value("STATE_STORE_URL"),
        backup_full_every_days: value("BACKUP_FULL_EVERY_DAYS"),
        backup_requests_per_second: value("BACKUP_REQUESTS_PER_SECOND"),
        backup_total_requests_per_second: value("BACKUP_TOTAL_REQUESTS_PER_SECOND"),
        backup_concurrency: value("BACKUP_CONCURRENCY"),
        restore_target_vaults: value("RESTORE_TARGET_VAULTS"),
        backup_keep: value("BACKUP_KEEP"),
        backup_immutable_days: value("BACKUP_IMMUTABLE_DAYS"),
        guard_deleted_percent: value("GUARD_DELETED_PERCENT"),
        guard_disabled_percent: value("GUARD_DISABLED_PERCENT"),
        drill_vault: value("DRILL_VAULT"),
        drill_sample: value("DRILL_SAMPLE"),
        status_max_age_hours: value("STATUS_MAX_AGE_HOURS"),
        backup_identity_client_id: value("BACKUP_IDENTITY_CLIENT_ID"),
        restore_identity_client_id: value("RESTORE_IDENTITY_CLIENT_ID"),
        prune_identity_client_id: value("PRUNE_IDENTITY_CLIENT_ID"),
        azure_cloud: value("AZURE_CLOUD"),
        log_level: value("LOG_LEVEL"),
    };
    let least = Settings {
        backup_vaults: value("BACKUP_VAULTS"),
        backup_store_url: value("BACKUP_STORE_URL"),
        ..Default::default()
    };
    let [example, least] = [example, least].map(|settings| Config::read(&settings).unwrap());
    assert_eq!(format!("{example:?}"), format!("{least:?}"), "what the example writes out are the defaults");
}

#[test]
fn the_infrastructure_sets_every_setting_and_no_other_with_the_defaults_of_the_code() {
    let set = infra::variable("infra/main.bicep", "settings").as_object().unwrap();
    let mut expected: BTreeSet<String> = settings().into_keys().collect();
    expected.extend(settings_of_functions());
    assert_eq!(set.keys().cloned().collect::<BTreeSet<_>>(), expected);

    let parameters = &infra::bicep()["infra/main.bicep"]["parameters"];
    let file: Value = serde_json::from_str(&read("local.settings.json.example")).unwrap();
    let mut compared = BTreeSet::new();
    for (name, value) in set {
        // `string(parameter)` or the parameter itself.
        let parameter = value["function"]["parameters"]["value_to_convert"].as_str().or(value.as_str()).unwrap_or("");
        let default = &parameters[parameter]["default"];
        if let Some(default) = default.as_str().map(str::to_owned).or(default.as_i64().map(|it| it.to_string())) {
            compared.insert(name.as_str());
            // Requests per second stay what the program thinks right.
            let known = [&file["Values"][name], &settings().get(name).cloned().unwrap_or_default().into()]
                .map(|value| value.as_str().unwrap().to_owned());
            let same = known.contains(&default) || default.is_empty();
            assert!(same || name == "BACKUP_KEEP", "{name} is {default:?}, elsewhere {known:?}");
        }
    }
    assert!(compared.len() >= 9, "{compared:?}");
}

#[test]
fn the_documented_events_are_those_of_the_code_with_their_levels_and_fields() {
    let names: BTreeMap<String, String> = read("src/events.rs")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub const ")?.strip_suffix("\";")?.split_once(": &str = \""))
        .map(|(constant, name)| (format!("name::{constant}"), name.to_owned()))
        .collect();
    let mut emitted = BTreeSet::new();
    let mut sources = Vec::new();
    visit(Path::new("src"), &mut |path, text| {
        // The modules that define the macros.
        if ![Path::new("src/events.rs"), Path::new("src/telemetry.rs")].contains(&path) {
            sources.push((path.display().to_string(), text.to_owned()));
        }
    });
    for (file, text) in sources {
        for call in text.split("event!(").skip(1) {
            let parts = arguments(call);
            let [level, name, fields @ ..] = &parts[..] else { panic!("{file}: {call}") };
            let field = |field: &&str| field.split('=').next().unwrap().trim().trim_start_matches('%').to_owned();
            let fields: Vec<String> = fields.iter().map(field).filter(|field| !field.is_empty()).collect();
            emitted.insert((names[name.trim()].clone(), level.trim().to_owned(), fields.join(", ")));
        }
    }
    let text = read("docs/operations.md");
    let documented: BTreeSet<(String, String, String)> = rows(&text, "| event |")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone(), row[3].replace('`', "")))
        .collect();
    assert_eq!(documented, emitted);
    let ever: BTreeSet<&String> = documented.iter().map(|(name, ..)| name).collect();
    assert_eq!(ever, names.values().collect());
}

#[test]
fn the_documented_exit_codes_are_those_that_help_shows() {
    let code = read("src/cli/print.rs");
    let (_, rest) = code.split_once("\"Exit codes:\n").unwrap();
    let shown: Vec<String> = rest
        .lines()
        .map_while(|line| {
            line.strip_prefix("  ").filter(|line| line.starts_with(|letter: char| letter.is_ascii_digit()))
        })
        .map(|line| line.trim_end_matches("\";").replacen("  ", " ", 1))
        .collect();
    let text = read("docs/operations.md");
    let documented: Vec<String> =
        rows(&text, "| code | meaning |").iter().map(|row| format!("{} {}", row[0], row[1])).collect();
    assert_eq!(documented, shown);
}

/// Name and default of every setting, as the command line describes them.
fn settings() -> BTreeMap<String, String> {
    let command = <Settings as clap::Args>::augment_args(clap::Command::new("keyvault-backup"));
    command
        .get_arguments()
        .map(|argument| {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let default = help.split_once("[default: ").map(|(_, rest)| rest.split(']').next().unwrap().to_owned());
            (argument.get_env().unwrap().to_str().unwrap().to_owned(), default.unwrap_or_default())
        })
        .collect()
}

/// What the function.json files take from settings: `%NAME%`.
fn settings_of_functions() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for function in keyvault_backup::functions::FUNCTIONS {
        let text = read(&format!("{function}/function.json"));
        names.extend(text.split('%').skip(1).step_by(2).map(str::to_owned));
    }
    names
}

/// The arguments of a call, whose text begins behind its opening parenthesis.
fn arguments(call: &str) -> Vec<&str> {
    let (mut arguments, mut start, mut depth) = (Vec::new(), 0, 0);
    for (index, letter) in call.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' if depth > 0 => depth -= 1,
            ',' | ')' if depth == 0 => {
                arguments.push(&call[start..index]);
                start = index + 1;
                if letter == ')' {
                    break;
                }
            }
            _ => (),
        }
    }
    arguments
}

/// The cells of the table that begins with `header`, without their code marks.
pub(crate) fn rows(text: &str, header: &str) -> Vec<Vec<String>> {
    let lines = text.lines().skip_while(|line| !line.starts_with(header)).take_while(|line| line.starts_with('|'));
    let rows: Vec<Vec<String>> = lines
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect())
        .collect();
    assert!(!rows.is_empty(), "no table begins with {header}");
    rows
}
