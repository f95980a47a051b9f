//! What is the same for secrets, keys and certificates: read, back up, restore, delete, recover, purge.

use serde_json::json;

use super::{
    answer::{Answer, Outcome},
    backup::{self, Payload},
    body,
    bundle::{self, bundle},
    model::{Item, Kind, Life},
    options::VaultOptions,
    policy,
    refusal::Refusal,
    route::Route,
    vault::Vault,
};

pub(super) fn get(vault: &Vault, route: &Route) -> Outcome {
    let kind = route.operation.kind;
    let missing = || Refusal::not_found(kind, &route.name);
    let item = vault.active(kind, &route.name).ok_or_else(missing)?;
    let version = item.version(route.version).ok_or_else(missing)?;
    if kind == Kind::Secret && !version.enabled {
        return Err(Refusal::secret_disabled());
    }
    Answer::ok(&bundle(vault, kind, item, version, true, None))
}

pub(super) fn backup(vault: &Vault, route: &Route) -> Outcome {
    let kind = route.operation.kind;
    let item = own_item(vault, route, "backup")?;
    let limit = vault.options.backup_versions;
    if item.versions.len() > limit {
        // Status, code and text assumed: Azure documents the limit and "may result in an error".
        return Err(Refusal::bad_parameter(format!(
            "The {} {} cannot be backed up because it has more than {limit} versions.",
            kind.word(),
            item.name
        )));
    }
    if item.is_unfinished() {
        // Assumed.
        return Err(Refusal::not_found(kind, &route.name));
    }
    let mut items = vec![(kind, item)];
    if kind == Kind::Certificate {
        items.extend([Kind::Key, Kind::Secret].into_iter().filter_map(|it| Some((it, vault.item(it, &item.name)?))));
    }
    Answer::ok(&json!({"value": backup::seal(&vault.options, &Payload { kind, items })}))
}

/// What a restore brings, opened before anything else so that logs and faults know its name.
pub(super) fn open_backup(options: &VaultOptions, route: &Route, body: &[u8]) -> Result<Payload<Item>, Refusal> {
    let body: body::Restore = body::read(route.operation, body)?;
    backup::open(options, route.operation.kind, &body.value)
}

pub(super) fn restore(vault: &mut Vault, route: &Route, payload: Payload<Item>) -> Outcome {
    let kind = route.operation.kind;
    let Some((_, main)) = payload.items.first() else {
        return Err(Refusal::malformed_backup("Backup blob is corrupt."));
    };
    if payload.items.iter().any(|(kind, item)| vault.item(*kind, &item.name).is_some()) {
        return Err(Refusal::conflict_restoring(kind, &bundle::current_id(&vault.options, kind, main)));
    }
    let name = main.name.clone();
    for (kind, mut item) in payload.items {
        if let Some(it) = &mut item.policy {
            policy::forget_empty_names(it);
        }
        vault.insert(kind, item);
    }
    let item = vault.active(kind, &name).expect("it was put there in the line above");
    Answer::ok(&bundle(vault, kind, item, item.current(), false, None))
}

pub(super) fn delete(vault: &mut Vault, route: &Route, now_millis: i64) -> Outcome {
    let kind = route.operation.kind;
    own_item(vault, route, "delete")?;
    let deletion = vault.delete(kind, &route.name, now_millis);
    let item = vault.item(kind, &route.name).expect("deleted items stay for days");
    Answer::ok(&bundle(vault, kind, item, item.current(), false, Some(deletion)))
}

pub(super) fn get_deleted(vault: &Vault, route: &Route) -> Outcome {
    let kind = route.operation.kind;
    match vault.item(kind, &route.name) {
        Some(item) if matches!(item.life, Life::Deleting(_)) => Err(Refusal::deleted_not_found(kind, &route.name)),
        Some(item) if item.deletion().is_some() => {
            Answer::ok(&bundle(vault, kind, item, item.current(), false, item.deletion()))
        }
        _ => Err(Refusal::not_found(kind, &route.name)),
    }
}

pub(super) fn recover(vault: &mut Vault, route: &Route, now_millis: i64) -> Outcome {
    let kind = route.operation.kind;
    deleted_item(vault, route, "recover")?;
    vault.recover(kind, &route.name, now_millis);
    let item = vault.item(kind, &route.name).expect("a recovery takes nothing away");
    Answer::ok(&bundle(vault, kind, item, item.current(), false, None))
}

pub(super) fn purge(vault: &mut Vault, route: &Route, now_millis: i64) -> Outcome {
    deleted_item(vault, route, "purge")?;
    if vault.options.purge_protection {
        return Err(Refusal::purge_protected(&vault.options.name, &vault.options.region));
    }
    vault.purge(route.operation.kind, &route.name, now_millis);
    Answer::no_content()
}

/// Whether a new item or version of that name can be made.
pub(super) fn may_create(vault: &Vault, kind: Kind, name: &str, operation: &str) -> Result<(), Refusal> {
    if let Some(item) = vault.item(kind, name) {
        return match item.life {
            Life::Active if item.managed => Err(Refusal::managed(kind, operation)),
            Life::Active => Ok(()),
            Life::Deleting(_) | Life::Purging => Err(Refusal::being_deleted_cannot_create(kind, &item.name)),
            Life::Deleted(_) => Err(Refusal::deleted_but_recoverable(kind, &item.name)),
            Life::Recovering => Err(Refusal::being_recovered(kind)),
        };
    }
    let others: &[Kind] = if kind == Kind::Certificate { &[Kind::Key, Kind::Secret] } else { &[Kind::Certificate] };
    match others.iter().find(|&&it| vault.item(it, name).is_some()) {
        Some(&by) => Err(Refusal::name_taken(kind, name, by)),
        None => Ok(()),
    }
}

/// The active item that an operation works on, unless a certificate owns it.
pub(super) fn own_item<'a>(vault: &'a Vault, route: &Route, operation: &str) -> Result<&'a Item, Refusal> {
    let kind = route.operation.kind;
    let item = vault.active(kind, &route.name).ok_or_else(|| Refusal::not_found(kind, &route.name))?;
    if item.managed {
        return Err(Refusal::managed(kind, operation));
    }
    Ok(item)
}

fn deleted_item<'a>(vault: &'a Vault, route: &Route, operation: &str) -> Result<&'a Item, Refusal> {
    let kind = route.operation.kind;
    match vault.item(kind, &route.name) {
        Some(item) if item.managed && item.deletion().is_some() => Err(Refusal::managed(kind, operation)),
        Some(item) => match item.life {
            Life::Deleted(_) => Ok(item),
            Life::Deleting(_) => Err(Refusal::being_deleted(kind)),
            Life::Recovering => Err(Refusal::being_recovered(kind)),
            Life::Active | Life::Purging => Err(Refusal::not_found(kind, &route.name)),
        },
        None => Err(Refusal::not_found(kind, &route.name)),
    }
}
