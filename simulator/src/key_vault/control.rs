//! What tests do to vaults without going through HTTP.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::HeaderValue;
use serde_json::Value;

use super::{
    Fault, Host, KeyVaults, Logged, access, certificates, keys,
    model::{Content, Kind, Operation, Version, hex32},
    options::{Network, Throttling, VaultOptions, Window},
    policy::Policy,
    vault::Vault,
};
use crate::{
    clock::Clock,
    identity::{Directory, Identity},
};

/// Everything here panics if there is no vault of that name: a test that misspells it must not pass.
impl KeyVaults {
    /// Makes an empty vault, or replaces the one of that name.
    pub fn add_vault(&self, options: VaultOptions) {
        let options = Arc::new(options);
        let host = Host {
            region: HeaderValue::from_str(&options.region).expect("a region is ASCII"),
            vault: Vault::new(options.clone()).into(),
            options: options.clone(),
        };
        let name = options.name.to_ascii_lowercase();
        self.0.vaults.write().expect("a holder of the vaults panicked").insert(name, Arc::new(host));
    }

    /// Whether there is a vault of that name.
    pub fn has_vault(&self, vault: &str) -> bool {
        self.0.vaults.read().expect("a holder of the vaults panicked").contains_key(&vault.to_ascii_lowercase())
    }

    /// The service's clock.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The directory whose tokens are trusted.
    pub fn directory(&self) -> &Directory {
        &self.0.directory
    }

    /// Gives an identity data actions in a vault, on top of those it has. `*` at the end of an action is a wildcard;
    /// [`super::ALL_DATA_ACTIONS`] allows everything.
    ///
    /// # Panics
    /// If a data action does not exist.
    pub fn assign(&self, identity: &Identity, vault: &str, data_actions: &[&str]) {
        self.with(vault, |vault| {
            let grant = vault.grants.entry(identity.object_id.to_string()).or_insert_with(access::Grant::new);
            grant.add(data_actions);
        });
    }

    /// Takes all data actions in a vault from an identity.
    pub fn unassign(&self, identity: &Identity, vault: &str) {
        self.with(vault, |vault| vault.grants.remove(&identity.object_id.to_string()));
    }

    /// Switches the request limits of a vault on or off (default off).
    pub fn set_throttling(&self, vault: &str, throttling: Option<Throttling>) {
        self.with(vault, |vault| vault.throttling = throttling);
    }

    /// Sets how the limits of a vault are counted (default fixed).
    pub fn set_window(&self, vault: &str, window: Window) {
        self.with(vault, |vault| vault.window = window);
    }

    /// Lets a vault deal with so many requests per second, one after the other; those that come faster wait in a queue
    /// (default no limit). That is how a production load is felt long before a limit is.
    pub fn set_capacity(&self, vault: &str, requests_per_second: Option<f64>) {
        self.with(vault, |vault| vault.capacity = requests_per_second);
    }

    /// What all requests that a vault's limits let through counted for together: most count for one, big keys and those
    /// in an HSM for more. Nothing is counted while the limits are off.
    pub fn quota_granted(&self, vault: &str) -> f64 {
        self.with(vault, |vault| vault.quota.granted())
    }

    /// Switches read-only mode: all that changes something answers 503. Backup goes on.
    pub fn set_read_only(&self, vault: &str, read_only: bool) {
        self.with(vault, |vault| vault.read_only = read_only);
    }

    /// Sets from where the vault can be reached.
    pub fn set_network(&self, vault: &str, network: Network) {
        self.with(vault, |vault| vault.network = network);
    }

    /// Lets every request to any vault take this long.
    pub fn set_latency(&self, latency: Duration) {
        self.0.latency_micros.store(latency.as_micros() as u64, std::sync::atomic::Ordering::Relaxed);
    }

    /// Adds a fault; earlier ones come first.
    pub fn add_fault(&self, fault: Fault) {
        self.0.faults.lock().expect("a holder of the faults panicked").push(fault);
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.0.faults.lock().expect("a holder of the faults panicked").clear();
    }

