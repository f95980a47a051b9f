//! The format's specification against the code: the schemas, the examples and the names in `docs/format.md`.

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use futures::TryStreamExt as _;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use keyvault_backup::{
    drill,
    model::{Attributes, ItemId, Sealed, Timestamp, VaultName},
    operation::{Attempts, Done, attempt},
    report::{ItemReport, Outcome, Problem, Progress, Status},
    repository::{
        Selector,
        findings::{Findings, Verification},
        guard::Acknowledgement,
        items::Items,
        manifest::{Counts, FORMAT_VERSION, Failure, Header, Item, Manifest, Stale},
        operation::{Operation, OperationKind},
    },
    restore::{self, Plan},
    rows::Rows,
    store::Store as _,
    verify,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use simulator::key_vault::{Fault, Kind, Operation as Asked, Verb};
use uuid::Uuid;

use crate::world::World;

const EXAMPLE_NAME: &str = "vaults/contoso-prod/backups/20261121T020000Z-1f2e3d4c.before-upgrade.json";

#[test]
fn the_manifest_of_the_specification_is_what_the_code_writes() {
    let manifest = example_manifest();
    let text = String::from_utf8(manifest.encode().unwrap().to_vec().unwrap()).unwrap();
    assert_eq!(example("manifest"), text, "put the text on the right into docs/format.md");
    assert_eq!(Manifest::decode(EXAMPLE_NAME, text.as_bytes()).unwrap(), manifest);
    assert!(format().contains(EXAMPLE_NAME));
}

#[test]
fn the_hash_of_a_manifest_can_be_checked_with_plain_tools_as_the_specification_says() {
    let text = example_manifest().encode().unwrap().to_vec().unwrap();
    // head --bytes=-82 manifest.json | sha256sum
    assert!(format().contains("head --bytes=-82"));
    let (hashed, rest) = text.split_at(text.len() - 82);
    assert_eq!(rest, format!("\n  \"sha256\": \"{}\"\n}}\n", hex::encode(Sha256::digest(hashed))).as_bytes());
}

#[tokio::test]
async fn the_backup_of_the_specification_can_be_opened_and_its_items_read() {
    let world = World::with(&["contoso-prod"]);
    world.backups.create(EXAMPLE_NAME, Bytes::from(example("manifest")).into()).await.unwrap();
    for item in example_manifest().items.to_vec().unwrap() {
        world.backups.create(&item.blob, example_bytes(&item.id).bytes().clone().into()).await.unwrap();
    }
    let repository = world.repository();
    let vault: VaultName = "contoso-prod".parse().unwrap();
    for selector in ["latest", "20261121T020000Z-1f2e3d4c", "before-upgrade", "2026-11-21T03:00:00Z"] {
        let selector: Selector = selector.parse().unwrap();
        let manifest = repository.open(&repository.find(&vault, &selector).await.unwrap()).await.unwrap();
        assert_eq!(manifest, example_manifest());
        for item in manifest.items.to_vec().unwrap() {
            assert_eq!(repository.read_item(&item).await.unwrap(), example_bytes(&item.id));
        }
    }
}

#[test]
fn fingerprints_are_made_as_the_specification_says() {
    for item in example_manifest().items.to_vec().unwrap() {
        let fingerprint = item.attributes.fingerprint();
        assert_eq!(fingerprint, specified_fingerprint(&item.attributes));
        assert!(item.blob.contains(&format!(".{fingerprint}.")));
    }
}

#[tokio::test(start_paused = true)]
async fn every_manifest_the_code_writes_satisfies_the_schema() {
    let world = World::with(&["contoso-prod"]);
    world.vaults.seed("contoso-prod", 60);
    world.vaults.set_secret("contoso-prod", "app-first", "1");
    world.back_up("contoso-prod").await.unwrap();
    // The second has stale and missing items, a label, a filter and a kind that could not be listed.
    world.vaults.clock().advance(std::time::Duration::from_secs(3600));
    world.vaults.set_secret("contoso-prod", "app-first", "2");
    world.vaults.set_secret("contoso-prod", "app-second", "1");
    let refuse = |verb, kind| Fault::answer(403, "Forbidden").on(Asked::new(kind, verb));
    world.vaults.add_fault(refuse(Verb::Backup, Kind::Secret));
    world.vaults.add_fault(refuse(Verb::List, Kind::Key));
    let mut options = world.backup_options();
    options.label = Some("before-upgrade".parse().unwrap());
    options.filter = keyvault_backup::model::filter::ItemFilter::new(["!secrets/tmp-*"]).unwrap();
    let header = world.back_up_with("contoso-prod", &options).await.unwrap();
    assert!(header.counts.stale > 0 && header.counts.missing > 0, "{header:?}");

    let schema = strict("docs/schema/manifest.schema.json");
    let mut checked = 0;
    for name in world.blobs().await.iter().filter(|name| name.ends_with(".json")) {
        let text = world.backups.read(name).await.unwrap();
        assert_valid(&schema, &serde_json::from_slice(&text).unwrap());
        checked += 1;
    }
    assert_eq!(checked, 2);
    assert_valid(&schema, &serde_json::from_str(&example("manifest")).unwrap());
}

#[tokio::test(start_paused = true)]
async fn every_record_the_code_writes_satisfies_the_schema() {
    let schema = strict("docs/schema/operation.schema.json");
    let world = World::with(&["contoso-prod", "contoso-dr"]);
    for operation in [example_operation(), run_operation(&world).await] {
        let repository = world.repository();
        assert_eq!(repository.create_operation(&operation).await.unwrap(), None);
        let text = world.state.read(&format!("operations/{}.json", operation.id)).await.unwrap();
        assert_valid(&schema, &serde_json::from_slice(&text).unwrap());
    }
    let example: Value = serde_json::from_str(&example("operation")).unwrap();
    assert_valid(&schema, &example);
    assert_eq!(example, json!(example_operation()), "put the value on the right into docs/format.md");
}

#[test]
fn every_json_example_of_the_specification_is_one_the_code_reads() {
    let text = format();
    let named: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("```json")).map(str::trim).collect();
    assert_eq!(
        named,
        ["manifest", "operation", "plan", "acknowledgement", "drill", "verification", "findings"],
        "give each JSON example a name and a check here"
    );
    let plan: Plan = serde_json::from_str(&example("plan")).unwrap();
    assert_eq!(json!(plan), serde_json::from_str::<Value>(&example("plan")).unwrap());
    let _: Operation = serde_json::from_str(&example("operation")).unwrap();
    let word: Acknowledgement = serde_json::from_str(&example("acknowledgement")).unwrap();
    assert_eq!(json!(word), serde_json::from_str::<Value>(&example("acknowledgement")).unwrap());
    let verification: Verification = serde_json::from_str(&example("verification")).unwrap();
    assert_eq!(json!(verification), serde_json::from_str::<Value>(&example("verification")).unwrap());
    let findings: Findings = serde_json::from_str(&example("findings")).unwrap();
    assert_eq!(json!(findings), serde_json::from_str::<Value>(&example("findings")).unwrap());
    assert_eq!(findings.damage(), 1);
}

