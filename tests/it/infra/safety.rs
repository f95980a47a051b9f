//! What must not be lost when somebody changes the templates.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Part, bicep, parts, variable};
use crate::{format_docs::read, roles_docs::documented_on};

/// Built-in roles that may be given, and the only file that may give each.
const BUILT_IN: [(&str, &str, &str); 6] = [
    ("2a2b9908-6ea1-4ae2-8e65-a410df84e7d1", "Storage Blob Data Reader", "backup-storage"),
    ("ba92f5b4-2d11-453d-a403-e96b0029c9fe", "Storage Blob Data Contributor", "backup-storage"),
    ("b7e6dc6d-f1e8-4753-8033-0f276bb0955b", "Storage Blob Data Owner", "host-storage"),
    ("974c5e8b-45b9-4653-ba55-5f855dd0fb88", "Storage Queue Data Contributor", "host-storage"),
    ("0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3", "Storage Table Data Contributor", "host-storage"),
    ("3913510d-42f4-4e42-8a64-420c390055eb", "Monitoring Metrics Publisher", "monitoring"),
];

/// Settings that break an app on Flex Consumption, or hold a key.
const FORBIDDEN_SETTINGS: [&str; 12] = [
    "FUNCTIONS_WORKER_RUNTIME",
    "FUNCTIONS_EXTENSION_VERSION",
    "WEBSITE_RUN_FROM_PACKAGE",
    "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING",
    "WEBSITE_CONTENTSHARE",
    "WEBSITE_CONTENTOVERVNET",
    "WEBSITE_TIME_ZONE",
    "TZ",
    "ENABLE_ORYX_BUILD",
    "SCM_DO_BUILD_DURING_DEPLOYMENT",
    "AzureWebJobsStorage",
    "APPINSIGHTS_INSTRUMENTATIONKEY",
];

fn of_kind(kind: &str) -> Vec<Part> {
    let found: Vec<Part> = parts("resources").into_iter().filter(|part| part.kind == kind).collect();
    assert!(!found.is_empty(), "there is no {kind}");
    found
}

fn one(kind: &str, name: &str) -> &'static Value {
    of_kind(kind).into_iter().find(|part| part.name == name).unwrap_or_else(|| panic!("no {name}")).body
}

fn conditional(condition: &str, so: &str, otherwise: &str) -> Value {
    json!({"operator": {"type": "conditional", "operands":
        {"condition": condition, "true_value": so, "false_value": otherwise}}})
}

#[test]
fn storage_takes_no_key_no_stranger_and_no_old_tls() {
    let accounts = of_kind("Microsoft.Storage/storageAccounts");
    assert_eq!(accounts.len(), 2, "one for the host, one for the backups");
    for account in accounts {
        let properties = &account.body["properties"];
        for (name, value) in [
            ("allowSharedKeyAccess", json!(false)),
            ("allowBlobPublicAccess", json!(false)),
            ("allowCrossTenantReplication", json!(false)),
            ("defaultToOAuthAuthentication", json!(true)),
            ("supportsHttpsTrafficOnly", json!(true)),
            ("minimumTlsVersion", json!("TLS1_2")),
            ("publicNetworkAccess", conditional("publicNetwork", "Enabled", "Disabled")),
        ] {
            assert_eq!(properties[name], value, "{} {name}", account.file);
        }
        assert_eq!(properties["networkAcls"]["bypass"], "None");
        assert_eq!(properties["networkAcls"]["defaultAction"], conditional("publicNetwork", "Allow", "Deny"));
    }
    for container in of_kind("Microsoft.Storage/storageAccounts/blobServices/containers") {
        assert_eq!(container.body["properties"], json!({"publicAccess": "None"}), "{}", container.name);
    }
    for part in parts("resources") {
        for word in ["listKeys", "list_keys", "AccountKey", "SharedAccessSignature"] {
            assert!(!part.body.to_string().contains(word), "{} {} uses {word}", part.file, part.name);
        }
    }
}

