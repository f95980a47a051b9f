//! The trap of certificates whose versions came back in reverse order, so that the oldest became the current one
//! (reported to azure-powershell in 2019): presence is not enough, Key Vault's own word on the current version counts.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::http::{AsyncRawResponse, HttpClient, Request, Transport};
use keyvault_backup::{report::Outcome, vault::pacing::Pacing};
use simulator::{key_vault::Kind, transport::Door};

use super::{SOURCE, TARGET, execute, outcomes, said};
use crate::world::World;

/// A vault that says, after a restore, that the first version is the current one.
#[derive(Debug)]
struct Reversed {
    door: Door,
    current: String,
    first: String,
}

#[async_trait]
impl HttpClient for Reversed {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let answer = self.door.execute_request(request).await?;
        if !request.url().path().ends_with("/restore") || !answer.status().is_success() {
            return Ok(answer);
        }
        let (status, headers, body) = answer.try_into_raw_response().await?.deconstruct();
        let body = String::from_utf8(body.to_vec()).unwrap().replace(&self.current, &self.first);
        Ok(AsyncRawResponse::from_bytes(status, headers, body))
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_whose_oldest_version_became_the_current_one_is_a_failure() {
    for (kind, name) in [(Kind::Secret, "apple"), (Kind::Certificate, "www")] {
        let world = World::with(&[SOURCE, TARGET]);
        for _ in 0..3 {
            match kind {
                Kind::Certificate => drop(world.vaults.create_certificate(SOURCE, name)),
                _ => drop(world.vaults.set_secret(SOURCE, name, "value")),
            }
            world.pass(std::time::Duration::from_secs(60));
        }
        world.back_up(SOURCE).await.unwrap();
        let manifest = world.newest(SOURCE).await;
        let state = world.vaults.snapshot(SOURCE).items[&(kind, name.to_owned())].clone();
        let (current, first) = (state.current.clone(), state.versions[0].id.clone());
        assert_ne!(current, first);
        let plan = world.plan(&manifest, TARGET).await;
        let door = Reversed { door: world.door.clone(), current: current.clone(), first: first.clone() };
        let target = world.vault_through(TARGET, &Transport::new(Arc::new(door)), Pacing::new(10_000.0));
        let reports = execute(&world, &manifest, &plan, &target).await;
        let item = format!("{}/{name}", kind.plural());
        assert_eq!(outcomes(&reports)[&item], Outcome::Failed);
        let wanted = format!("the current version is {first} instead of {current}");
        assert!(said(&reports, &item).contains(&wanted), "{}", said(&reports, &item));
    }
}
