//! Fills a vault quickly with a mix of everything.

use std::ops::Range;

use super::{
    KeyVaults, control, keys,
    model::{Content, Kind, Tags, Version},
    policy::Policy,
    vault::Vault,
};

/// How many items of each kind were made. Managed keys and secrets are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seeded {
    /// Secrets.
    pub secrets: usize,
    /// Keys.
    pub keys: usize,
    /// Certificates, each with a managed key and a managed secret.
    pub certificates: usize,
}

/// The oldest seeded version is this much older than now.
const AGE_SECONDS: i64 = 100 * 24 * 3600;

impl KeyVaults {
    /// Adds `count` items: of ten, four secrets, three keys and three certificates; some with several versions, some
    /// disabled, some with tags, content types and dates. The n-th item is the same in every run (but for the numbers
    /// in keys and certificates), named `secret-00000`, `key-00004`, `certificate-00007` and so on.
    ///
    /// # Panics
    /// If there is no vault of that name.
    pub fn seed(&self, vault: &str, count: usize) -> Seeded {
        self.seed_numbers(vault, 0..count)
    }

    /// The same for the items of these numbers only: vaults that are to have no name in common get different ones.
    ///
    /// # Panics
    /// If there is no vault of that name.
    pub fn seed_numbers(&self, vault: &str, numbers: Range<usize>) -> Seeded {
        let now = self.clock().now();
        let mut seeded = Seeded::default();
        self.with(vault, |vault| {
            for number in numbers {
                let kind = match number % 10 {
                    0..4 => Kind::Secret,
                    4..7 => Kind::Key,
                    _ => Kind::Certificate,
                };
                add(vault, kind, number, now);
                match kind {
                    Kind::Secret => seeded.secrets += 1,
                    Kind::Key => seeded.keys += 1,
                    Kind::Certificate => seeded.certificates += 1,
                }
            }
        });
        seeded
    }
}

fn add(vault: &mut Vault, kind: Kind, number: usize, now: i64) {
    let name = format!("{}-{number:05}", kind.word());
    let versions = if number % 7 == 2 { 2 + number % 3 } else { 1 };
    for nth in 0..versions {
        let created = now - AGE_SECONDS + (number % 1000) as i64 * 60 + nth as i64 * 24 * 3600;
        let content = match kind {
            Kind::Secret => Content::Secret {
                value: format!("value {nth} of {name}"),
                content_type: (number % 4 == 1).then(|| "text/plain".to_owned()),
            },
            Kind::Key => key(vault, number),
            Kind::Certificate => Content::Certificate { cer: Vec::new() },
        };
        let mut version = Version::new(vault.new_id(), created, content);
        version.enabled = number % 11 != 3;
        version.updated = created + if number % 5 == 4 { 60 } else { 0 };
        if number % 6 == 2 {
            version.not_before = Some(created - 3600);
            version.expires = Some(created + 365 * 24 * 3600);
        }
        if number.is_multiple_of(3) {
            version.tags =
                Some(Tags::from([("number".to_owned(), number.to_string()), ("owner".to_owned(), "seed".to_owned())]));
        }
        match kind {
            Kind::Certificate => control::add_certificate(vault, &name, version, Policy::default().complete(), created),
            _ => vault.add_version(kind, &name, false, version),
        }
    }
}

fn key(vault: &mut Vault, number: usize) -> Content {
    let kty = ["RSA", "EC", "EC-HSM", "RSA-HSM"][number % 4];
    let public = keys::random_key(&mut vault.random, kty, None, None).expect("these types exist");
    let fingerprint = vault.new_id().to_be_bytes().repeat(2).try_into().expect("twice sixteen are 32");
    Content::Key { public, exportable: Some(false), release_policy: None, fingerprint }
}
