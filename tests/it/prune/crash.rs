//! Stop after step n, for all n: what is kept is whole, and the next prune completes the work.

use keyvault_backup::{
    prune::{self, Prune},
    repository::Repository,
};

use super::{assert_whole, assert_whole_and_tidy, by_policy, ids, prune_now, vault, world_with_backups};
use crate::world::interruption::{Steps, Stop};

#[tokio::test(start_paused = true)]
async fn a_prune_stopped_at_any_step_damages_nothing_and_the_next_one_completes_it() {
    for stop in Stop::ALL {
        for last in 0.. {
            let world = world_with_backups(9).await;
            let kept = ids(&world).await.split_off(6);
            let options = by_policy("daily=3");
            let steps = Steps::stopped_at(last, stop);
            let repository = Repository::new(steps.store(world.backups.clone()), steps.store(world.state.clone()));
            let vault = vault();
            let result = steps.run(prune::run(&repository, &vault, &options, world.now())).await;
            assert_whole(&world).await;
            let left = ids(&world).await;
            assert!(kept.iter().all(|id| left.contains(id)), "{stop:?} at {last}");
            if steps.count() <= last {
                assert!(last >= 25 && matches!(result, Some(Ok(Prune::Done(..)))), "{stop:?}: only {last} steps");
                break;
            }
            assert!(!matches!(result, Some(Ok(_))), "{stop:?} at {last}: a stopped prune cannot be well");
            prune_now(&world, &options).await;
            assert_eq!(ids(&world).await, kept, "{stop:?} at {last}");
            assert_whole_and_tidy(&world).await;
        }
    }
}
