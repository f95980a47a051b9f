//! What a run has left behind, judged without the code that wrote it: only `docs/format.md` is relied upon.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use keyvault_backup::store::{Store as _, azure::AzureStore};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use simulator::key_vault::Verb;

use crate::{
    Result,
    cloud::{Cloud, Place},
};

/// Blobs that are read at once.
const AT_ONCE: usize = 8;

/// How many requests Key Vault's log keeps; with more of them it would no longer tell of all.
const LOG: usize = 100_000;

/// What was found.
pub(crate) struct Proof {
    /// Vaults with exactly one backup, complete, and each of its blobs sound.
    good_backups: usize,
    /// Item blobs that no manifest names: a second run would have left some.
    unnamed_blobs: usize,
    /// Vaults that more than one instance has asked for items.
    vaults_with_two_instances: usize,
    /// Items whose backup was asked for more than once without having been throttled.
    items_read_twice: usize,
    requests: usize,
    throttled: usize,
}

impl Proof {
    /// Reads everything that a run has written, and Key Vault's log.
    pub(crate) async fn gather(cloud: &Cloud, place: &Place, items: usize) -> Result<Self> {
        let surprises = cloud.surprises();
        if !surprises.is_empty() {
            return Err(format!("something unknown was asked for: {}", surprises.join("; ")).into());
        }
        let store = cloud.backups(place)?;
        let blobs: HashSet<String> = store.list("", None).map_ok(|entry| entry.name).try_collect().await?;
        let backups: Vec<Vec<String>> = stream::iter(&cloud.names)
            .map(|vault| good_backup(&store, &blobs, vault, items))
            .buffer_unordered(AT_ONCE)
            .try_filter_map(async |blobs| Ok(blobs))
            .try_collect()
            .await?;
        let named: HashSet<&String> = backups.iter().flatten().collect();
        let unnamed_blobs = blobs.iter().filter(|name| name.ends_with(".backup") && !named.contains(name)).count();

        let log = cloud.vaults.requests();
        if log.len() >= LOG {
            return Err("Key Vault's log does not hold all requests; take fewer vaults or items".into());
        }
        let mut instances = BTreeMap::<&str, BTreeSet<&str>>::new();
        let mut reads = BTreeMap::<_, usize>::new();
        for request in log.iter().filter(|request| !request.name.is_empty()) {
            instances.entry(&request.vault).or_default().insert(&request.identity);
            let backup = request.operation.filter(|operation| operation.verb == Verb::Backup);
            if let Some(operation) = backup.filter(|_| request.status == 200) {
                *reads.entry((&request.vault, operation.kind.plural(), &request.name)).or_default() += 1;
            }
        }
        Ok(Self {
            good_backups: backups.len(),
            unnamed_blobs,
            vaults_with_two_instances: instances.values().filter(|instances| instances.len() > 1).count(),
            items_read_twice: reads.values().filter(|times| **times > 1).count(),
            requests: log.len(),
            throttled: log.iter().filter(|request| request.status == 429).count(),
        })
    }

    /// Fails when anything is not as it must be for so many vaults. A vault whose invocation failed may have been taken
    /// up by another instance.
    pub(crate) fn check(&self, vaults: usize, failures: usize) -> Result<()> {
        let sound = self.good_backups == vaults && self.unnamed_blobs == 0 && self.items_read_twice == 0;
        if sound && self.vaults_with_two_instances <= failures {
            return Ok(());
        }
        let found = self.json();
        Err(format!("not every one of {vaults} vaults has exactly one good backup by one instance: {found}").into())
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "goodBackups": self.good_backups,
            "unnamedBlobs": self.unnamed_blobs,
            "vaultsWithTwoInstances": self.vaults_with_two_instances,
            "itemsReadTwice": self.items_read_twice,
            "requestsToKeyVault": self.requests,
            "throttled": self.throttled,
        })
    }
}

/// The item blobs of a vault's backup; `None` unless there is exactly one backup, with so many items, all of them sound.
async fn good_backup(
    store: &AzureStore,
    blobs: &HashSet<String>,
    vault: &str,
    items: usize,
) -> Result<Option<Vec<String>>> {
    let folder = format!("vaults/{vault}/backups/");
    let manifests: Vec<&String> = blobs.iter().filter(|name| name.starts_with(&folder)).collect();
    let [manifest] = manifests.as_slice() else { return Ok(None) };
    let text = store.read(manifest).await?;
    // The hash of the manifest covers everything before the line feed that begins its line.
    let (covered, _) = text.split_at(text.len().saturating_sub(82));
    let manifest: Value = serde_json::from_slice(&text)?;
    let listed = manifest["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    if manifest["status"] != "Succeeded" || listed.len() != items || manifest["sha256"] != hash(covered).as_str() {
        return Ok(None);
    }
    let mut names = Vec::new();
    for item in listed {
        let Some(name) = item["blob"].as_str().filter(|name| blobs.contains(*name)) else { return Ok(None) };
        let content = store.read(name).await?;
        if item["sha256"] != hash(&content).as_str() || item["size"] != content.len() {
            return Ok(None);
        }
        names.push(name.to_owned());
    }
    Ok(Some(names))
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