#[test]
fn with_a_private_network_everything_is_closed_and_reached_inside() {
    let main = read("infra/main.bicep");
    assert_eq!(main.matches("publicNetwork: !privateNetwork").count(), 3, "the app and both accounts");
    let app = one("Microsoft.Web/sites", "app");
    assert_eq!(app["properties"]["publicNetworkAccess"], conditional("publicNetwork", "Enabled", "Disabled"));
    let endpoints: BTreeSet<String> = variable("infra/modules/network.bicep", "storageEndpoints")
        .as_array()
        .unwrap()
        .iter()
        .map(|it| format!("{} {}", it["id"].as_str().unwrap(), it["part"].as_str().unwrap()))
        .collect();
    let wanted = ["backupStorageId blob", "hostStorageId blob", "hostStorageId queue", "hostStorageId table"];
    assert_eq!(endpoints, wanted.map(str::to_owned).into());
}

#[test]
fn backups_cannot_be_overwritten_and_come_back_when_deleted() {
    let blobs = of_kind("Microsoft.Storage/storageAccounts/blobServices");
    let blobs = blobs.iter().find(|part| part.file.ends_with("backup-storage.bicep")).unwrap();
    for policy in ["deleteRetentionPolicy", "containerDeleteRetentionPolicy"] {
        assert_eq!(blobs.body["properties"][policy], json!({"enabled": true, "days": "softDeleteDays"}));
    }
    let policies = of_kind("Microsoft.Storage/storageAccounts/blobServices/containers/immutabilityPolicies");
    let [policy] = &policies[..] else { panic!("state must change, so it has no policy") };
    assert_eq!(policy.body["parent"], "backups");
    assert_eq!(policy.body["properties"]["allowProtectedAppendWrites"], false);
    // Immutability of versions would let a blob be overwritten.
    assert!(bicep().values().all(|tree| !tree.to_string().contains("immutableStorageWithVersioning")));
    assert_eq!(one("Microsoft.Authorization/locks", "lock")["properties"]["level"], "CanNotDelete");
}

