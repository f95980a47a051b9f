//! What the restore identity needs in the drill vault: all that the documents give it, and no more.

use keyvault_backup::{
    drill::{self, Evidence, Options},
    error::{ErrorKind, Result},
    report::{Progress, Status},
    repository::Selector,
};
use simulator::key_vault::{Kind, Operation, Verb};
use uuid::Uuid;

use crate::{
    roles_docs::{act_in, rights_in, without},
    world::World,
};

const SOURCE: &str = "contoso-prod";
const TARGET: &str = "contoso-drill";

fn documented() -> Vec<String> {
    rights_in("| | the drill vault")
}

/// A drill by an identity that has these rights in the drill vault, and none elsewhere.
async fn drill_with(rights: &[String]) -> (World, Result<Evidence>) {
    let mut world = World::with(&[SOURCE, TARGET]);
    world.vaults.set_secret(SOURCE, "secret", "value");
    world.vaults.create_key(SOURCE, "key", "EC");
    world.vaults.create_certificate(SOURCE, "certificate");
    world.back_up(SOURCE).await.unwrap();
    world.vaults.reset_log();
    act_in(&mut world, TARGET, rights);
    let options = Options { backup: Selector::Latest, sample: None, concurrency: 4 };
    let (source, target, repository) = (SOURCE.parse().unwrap(), world.vault(TARGET), world.repository());
    let (operation, progress) = (Uuid::new_v4(), Progress::default());
    let result = drill::run(&source, &target, &repository, operation, &options, &progress, world.now()).await;
    (world, result)
}

#[tokio::test(start_paused = true)]
async fn a_drill_needs_each_of_its_documented_rights_and_no_more() {
    let rights = documented();
    let (world, evidence) = drill_with(&rights).await;
    assert_eq!(evidence.unwrap().status, Status::Succeeded);
    assert_eq!(world.vaults.count(Operation::new(Kind::Secret, Verb::Get)), 0, "a drill reads no value");
    assert_eq!(world.vaults.count_status(403), 0);
    world.assert_all_known();
    for right in &rights {
        let lacks = format!("lacks {right}. Assign it");
        let (world, result) = drill_with(&without(&rights, right)).await;
        assert_eq!(world.vaults.snapshot(TARGET).items.len(), 0, "{right}: the drill vault is as it was");
        match result {
            Ok(evidence) => {
                assert!(right.ends_with("/restore/action"), "{right}: {evidence:?}");
                let [report] = &evidence.items.to_vec().unwrap()[..] else { panic!("{right}: {evidence:?}") };
                assert!(right.contains(&format!("/{}/", report.item.kind)), "{right}: {evidence:?}");
                assert!(report.problem.as_ref().unwrap().message.contains(&lacks), "{right}: {evidence:?}");
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Forbidden, "{right}: {error}");
                assert!(error.message().contains(&lacks), "{right}: {error}");
                let restored =
                    Kind::ALL.iter().any(|kind| world.vaults.count(Operation::new(*kind, Verb::Restore)) > 0);
                assert!(!restored, "{right}: refused before anything is restored");
            }
        }
    }
}
