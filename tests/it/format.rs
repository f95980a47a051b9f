//! The stored format: what is written is read back the same, what is damaged is refused, what is newer is said to be so,
//! and what an older release wrote is read for ever.

mod damage;
mod frozen;
mod stream;

use std::collections::BTreeMap;

use keyvault_backup::{
    error::ErrorKind,
    model::{Attributes, ItemId, Kind, Timestamp},
    report::Status,
    repository::{
        items::Items,
        manifest::{Counts, FORMAT_VERSION, Failure, Guard, Header, Item, Manifest, Stale},
    },
};
use proptest::{collection, option, prelude::*, sample};

const ID: &str = "20261121T020000Z-1f2e3d4c";

/// The name under which a manifest is stored.
pub(crate) fn stored_as(manifest: &Manifest) -> String {
    let Header { vault, backup_id, label, .. } = &manifest.header;
    let label = label.as_ref().map(|label| format!(".{label}")).unwrap_or_default();
    format!("vaults/{vault}/backups/{backup_id}{label}.json")
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    (0..253_402_300_799_i64).prop_map(Timestamp::from_unix)
}

/// Text with all that JSON has to escape, and all that looks like the manifest's own lines.
fn text() -> impl Strategy<Value = Box<str>> {
    prop_oneof![
        any::<String>().prop_map(String::into_boxed_str),
        sample::select(vec!["\n  \"items\": [", "\n  \"sha256\": \"", "\"\n}\n", "\u{0}\u{1f}\"\\/\u{2028}", "ü€😀"])
            .prop_map(Into::into),
    ]
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let dates = (timestamp(), timestamp(), option::of(timestamp()), option::of(timestamp()));
    let tags = collection::btree_map(text(), text(), 0..3);
    (any::<bool>(), dates, option::of(text()), option::of(text()), tags).prop_map(
        |(enabled, (created, updated, not_before, expires), content_type, thumbprint, tags)| Attributes {
            enabled,
            created,
            updated,
            not_before,
            expires,
            content_type,
            thumbprint,
            tags,
        },
    )
}

fn item() -> impl Strategy<Value = Item> {
    let version = "[0-9a-f]{32}".prop_map(String::into_boxed_str);
    let ties = collection::vec("[0-9a-f]{32}".prop_map(String::into_boxed_str), 0..3);
    let stale = option::of((text(), any::<String>()).prop_map(|(code, reason)| Stale { code: code.into(), reason }));
    (
        (sample::select(Kind::ALL.to_vec()), "[0-9a-zA-Z-]{1,127}", "[0-9a-f]{64}"),
        (version, ties, any::<u32>(), any::<u64>()),
        (attributes(), timestamp(), stale),
    )
        .prop_map(|((kind, name, sha256), (version, ties, versions, size), (attributes, taken_at, stale))| Item {
            blob: format!("vaults/contoso-prod/items/{ID}/{kind}/{name}.{}.{sha256}.backup", attributes.fingerprint())
                .into(),
            id: ItemId { kind, name: name.parse().unwrap() },
            version,
            ties,
            versions,
            attributes,
            size,
            sha256: sha256.into(),
            taken_at,
            stale,
        })
}

fn failure() -> impl Strategy<Value = Failure> {
    let (name, more) = (option::of(text()), option::of(any::<u64>()));
    (sample::select(Kind::ALL.to_vec()), name, more, any::<String>(), any::<String>())
        .prop_map(|(kind, name, more, code, reason)| Failure { kind, name, more, code, reason })
}

fn guard() -> Guard {
    Guard {
        tripped_by: ID.parse().unwrap(),
        compared_with: "20261120T020000Z-00000001".parse().unwrap(),
        items: 100,
        deleted: 40,
        disabled: 1,
    }
}

prop_compose! {
    fn header()(
        times in (timestamp(), timestamp()),
        full in any::<bool>(),
        label in option::of("[a-z][a-z0-9-]{0,62}".prop_filter("reserved", |label| label != "latest")),
        previous in any::<bool>(),
        filter in collection::vec(any::<String>(), 0..3),
        guarded in any::<bool>(),
        numbers in any::<[u64; 10]>(),
        failures in collection::vec(failure(), 0..3),
        tool_version in any::<String>(),
    ) -> Header {
        let [keys, secrets, certificates, managed_skipped, filtered_out, read, carried_over, stale, missing, bytes] =
            numbers;
        Header {
            format_version: FORMAT_VERSION,
            tool_version,
            backup_id: ID.parse().unwrap(),
            vault: "contoso-prod".parse().unwrap(),
            vault_uri: "https://contoso-prod.vault.azure.net".into(),
            started_at: times.0,
            finished_at: times.1,
            status: if failures.is_empty() { Status::Succeeded } else { Status::PartiallySucceeded },
            full,
            label: label.map(|label| label.parse().unwrap()),
            previous_backup: previous.then(|| "20261120T020000Z-00000001".parse().unwrap()),
            filter,
            guard: guarded.then(guard),
            counts: Counts {
                keys, secrets, certificates, managed_skipped, filtered_out, read, carried_over, stale, missing, bytes,
            },
            failures,
        }
    }
}

pub(crate) fn manifest() -> impl Strategy<Value = Manifest> {
    (header(), collection::vec(item(), 0..6)).prop_map(|(header, items)| {
        let items: BTreeMap<ItemId, Item> = items.into_iter().map(|item| (item.id.clone(), item)).collect();
        Manifest { header, items: Items::of(items.values()).unwrap() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_manifest_is_read_back_as_it_was_written(manifest in manifest()) {
        let name = stored_as(&manifest);
        let text = manifest.encode().unwrap().to_vec().unwrap();
        prop_assert_eq!(&Manifest::decode(&name, &text).unwrap(), &manifest);
        prop_assert_eq!(Header::decode(&name, &text).unwrap().unwrap(), manifest.header.clone());
        // One line each, so that a manifest can be searched with line tools.
        let lines = text.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"    {\"kind\"")).count();
        prop_assert_eq!(lines, manifest.items.len());
    }

    #[test]
    fn a_manifest_with_any_byte_changed_is_refused(manifest in manifest(), at: sample::Index, change in 1..=255_u8) {
        let mut text = manifest.encode().unwrap().to_vec().unwrap();
        let at = at.index(text.len());
        text[at] ^= change;
        let error = Manifest::decode(&stored_as(&manifest), &text).unwrap_err();
        prop_assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NewerFormat), "{:?}", error);
    }

    #[test]
    fn a_manifest_cut_off_or_continued_anywhere_is_refused(manifest in manifest(), at: sample::Index, more: Vec<u8>) {
        let text = manifest.encode().unwrap().to_vec().unwrap();
        let name = stored_as(&manifest);
        let cut = &text[..at.index(text.len())];
        prop_assert_eq!(Manifest::decode(&name, cut).unwrap_err().kind(), ErrorKind::Corrupt);
        if !more.is_empty() {
            let continued = [&text[..], &more].concat();
            prop_assert_eq!(Manifest::decode(&name, &continued).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn no_bytes_at_all_make_reading_a_manifest_panic(bytes: Vec<u8>) {
        prop_assert!(Manifest::decode("vaults/contoso-prod/backups/x.json", &bytes).is_err());
        let _ = Header::decode("vaults/contoso-prod/backups/x.json", &bytes);
    }
}