#[test]
fn old_backups_get_cheaper_and_are_neither_archived_nor_deleted() {
    let policies = of_kind("Microsoft.Storage/storageAccounts/managementPolicies");
    let [policy] = &policies[..] else { panic!("one for the backups") };
    let rules = policy.body["properties"]["policy"]["rules"].as_array().unwrap();
    for rule in rules {
        let actions = rule["definition"]["actions"].as_object().unwrap();
        assert_eq!(actions.keys().collect::<Vec<_>>(), ["baseBlob"]);
        let steps: BTreeSet<&str> = actions["baseBlob"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(steps, ["tierToCool", "tierToCold"].into());
    }
    assert_eq!(rules.len(), 1);
}

#[test]
fn no_role_is_broader_than_needed() {
    for (path, tree) in bicep() {
        let text = tree.to_string();
        for word in text.split(|letter: char| !letter.is_ascii_hexdigit() && letter != '-') {
            if word.len() == 36 && word.matches('-').count() == 4 {
                let known = BUILT_IN.iter().find(|(id, ..)| *id == word);
                let (_, name, file) = known.unwrap_or_else(|| panic!("{path} gives the role {word}"));
                assert_eq!(path, &format!("infra/modules/{file}.bicep"), "{name}");
            }
        }
    }
    let definitions = of_kind("Microsoft.Authorization/roleDefinitions");
    let [definition] = &definitions[..] else { panic!("roles are defined in one place") };
    let permissions = definition.body["properties"]["permissions"].as_array().unwrap();
    assert_eq!(permissions.len(), 1);
    for nothing in ["actions", "notActions", "notDataActions"] {
        assert_eq!(permissions[0][nothing], json!([]));
    }
    for (key, actions) in custom_roles() {
        for action in &actions {
            assert!(
                !action.contains('*') && !action.contains("getSecret") && action.trim() == action,
                "{key}: {action}"
            );
        }
    }
    for assignment in of_kind("Microsoft.Authorization/roleAssignments") {
        let at = format!("{} {}", assignment.file, assignment.name);
        assert!(assignment.body.get("scope").is_some(), "{at} holds for a whole resource group");
        assert_eq!(assignment.body["properties"]["principalType"], "ServicePrincipal", "{at}");
    }
}

#[test]
fn the_identities_get_what_the_readme_says_and_nothing_else() {
    let vaults = |module: &str| {
        let parts = parts("modules");
        let part = parts.iter().find(|part| part.name == module).unwrap_or_else(|| panic!("no module {module}"));
        assert_eq!(part.kind, "modules/vault-access.bicep");
        part.body["params"].to_string()
    };
    let holds = |text: &str, words: &[&str]| words.iter().all(|word| text.contains(&format!("\"{word}\"")));
    let custom = custom_roles();
    let role = |keys: &[&str]| keys.iter().flat_map(|key| custom[*key].iter().cloned()).collect::<BTreeSet<_>>();

    assert!(holds(&vaults("backupAccess"), &["backup", "backUpVaults"]));
    assert_eq!(documented_on("backup identity", "each vault in `BACKUP_VAULTS`"), role(&["backUpVaults"]));
    assert!(holds(&vaults("restoreAccess"), &["restore", "restoreVaults", "replaceItems", "allowReplace"]));
    assert_eq!(documented_on("restore identity", "each vault in `RESTORE_TARGET_VAULTS`"), role(&["restoreVaults"]));
    assert!(holds(&vaults("drillAccess"), &["restore", "drillVaults"]));
    assert_eq!(documented_on("restore identity", "the drill vault, `DRILL_VAULT`"), role(&["drillVaults"]));
    let access = parts("modules").into_iter().filter(|part| part.kind == "modules/vault-access.bicep").count();
    assert_eq!(access, 3, "the prune identity has no right to any vault");
    let replace: BTreeSet<String> = ["keys", "secrets", "certificates"]
        .into_iter()
        .flat_map(|kind| ["backup/action", "delete", "purge/action"].map(|verb| format!("{kind}/{verb}")))
        .map(|right| format!("Microsoft.KeyVault/vaults/{right}"))
        .collect();
    assert!(read("docs/roles.md").contains("`backup/action`, `delete` and\n`purge/action` of each kind"));
    assert_eq!(role(&["replaceItems"]), replace);

    let file = "infra/modules/backup-storage.bicep";
    let given: BTreeMap<&str, BTreeSet<String>> = ["rolesOnBackups", "rolesOnState"]
        .into_iter()
        .flat_map(|variable_name| {
            variable(file, variable_name).as_array().unwrap().iter().map(move |access| {
                let (who, role) = (access["principalId"].as_str().unwrap(), access["role"].as_str().unwrap());
                format!("{variable_name} {who} {role}")
            })
        })
        .fold(BTreeMap::new(), |mut all, text| {
            let (place, rest) = text.split_once(' ').unwrap();
            let place = if place == "rolesOnBackups" { "backup container" } else { "state container" };
            all.entry(place).or_insert_with(BTreeSet::new).insert(rest.to_owned());
            all
        });
    let words = |role: &str| match role {
        "addBlobsRole" => custom["addBlobs"].clone(),
        "pruneBlobsRole" => custom["pruneBlobs"].clone(),
        "blobDataReader" => BTreeSet::from(["Storage Blob Data Reader".to_owned()]),
        "blobDataContributor" => BTreeSet::from(["Storage Blob Data Contributor".to_owned()]),
        other => panic!("{other}"),
    };
    for (place, accesses) in given {
        assert_eq!(accesses.len(), 3, "{place}: {accesses:?}");
        for access in accesses {
            let (who, role) = access.split_once(' ').unwrap();
            let identity = format!("{} identity", who.trim_end_matches("PrincipalId"));
            assert_eq!(documented_on(&identity, place), words(role), "{identity} on {place}");
        }
    }
    let host = documented_on("the Functions host", "the app's own storage account");
    let assigned: BTreeSet<String> =
        BUILT_IN.iter().filter(|(.., file)| *file == "host-storage").map(|(_, name, _)| (*name).to_owned()).collect();
    assert_eq!(host, assigned);
    assert_eq!(variable("infra/modules/host-storage.bicep", "roles").as_array().unwrap().len(), assigned.len());
}

#[test]
fn the_app_is_a_custom_handler_on_flex_consumption_without_a_secret_setting() {
    let app = &one("Microsoft.Web/sites", "app")["properties"];
    assert_eq!(app["functionAppConfig"]["runtime"], json!({"name": "custom", "version": "1.0"}));
    assert_eq!(app["functionAppConfig"]["deployment"]["storage"]["authentication"]["type"], "UserAssignedIdentity");
    assert_eq!((&app["httpsOnly"], &app["siteConfig"]["minTlsVersion"]), (&json!(true), &json!("1.2")));
    assert!(app["siteConfig"].get("linuxFxVersion").is_none() && app["siteConfig"].get("appSettings").is_none());
    let settings = settings_of_the_host();
    for name in settings.keys() {
        assert!(!FORBIDDEN_SETTINGS.contains(&name.as_str()), "{name} must not be set");
        let known = name.starts_with("AzureWebJobsStorage__") || name.starts_with("APPLICATIONINSIGHTS_");
        assert!(known, "{name} is in no document: put it into `settings` of main.bicep");
    }
    assert_eq!(settings["AzureWebJobsStorage__credential"], "managedidentity");
    assert_eq!(
        settings["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"],
        "Authorization=AAD;ClientId=${hostIdentityClientId}"
    );
    let policies = of_kind("Microsoft.Web/sites/basicPublishingCredentialsPolicies");
    assert_eq!(policies.len(), 2);
    assert!(policies.iter().all(|policy| policy.body["properties"]["allow"] == false));
}

#[test]
fn logs_are_sent_and_read_with_entra_tokens_only() {
    assert_eq!(one("Microsoft.Insights/components", "insights")["properties"]["DisableLocalAuth"], true);
    let workspace = one("Microsoft.OperationalInsights/workspaces", "workspace");
    assert_eq!(workspace["properties"]["features"]["disableLocalAuth"], true);
    let logged: BTreeSet<String> = of_kind("Microsoft.Insights/diagnosticSettings")
        .iter()
        .flat_map(|part| {
            let logs = part.body["properties"]["logs"].as_array().unwrap();
            logs.iter()
                .map(|log| format!("{} {}", part.body["scope"].as_str().unwrap(), log["category"].as_str().unwrap()))
        })
        .collect();
    for wanted in [
        "vault AuditEvent",
        "blobs StorageRead",
        "blobs StorageWrite",
        "blobs StorageDelete",
        "queueService StorageWrite",
    ] {
        assert!(logged.contains(wanted), "{wanted} is not among {logged:?}");
    }
}

/// Settings that README does not have, because they are the host's and not the program's.
pub(crate) fn settings_of_the_host() -> &'static serde_json::Map<String, Value> {
    let settings = &one("Microsoft.Web/sites/config", "appSettings")["properties"]["function"];
    assert_eq!((&settings["type"], &settings["parameters"]["arg_1"]), (&json!("union"), &json!("settings")));
    settings["parameters"]["arg_2"].as_object().unwrap()
}

/// The data actions of each role of infra/roles.json.
fn custom_roles() -> BTreeMap<String, BTreeSet<String>> {
    let roles: Value = serde_json::from_str(&read("infra/roles.json")).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let roles = roles.as_array().unwrap().iter();
    roles.map(|role| (text(&role["key"]), role["dataActions"].as_array().unwrap().iter().map(text).collect())).collect()
}