#[tokio::test(start_paused = true)]
async fn every_blob_the_code_writes_has_a_name_the_specification_lists() {
    let world = World::with(&["contoso-prod", "contoso-dr", "contoso-drill"]);
    world.vaults.seed("contoso-prod", 20);
    world.back_up("contoso-prod").await.unwrap();
    let mut options = world.backup_options();
    options.label = Some("before-upgrade".parse().unwrap());
    world.back_up_with("contoso-prod", &options).await.unwrap();
    let operation = run_operation(&world).await;
    let repository = world.repository();
    repository.create_operation(&operation).await.unwrap();
    repository.keep_request(operation.id, Bytes::from_static(b"{}")).await.unwrap();
    let verify = verify::Options { operation: operation.id, concurrency: 4 };
    let vault = "contoso-prod".parse().unwrap();
    verify::run(&repository, &vault, &verify, &Progress::default(), world.now()).await.unwrap();
    let plan: restore::Plan = serde_json::from_str(&example("plan")).unwrap();
    repository.keep_plan(operation.id, &plan).await.unwrap();
    repository.acknowledge(serde_json::from_str(&example("acknowledgement")).unwrap()).await.unwrap();

    run_drill(&world).await;

    let text = format();
    for (container, heading) in
        [(&world.backups, "### The backup container"), (&world.state, "### The state container")]
    {
        let names: Vec<String> = container.list("", None).map_ok(|entry| entry.name).try_collect().await.unwrap();
        let patterns = listed_names(&text, heading);
        let unlisted: Vec<&String> = names.iter().filter(|name| !patterns.is_match(name)).collect();
        assert!(!names.is_empty() && unlisted.is_empty(), "{heading}: {unlisted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_note_of_a_drill_is_as_in_the_specification_and_a_drill_goes_on_from_it() {
    let world = World::with(&["contoso-prod", "contoso-drill"]);
    world.vaults.set_secret("contoso-prod", "db-password", "1");
    world.back_up("contoso-prod").await.unwrap();
    run_drill(&world).await;
    let written: Value = serde_json::from_slice(&world.state.read("drills/contoso-drill.json").await.unwrap()).unwrap();
    let mut example: Value = serde_json::from_str(&example("drill")).unwrap();
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&example), names(&written));
    assert_eq!(names(&example["measured"]), names(&written["measured"]));
    assert_eq!(names(&example["items"][0]), names(&written["items"][0]));
    assert_eq!(written["stage"], "done");

    world.vaults.lose_everything("contoso-drill");
    // What the example says is there in another version is left alone, which shows that it was read.
    let version = world.vaults.set_secret("contoso-drill", "db-password", "theirs");
    world.state.replace("drills/contoso-drill.json", example.to_string().into()).await.unwrap();
    let error = drill(&world).await.unwrap_err();
    assert!(error.message().contains(&format!("secrets/db-password of vault contoso-drill has version {version}")));
    example["items"][1]["version"] = version.into();
    world.state.replace("drills/contoso-drill.json", example.to_string().into()).await.unwrap();
    run_drill(&world).await;

    for (field, value, part) in [("formatVersion", json!(2), "format version 2"), ("stage", json!("x"), "is damaged")] {
        let mut note = example.clone();
        note[field] = value;
        world.state.replace("drills/contoso-drill.json", note.to_string().into()).await.unwrap();
        let error = drill(&world).await.unwrap_err();
        assert!(error.message().contains(part) && error.message().contains("drills/contoso-drill.json"), "{error}");
    }
}

