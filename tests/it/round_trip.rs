//! The whole way: a vault's items into the store and back into another vault.

use keyvault_backup::report::{Outcome, Status};
use simulator::key_vault::Verb;

use crate::world::World;

#[tokio::test(start_paused = true)]
async fn a_vault_comes_back_whole_in_another_vault() {
    let world = World::with(&["contoso-prod", "contoso-dr"]);
    let seeded = world.vaults.seed("contoso-prod", 300);

    let header = world.back_up("contoso-prod").await.unwrap();
    assert_eq!(header.status, Status::Succeeded, "{header:?}");
    assert_eq!(header.counts.secrets, seeded.secrets as u64);
    assert_eq!(header.counts.keys, seeded.keys as u64);
    assert_eq!(header.counts.certificates, seeded.certificates as u64);
    assert_eq!(header.counts.managed_skipped, 2 * seeded.certificates as u64);

    let reports = world.restore("contoso-prod", "contoso-dr").await;
    assert_eq!(reports.len(), 300);
    let bad: Vec<_> = reports.iter().filter(|report| report.outcome != Outcome::Restored).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    let (source, target) = (world.vaults.snapshot("contoso-prod"), world.vaults.snapshot("contoso-dr"));
    assert_eq!(source.differences(&target), Vec::<String>::new());
    world.assert_all_known();
    let _ = Verb::Backup;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_again_when_nothing_has_changed() {
    let world = World::with(&["contoso-prod"]);
    world.vaults.seed("contoso-prod", 300);
    let first = world.back_up("contoso-prod").await.unwrap();
    assert_eq!(first.counts.read, 300);

    world.vaults.reset_log();
    let second = world.back_up("contoso-prod").await.unwrap();
    assert_eq!((second.counts.read, second.counts.carried_over), (0, 300));
    let pages = world.vaults.requests().len();
    // 120 + 90 secrets, 90 + 90 keys, 90 certificates at 25 a page, and a challenge for each of the three clients.
    assert!(pages <= 9 + 8 + 4 + 3 + 3, "{pages} requests");
}
