//! `docs/format.md`, read by somebody who has never seen the program's own code.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::key_vault::Kind;

/// What a blob of the backup container is, by its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Blob {
    Manifest { vault: String, id: String, label: Option<String> },
    Item { kind: Kind, name: String, sha256: String },
}

/// A manifest whose hash is right.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) header: Value,
    pub(super) items: Vec<Entry>,
}

/// One line of a manifest.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) blob: String,
    pub(super) size: u64,
    pub(super) sha256: String,
    pub(super) stale: bool,
    /// All of it.
    pub(super) json: Value,
}

/// What a name says; nothing when it is none of the documented ones.
pub(super) fn parse(name: &str) -> Option<Blob> {
    let parts: Vec<&str> = name.split('/').collect();
    match parts.as_slice() {
        ["vaults", vault, "backups", file] if is_vault(vault) => {
            let stem = file.strip_suffix(".json")?;
            let (id, label) = stem.split_once('.').map_or((stem, None), |(id, label)| (id, Some(label)));
            (is_id(id) && label.is_none_or(is_label)).then(|| Blob::Manifest {
                vault: (*vault).to_owned(),
                id: id.to_owned(),
                label: label.map(str::to_owned),
            })
        }
        ["vaults", vault, "items", by, kind, file] if is_vault(vault) && is_id(by) => {
            let kind = Kind::ALL.into_iter().find(|it| it.plural() == *kind)?;
            let [name, fingerprint, sha256, "backup"] = file.split('.').collect::<Vec<_>>()[..] else { return None };
            let good = is_item(name) && is_hex(fingerprint, 16) && is_hex(sha256, 64);
            good.then(|| Blob::Item { kind, name: name.to_owned(), sha256: sha256.to_owned() })
        }
        _ => None,
    }
}

/// Checks the hash by the recipe for plain tools, then reads.
pub(super) fn read(bytes: &[u8]) -> Result<Manifest, String> {
    // `head --bytes=-82`: the line feed, `  "sha256": "HASH"`, `}` and a line feed.
    let (hashed, tail) = bytes.split_at(bytes.len().saturating_sub(82));
    let wanted = format!("\n  \"sha256\": \"{}\"\n}}\n", sha256(hashed));
    if tail != wanted.as_bytes() {
        return Err("its hash is wrong".to_owned());
    }
    let mut header: Value = serde_json::from_slice(bytes).map_err(|error| format!("it is no JSON: {error}"))?;
    let items = header["items"].take();
    let items = items.as_array().ok_or("it has no items")?.iter().map(entry).collect::<Option<_>>();
    Ok(Manifest { header, items: items.ok_or("an item lacks a field")? })
}

/// As 64 hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn entry(json: &Value) -> Option<Entry> {
    let text = |field: &str| Some(json[field].as_str()?.to_owned());
    let kind = text("kind")?;
    Some(Entry {
        kind: Kind::ALL.into_iter().find(|it| it.plural() == kind)?,
        name: text("name")?,
        blob: text("blob")?,
        size: json["size"].as_u64()?,
        sha256: text("sha256")?,
        stale: !json["stale"].is_null(),
        json: json.clone(),
    })
}

fn is_vault(text: &str) -> bool {
    (3..=24).contains(&text.len())
        && text.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-')
}

/// `20261121T020000Z-1f2e3d4c`
fn is_id(text: &str) -> bool {
    let Some((time, number)) = text.split_once('-') else { return false };
    let digits = |range| time.get(range).is_some_and(|it: &str| it.bytes().all(|digit| digit.is_ascii_digit()));
    time.len() == 16 && digits(0..8) && &time[8..9] == "T" && digits(9..15) && time.ends_with('Z') && is_hex(number, 8)
}

fn is_label(text: &str) -> bool {
    let plain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    text.len() <= 63
        && text != "latest"
        && text.starts_with(|it: char| it.is_ascii_lowercase())
        && text.bytes().all(plain)
}

fn is_item(text: &str) -> bool {
    (1..=127).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-')
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|it| it.is_ascii_digit() || (b'a'..=b'f').contains(&it))
}

#[cfg(test)]
mod tests {
    use super::{Blob, parse, read, sha256};

    #[test]
    fn documented_names_are_known_and_others_are_not() {
        let hash = sha256(b"");
        let item =
            format!("vaults/contoso/items/20261121T020000Z-1f2e3d4c/keys/signing.1747269646999f16.{hash}.backup");
        assert!(matches!(parse(&item), Some(Blob::Item { sha256, .. }) if sha256 == hash));
        let manifest = "vaults/contoso/backups/20261121T020000Z-1f2e3d4c.before-upgrade.json";
        assert!(
            matches!(parse(manifest), Some(Blob::Manifest { label: Some(label), .. }) if label == "before-upgrade")
        );
        for wrong in [
            "vaults/contoso/backups/20261121T020000Z-1f2e3d4c.latest.json",
            "vaults/contoso/backups/20261121T02000Z-1f2e3d4c.json",
            "vaults/contoso/backups/20261121T020000Z-1f2e3d4c.json.tmp",
            "vaults/contoso/items/20261121T020000Z-1f2e3d4c/keys/signing.backup",
            "other",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_manifest_with_one_changed_byte_is_refused() {
        let head = "{\n  \"formatVersion\": 1,\n  \"items\": [\n  ],";
        let manifest = format!("{head}\n  \"sha256\": \"{}\"\n}}\n", sha256(head.as_bytes()));
        assert!(read(manifest.as_bytes()).is_ok());
        assert!(read(manifest.replace('1', "2").as_bytes()).is_err());
        assert!(read(b"").is_err());
    }
}
