//! Many vaults and several instances of the app: the queue hands each vault to one of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, future::join_all, stream};
use keyvault_backup::report::Status;
use simulator::{
    key_vault::{Effect, Fault, Verb},
    mishap::Mishap,
};

use super::{
    app::App,
    cloud::{Cloud, LIMIT, until},
};

const VAULTS: usize = 24;
const ITEMS: usize = 10;
const INSTANCES: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_that_share_a_queue_make_one_good_backup_of_each_vault_though_one_is_killed_at_work() {
    let names: Vec<String> = (0..VAULTS).map(|number| format!("contoso-{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let cloud = Cloud::with(&names, &[]).await;
    for name in &names {
        cloud.vaults.seed(name, ITEMS);
    }
    // Long enough that every instance gets its share, whatever else the machine does.
    cloud.vaults.set_latency(Duration::from_millis(20));
    let start = async |number: usize| {
        let mut settings = cloud.settings();
        let own = cloud.admit_instance(&instance_name(number), &names);
        settings.insert("BACKUP_IDENTITY_CLIENT_ID".into(), own);
        cloud.start(settings).await
    };
    let instances: Vec<App> = join_all((0..INSTANCES).map(start)).await;

    // Whoever comes to this vault first never gets an answer about its items, and is killed there.
    let doomed = names[VAULTS / 2];
    cloud.vaults.add_fault(Fault::new(Effect::After(Mishap::Hang)).in_vault(doomed).named("*-*").skip(4));
    let fired = instances[0].host.fire("BackupTimer").await.unwrap();
    assert!(fired.succeeded(), "{:?}", fired.error);
    until("an instance is in the middle of that vault", || asked(&cloud, doomed) > 4).await;
    let callers = callers(&cloud);
    let victim = (0..INSTANCES).find(|number| callers[doomed].contains(&instance_name(*number))).unwrap();
    instances[victim].host.kill_handler().await;
    cloud.vaults.clear_faults();
    for instance in &instances {
        instance.host.wait_idle(LIMIT).await.unwrap();
    }

    let (deliveries, mut shares) = (deliveries(&instances), Vec::new());
    for instance in &instances {
        shares.push(instance.deliveries("BackupWorker").iter().filter(|(_, succeeded)| *succeeded).count());
    }
    assert_eq!((shares.iter().sum::<usize>(), deliveries.len()), (VAULTS, VAULTS + 1), "{shares:?} {deliveries:?}");
    assert!(shares.iter().all(|share| *share > 0), "everyone had a share: {shares:?}");
    assert_eq!(deliveries.iter().filter(|delivery| **delivery == (1, false)).count(), 1, "the one that was killed");
    assert_eq!(deliveries.iter().filter(|delivery| **delivery == (2, true)).count(), 1, "and its repetition");
    let poison = format!("{}-poison", cloud.queue("BACKUP_QUEUE"));
    assert_eq!(instances[0].host.queue_messages(&poison).await.unwrap(), Vec::<String>::new());

    let repository = cloud.repository();
    for name in &names {
        let manifests = cloud.manifests(name).await;
        let [manifest] = manifests.as_slice() else { panic!("{name} has {} backups", manifests.len()) };
        assert_eq!((manifest.header.status, manifest.header.counts.read), (Status::Succeeded, ITEMS as u64), "{name}");
        assert_eq!((manifest.items.len(), manifest.header.previous_backup.as_ref()), (ITEMS, None), "{name}");
        let sound = stream::iter(manifest.items.iter())
            .map(async |item| repository.read_item(&item?).await)
            .buffer_unordered(8);
        assert_eq!(sound.try_collect::<Vec<_>>().await.unwrap().len(), ITEMS, "{name}");
    }
    // Two runs at once on one vault would have asked for items twice, and left blobs that no manifest names.
    let blobs = cloud.blobs().await;
    assert_eq!(blobs.iter().filter(|blob| blob.ends_with(".backup")).count(), VAULTS * ITEMS);
    for (item, times) in times_asked(&cloud) {
        assert!(times == 1 || item.0 == doomed && times == 2, "{item:?} was asked for {times} times");
    }
    for (vault, callers) in self::callers(&cloud) {
        assert!(callers.len() == 1 || vault == doomed, "{callers:?} were all at work on {vault}");
    }
    for instance in &instances {
        cloud.check(instance).await;
    }
}

/// How many requests about items of a vault there were.
fn asked(cloud: &Cloud, vault: &str) -> usize {
    cloud.vaults.requests().iter().filter(|request| request.vault == vault && !request.name.is_empty()).count()
}

/// How often each item's backup was asked for, by vault, kind and name.
fn times_asked(cloud: &Cloud) -> BTreeMap<(String, String, String), usize> {
    let mut times = BTreeMap::new();
    for request in cloud.vaults.requests() {
        if let Some(operation) = request.operation.filter(|operation| operation.verb == Verb::Backup) {
            *times.entry((request.vault, operation.kind.plural().to_owned(), request.name)).or_default() += 1;
        }
    }
    times
}

/// The ends of all invocations of all instances.
fn deliveries(instances: &[App]) -> Vec<(u32, bool)> {
    instances.iter().flat_map(|instance| instance.deliveries("BackupWorker")).collect()
}

/// Which instances have asked each vault for items, as Key Vault's own log has it.
fn callers(cloud: &Cloud) -> BTreeMap<String, BTreeSet<String>> {
    let mut callers = BTreeMap::<String, BTreeSet<String>>::new();
    for request in cloud.vaults.requests().into_iter().filter(|request| !request.name.is_empty()) {
        callers.entry(request.vault).or_default().insert(request.identity);
    }
    callers
}

fn instance_name(number: usize) -> String {
    format!("instance-{number}")
}
