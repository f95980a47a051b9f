//! Whole runs on a network on which one request in five goes wrong: 429 with and without `Retry-After`, 500, 503,
//! connections reset before and after the vault acted, answers cut short, answers that never come.

use keyvault_backup::{
    report::{Outcome, Progress, Status},
    restore,
    vault::pacing::Pacing,
};

use crate::world::{World, storm::Storm};

const SOURCE: &str = "contoso-prod";
const TARGET: &str = "contoso-dr";

#[tokio::test(start_paused = true)]
async fn a_backup_and_a_restore_in_a_storm_lose_nothing_and_claim_nothing_that_is_not_so() {
    for seed in 0..5 {
        let world = World::with(&[SOURCE, TARGET]);
        world.vaults.seed(SOURCE, 150);
        let transport = Storm::transport(&world.door, seed);
        let vault = world.vault_through(SOURCE, &transport, Pacing::new(1_000.0));
        let header = world.back_up_from(&vault, &world.repository(), &world.backup_options()).await.unwrap();
        assert_eq!((header.status, header.counts.read), (Status::Succeeded, 150), "seed {seed}: {header:#?}");

        let manifest = world.newest(SOURCE).await;
        let target = world.vault_through(TARGET, &transport, Pacing::new(1_000.0));
        let options = world.restore_options();
        let plan = restore::plan(&manifest, &target, &options).await.unwrap();
        assert_eq!(plan.count(restore::Action::Restore), 150, "seed {seed}");
        let (repository, progress) = (world.repository(), Progress::default());
        let reports = restore::execute(&plan, &manifest, &repository, &target, &options, false, &progress).await;
        let bad: Vec<_> = reports.iter().filter(|report| report.outcome != Outcome::Restored).collect();
        assert!(bad.is_empty(), "seed {seed}: {bad:#?}");
        let (source, target) = (world.vaults.snapshot(SOURCE), world.vaults.snapshot(TARGET));
        assert_eq!(source.differences(&target), Vec::<String>::new(), "seed {seed}");
    }
}