    /// How many requests a fault has hit so far.
    pub fn faults_hit(&self) -> u64 {
        self.0.faults_hit.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// What was asked that the simulator does not know. A test that passes has none.
    pub fn unknown_requests(&self) -> Vec<String> {
        self.journal().unknown.clone()
    }

    /// The last hundred thousand requests.
    pub fn requests(&self) -> Vec<Logged> {
        self.journal().requests.iter().cloned().collect()
    }

    /// How many requests asked for this operation, whatever the answer. Requests without a good token are not known to
    /// ask for anything.
    pub fn count(&self, operation: Operation) -> u64 {
        self.journal().counts.iter().filter(|((it, _), _)| *it == Some(operation)).map(|(_, count)| count).sum()
    }

    /// How many answers had this status.
    pub fn count_status(&self, status: u16) -> u64 {
        self.journal().counts.iter().filter(|((_, it), _)| *it == status).map(|(_, count)| count).sum()
    }

    /// Empties the log, the counters and the list of unknown requests.
    pub fn reset_log(&self) {
        *self.journal() = Default::default();
    }

    /// Sets a secret; returns the id of its new version.
    pub fn set_secret(&self, vault: &str, name: &str, value: &str) -> String {
        let content = Content::Secret { value: value.to_owned(), content_type: None };
        self.add_directly(vault, Kind::Secret, name, |_| content)
    }

    /// Adds so many versions to a secret, each a second older than the next.
    pub fn set_secret_versions(&self, vault: &str, name: &str, count: usize) {
        let now = self.clock().now();
        self.with(vault, |vault| {
            for number in 0..count {
                let created = now - (count - number) as i64;
                let content = Content::Secret { value: format!("value {number} of {name}"), content_type: None };
                let version = Version::new(vault.new_id(), created, content);
                vault.add_version(Kind::Secret, name, false, version);
            }
        });
    }

    /// Makes a key of this type (`RSA`, `EC-HSM`, …); returns the id of its new version.
    pub fn create_key(&self, vault: &str, name: &str, kty: &str) -> String {
        self.add_directly(vault, Kind::Key, name, |vault| Content::Key {
            public: keys::random_key(&mut vault.random, kty, None, None).expect("the type of the key exists"),
            exportable: Some(false),
            release_policy: None,
            fingerprint: rand::random(),
        })
    }

    /// Makes a finished certificate with its key and secret; returns the id of its new version.
    pub fn create_certificate(&self, vault: &str, name: &str) -> String {
        let now = self.clock().now();
        self.with(vault, |vault| {
            let version = Version::new(vault.new_id(), now, Content::Certificate { cer: Vec::new() });
            let id = hex32(version.id);
            add_certificate(vault, name, version, Policy::default().complete(), now);
            id
        })
    }

    /// Changes whether the current version of an item is enabled, and of what belongs to a certificate.
    pub fn set_enabled(&self, vault: &str, kind: Kind, name: &str, enabled: bool) {
        let kinds: &[Kind] = if kind == Kind::Certificate { &Kind::ALL } else { &[kind] };
        self.with(vault, |vault| {
            for &kind in kinds {
                let item = vault.active_mut(kind, name).expect("the item to enable or disable is there");
                if let Some(version) = item.version_mut(None) {
                    version.enabled = enabled;
                }
            }
        });
    }

    /// Deletes an active item; it can be recovered at once.
    ///
    /// # Panics
    /// If there is no such item.
    pub fn delete_now(&self, vault: &str, kind: Kind, name: &str) {
        let now_millis = self.clock().now_millis();
        self.with(vault, |vault| {
            assert!(vault.active(kind, name).is_some(), "there is no active {} {name} to delete", kind.word());
            vault.delete(kind, name, now_millis);
            vault.finish_deletion(kind, name);
        });
    }

    /// Removes an item for good, whatever its state; the name is free at once.
    pub fn purge_now(&self, vault: &str, kind: Kind, name: &str) {
        self.with(vault, |vault| vault.forget(kind, name));
    }

    /// The disaster: every item is gone for good, deleted ones too, and all names are free.
    pub fn lose_everything(&self, vault: &str) {
        self.with(vault, Vault::forget_everything);
    }

    fn add_directly(&self, vault: &str, kind: Kind, name: &str, content: impl FnOnce(&mut Vault) -> Content) -> String {
        let now = self.clock().now();
        self.with(vault, |vault| {
            let content = content(vault);
            let version = Version::new(vault.new_id(), now, content);
            let id = hex32(version.id);
            vault.add_version(kind, name, false, version);
            id
        })
    }

    /// Works on a vault as it is now.
    pub(super) fn with<T>(&self, vault: &str, work: impl FnOnce(&mut Vault) -> T) -> T {
        let name = vault.to_ascii_lowercase();
        let host = self.0.vaults.read().expect("a holder of the vaults panicked").get(&name).cloned();
        let host = host.unwrap_or_else(|| panic!("there is no vault '{vault}'"));
        let mut vault = host.lock();
        vault.settle(self.clock().now_millis());
        work(&mut vault)
    }

    /// All answers so far by operation and status.
    pub fn counts(&self) -> BTreeMap<(Option<Operation>, u16), u64> {
        self.journal().counts.clone()
    }
}

/// Completes a certificate version that has everything but the certificate, and adds it.
pub(super) fn add_certificate(vault: &mut Vault, name: &str, mut version: Version, policy: Value, now: i64) {
    certificates::set_validity(&mut version, &policy);
    version.content = Content::Certificate { cer: certificates::self_signed(&policy, &version) };
    certificates::add(vault, name, version, policy, now);
}