async fn drill(world: &World) -> keyvault_backup::error::Result<drill::Evidence> {
    let options = drill::Options { backup: Selector::Latest, sample: None, concurrency: 4 };
    let (source, target, repository) =
        ("contoso-prod".parse().unwrap(), world.vault("contoso-drill"), world.repository());
    let (id, progress) = (Uuid::from_u128(fastrand::u128(..)), Progress::default());
    drill::run(&source, &target, &repository, id, &options, &progress, world.now()).await
}

async fn run_drill(world: &World) {
    assert_eq!(drill(world).await.unwrap().status, Status::Succeeded);
}

/// A schema that allows no property it does not describe: what the code writes must be described.
pub(crate) fn strict(path: &str) -> Value {
    let mut schema: Value = serde_json::from_str(&read(path)).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    close(&mut schema);
    schema
}

/// Forbids what a schema does not describe, all the way down.
pub(crate) fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("properties").is_some_and(Value::is_object) {
                fields.entry("additionalProperties").or_insert(Value::Bool(false));
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(values) => values.iter_mut().for_each(close),
        _ => (),
    }
}

pub(crate) fn assert_valid(schema: &Value, value: &Value) {
    let validator = jsonschema::draft202012::new(schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{value:#}");
}

/// A file of the repository.
pub(crate) fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn format() -> String {
    read("docs/format.md")
}

/// The text of the example that begins with "```json NAME".
pub(crate) fn example(name: &str) -> String {
    let text = format();
    let (_, rest) = text.split_once(&format!("\n```json {name}\n")).unwrap_or_else(|| panic!("no example {name}"));
    format!("{}\n", rest.split_once("\n```").unwrap().0)
}

/// The names in the first column of the table under a heading; words in capitals stand for anything but a slash.
fn listed_names(text: &str, heading: &str) -> GlobSet {
    let (_, rest) = text.split_once(heading).unwrap_or_else(|| panic!("no heading {heading}"));
    let rows = rest.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let mut names = GlobSetBuilder::new();
    for name in rows.skip(2).map(|row| row.split('`').nth(1).unwrap()) {
        let words = name.split_inclusive(|letter: char| !letter.is_ascii_uppercase());
        let glob: String = words
            .map(|word| {
                let end = word.trim_start_matches(|letter: char| letter.is_ascii_uppercase());
                if end.len() == word.len() { word.to_owned() } else { format!("*{end}") }
            })
            .collect();
        names.add(GlobBuilder::new(&glob).literal_separator(true).build().unwrap());
    }
    names.build().unwrap()
}

/// The definition in `docs/format.md`, written down a second time.
fn specified_fingerprint(attributes: &Attributes) -> String {
    let seconds = |moment: Option<Timestamp>| moment.map(|moment| moment.unix().to_string()).unwrap_or_default();
    let mut fields = vec![
        if attributes.enabled { "enabled" } else { "disabled" }.to_owned(),
        seconds(Some(attributes.created)),
        seconds(Some(attributes.updated)),
        seconds(attributes.not_before),
        seconds(attributes.expires),
        attributes.content_type.as_deref().unwrap_or("").to_owned(),
        attributes.thumbprint.as_deref().unwrap_or("").to_owned(),
    ];
    for (name, value) in &attributes.tags {
        fields.extend([name.to_string(), value.to_string()]);
    }
    let mut bytes = Vec::new();
    for field in fields {
        bytes.extend((field.len() as u64).to_be_bytes());
        bytes.extend(field.as_bytes());
    }
    hex::encode(Sha256::digest(bytes))[..16].to_owned()
}

/// An operation that a worker has run: a restore of which one item failed.
async fn run_operation(world: &World) -> Operation {
    let (repository, now) = (world.repository(), world.now());
    let id = Uuid::from_u128(fastrand::u128(..));
    let operation =
        Operation::new(id, OperationKind::Backup, "contoso-prod".parse().unwrap(), json!({ "full": false }), now);
    let failed = Problem { code: "Refused".into(), message: "A sentence.".into(), target: Some("keys".into()) };
    let done = Done {
        status: Status::PartiallySucceeded,
        backup_id: Some("20261121T020000Z-1f2e3d4c".parse().unwrap()),
        counts: BTreeMap::from([("read".to_owned(), 1)]),
        drill: None,
        message: "A sentence.".into(),
        problems: vec![failed.clone()],
        items: Rows::of([ItemReport {
            item: id_of("secrets", "db-password"),
            outcome: Outcome::Failed,
            version: None,
            problem: Some(failed),
        }])
        .unwrap(),
    };
    let work = async { Ok(done) };
    let mut ended = attempt(&repository, operation, Attempts::Last, &Progress::default(), now, work).await.unwrap();
    ended.id = Uuid::from_u128(fastrand::u128(..));
    ended
}

fn example_operation() -> Operation {
    let at = |text: &str| -> Timestamp { text.parse().unwrap() };
    let request = json!({
        "vault": "contoso-prod", "backup": "before-upgrade", "targetVault": "contoso-dr", "items": ["secrets/db-*"],
        "onConflict": "skip", "onDeleted": "recover"
    });
    let id = "0b6ec4a1-5b8c-4f5e-9a57-0c5d0f5b7d11".parse().unwrap();
    let vault = "contoso-prod".parse().unwrap();
    let mut operation = Operation::new(id, OperationKind::Restore, vault, request, at("2026-11-21T09:30:00Z"));
    operation.status = Status::Succeeded;
    operation.target_vault = Some("contoso-dr".parse().unwrap());
    operation.backup_id = Some("20261121T020000Z-1f2e3d4c".parse().unwrap());
    operation.started_at = Some(at("2026-11-21T09:30:04Z"));
    operation.updated_at = at("2026-11-21T09:30:06Z");
    operation.finished_at = Some(at("2026-11-21T09:30:06Z"));
    operation.attempts = 1;
    operation.progress = keyvault_backup::report::Snapshot { total: 1, done: 1, bytes: 3724 };
    operation.counts = BTreeMap::from([("restored".to_owned(), 1)]);
    operation.message =
        Some("Backup 20261121T020000Z-1f2e3d4c of vault contoso-prod into vault contoso-dr: 1 restored.".to_owned());
    operation.items = Rows::of([ItemReport {
        item: id_of("secrets", "db-password"),
        outcome: Outcome::Restored,
        version: Some("8f3a5d1c2b4e4f60a7c9d0e1f2a3b4c5".into()),
        problem: None,
    }])
    .unwrap();
    assert_eq!(crate::restore::status_of(&operation.items.to_vec().unwrap()), operation.status);
    operation
}

fn example_manifest() -> Manifest {
    let reason = "Could not back up secrets/session-token of vault contoso-prod: Key Vault refuses: BadParameter: \"The \
                  secret has too many versions.\" An item with more than 500 versions can never be backed up again; copy \
                  its current version to a new name.";
    let tags = [("owner", "payments"), ("rotate", "quarterly")].map(|(name, value)| (name.into(), value.into()));
    let plain = |created: &str, updated: &str| Attributes {
        enabled: true,
        created: created.parse().unwrap(),
        updated: updated.parse().unwrap(),
        not_before: None,
        expires: None,
        content_type: None,
        thumbprint: None,
        tags: BTreeMap::new(),
    };
    let item = |kind, name, version: &str, versions, attributes: Attributes, backup: &str, taken: &str| {
        let (id, bytes) = (id_of(kind, name), example_bytes(&id_of(kind, name)));
        let (fingerprint, sha256) = (attributes.fingerprint(), bytes.sha256());
        Item {
            blob: format!("vaults/contoso-prod/items/{backup}/{id}.{fingerprint}.{sha256}.backup").into(),
            id,
            version: version.into(),
            ties: Vec::new(),
            versions,
            attributes,
            size: bytes.bytes().len() as u64,
            sha256: sha256.into(),
            taken_at: taken.parse().unwrap(),
            stale: None,
        }
    };
    let (this, before) = ("20261121T020000Z-1f2e3d4c", "20261120T020000Z-5b6a7988");
    let mut www = plain("2026-06-01T08:15:30Z", "2026-06-01T08:15:30Z");
    www.not_before = Some("2026-06-01T08:05:30Z".parse().unwrap());
    www.expires = Some("2027-06-01T08:15:30Z".parse().unwrap());
    www.thumbprint = Some("fLi3C0s1WnL6Q9q7mS2c1cU0C3k".into());
    let mut password = plain("2026-11-20T16:40:11Z", "2026-11-20T16:41:02Z");
    password.content_type = Some("text/plain".into());
    password.tags = BTreeMap::from(tags);
    let token = plain("2026-10-02T11:00:00Z", "2026-10-02T11:00:00Z");
    let signing = plain("2025-03-14T09:26:53Z", "2026-11-20T20:00:00Z");
    let mut items = vec![
        item("certificates", "www", "c0ffee00112233445566778899aabbcc", 2, www, before, "2026-11-20T02:00:01Z"),
        item("keys", "signing", "5a17f0e1d2c3b4a5968778695a4b3c2d", 1, signing, this, "2026-11-21T02:00:02Z"),
        item("secrets", "db-password", "8f3a5d1c2b4e4f60a7c9d0e1f2a3b4c5", 3, password, this, "2026-11-21T02:00:02Z"),
        item(
            "secrets",
            "session-token",
            "17e2d3c4b5a6978801122334455667f8",
            500,
            token,
            before,
            "2026-11-20T02:00:03Z",
        ),
    ];
    items[3].stale = Some(Stale { code: "Refused".into(), reason: reason.into() });
    let mut counts =
        Counts { managed_skipped: 2, filtered_out: 1, read: 2, carried_over: 1, stale: 1, ..Default::default() };
    for item in &items {
        counts.add(item.id.kind, item.size);
    }
    let failure = Failure {
        kind: "secrets".parse().unwrap(),
        name: Some("session-token".into()),
        more: None,
        code: "Refused".into(),
        reason: reason.into(),
    };
    let header = Header {
        format_version: FORMAT_VERSION,
        tool_version: "0.1.0".into(),
        backup_id: this.parse().unwrap(),
        vault: "contoso-prod".parse().unwrap(),
        vault_uri: "https://contoso-prod.vault.azure.net".into(),
        started_at: "2026-11-21T02:00:00Z".parse().unwrap(),
        finished_at: "2026-11-21T02:00:04Z".parse().unwrap(),
        status: Status::PartiallySucceeded,
        full: false,
        label: Some("before-upgrade".parse().unwrap()),
        previous_backup: Some(before.parse().unwrap()),
        filter: vec!["!secrets/tmp-*".into()],
        guard: None,
        counts,
        failures: vec![failure],
    };
    Manifest { header, items: Items::of(&items).unwrap() }
}

/// Stands for what Key Vault would hand out, which is random.
fn example_bytes(item: &ItemId) -> Sealed {
    let size = match item.kind {
        keyvault_backup::model::Kind::Certificates => 33_127,
        keyvault_backup::model::Kind::Keys => 7_191,
        keyvault_backup::model::Kind::Secrets => 3_724,
    };
    Sealed::new(item.to_string().bytes().cycle().take(size).collect::<Vec<u8>>())
}

fn id_of(kind: &str, name: &str) -> ItemId {
    ItemId { kind: kind.parse().unwrap(), name: name.parse().unwrap() }
}
