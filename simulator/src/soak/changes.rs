//! What people do to their vaults.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::json;

use super::world::World;
use crate::key_vault::{ALL_DATA_ACTIONS, Kind, RESOURCE};

/// Items that a vault has at least, so that there is something to lose.
const FEWEST: usize = 6;
/// And at most, so that a round takes a second.
const MOST: usize = 40;

/// Changes one thing in a vault, and says what.
pub(super) async fn one(world: &World, vault: &str, rng: &mut StdRng) -> String {
    let vaults = &world.vaults;
    let snapshot = vaults.snapshot(vault);
    let own = |active: bool| {
        let items = snapshot.items.iter().filter(move |(_, state)| !state.managed && state.active == active);
        items.map(|(item, state)| (item.0, item.1.clone(), state)).collect::<Vec<_>>()
    };
    let (there, gone) = (own(true), own(false));
    let value: u64 = rng.random();
    let name = |kind: Kind| format!("{}-{:06x}", kind.word(), value & 0xff_ffff);
    let choice = rng.random_range(0..100);
    if there.len() < FEWEST || choice < 25 && there.len() < MOST {
        let kind = Kind::ALL[rng.random_range(0..3)];
        add(world, vault, kind, &name(kind), value);
        return format!("new {} {}", kind.word(), name(kind));
    }
    if let (85.., Some((kind, name, _))) = (choice, gone.choose(rng)) {
        return match choice {
            85..90 => {
                let path = format!("deleted{}/{name}/recover", kind.plural());
                let status = ask(world, vault, Method::POST, &path, "{}").await;
                format!("recovered {} {name}: {status}", kind.word())
            }
            90..95 => {
                vaults.purge_now(vault, *kind, name);
                format!("purged {} {name}", kind.word())
            }
            _ => {
                vaults.purge_now(vault, *kind, name);
                add(world, vault, *kind, name, value);
                format!("purged and made anew {} {name}", kind.word())
            }
        };
    }
    let Some((kind, name, state)) = there.choose(rng) else { return "nothing".to_owned() };
    match choice {
        0..45 => {
            add(world, vault, *kind, name, value);
            format!("new version of {} {name}", kind.word())
        }
        45..60 => {
            let enabled = state.versions.last().is_some_and(|version| version.enabled);
            vaults.set_enabled(vault, *kind, name, !enabled);
            format!("{} {} {name}", if enabled { "disabled" } else { "enabled" }, kind.word())
        }
        60..75 => {
            let body = json!({ "tags": { "changed": format!("{value:x}") } });
            let path = format!("{}/{name}/{}", kind.plural(), state.current);
            let status = ask(world, vault, Method::PATCH, &path, &body.to_string()).await;
            format!("new tags of {} {name}: {status}", kind.word())
        }
        _ => {
            vaults.delete_now(vault, *kind, name);
            format!("deleted {} {name}", kind.word())
        }
    }
}

fn add(world: &World, vault: &str, kind: Kind, name: &str, value: u64) {
    let vaults = &world.vaults;
    match kind {
        Kind::Secret => vaults.set_secret(vault, name, &format!("value {value:x}")),
        Kind::Key => vaults.create_key(vault, name, if value.is_multiple_of(2) { "EC" } else { "RSA" }),
        Kind::Certificate => vaults.create_certificate(vault, name),
    };
}

/// The faults hit people as well, who then leave it at that.
async fn ask(world: &World, vault: &str, method: Method, path: &str, body: &str) -> StatusCode {
    let person = world.vaults.directory().identity("person");
    world.vaults.assign(&person, vault, ALL_DATA_ACTIONS);
    let token = world.vaults.directory().mint(&person, RESOURCE);
    let mut request = Request::new(Bytes::copy_from_slice(body.as_bytes()));
    let uri = format!("https://{vault}.vault.azure.net/{path}?api-version=7.5");
    let headers =
        [(header::AUTHORIZATION, format!("Bearer {token}")), (header::CONTENT_TYPE, "application/json".into())];
    for (name, value) in headers {
        request.headers_mut().extend(HeaderValue::from_str(&value).map(|value| (name, value)));
    }
    *request.method_mut() = method;
    *request.uri_mut() = uri.parse().unwrap_or_default();
    world.vaults.handle(request).await.status()
}
