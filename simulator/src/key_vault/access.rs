//! Who may do what: challenge, token, network, roles.

use std::{collections::HashSet, sync::Arc};

use http::{HeaderMap, header};
use uuid::Uuid;

use super::{
    model::{Kind, Operation, Verb},
    options::{Network, Permissions},
    refusal::Refusal,
    route::Route,
    vault::Vault,
};
use crate::identity::{BadToken, Claims, Directory};

/// The audience of tokens for Key Vault, without a trailing slash.
pub const RESOURCE: &str = "https://vault.azure.net";

/// Assign this to let an identity do everything.
pub const ALL_DATA_ACTIONS: &[&str] = &["Microsoft.KeyVault/vaults/*"];

/// What one identity may do in one vault.
pub(super) struct Grant {
    pub(super) assignment: Uuid,
    pub(super) actions: HashSet<&'static str>,
}

impl Grant {
    pub(super) fn new() -> Self {
        Self { assignment: Uuid::new_v4(), actions: HashSet::new() }
    }

    /// Adds data actions; `*` at the end stands for everything that begins so.
    ///
    /// # Panics
    /// If an action does not exist. Azure would take it (with a trailing blank, say) and grant nothing.
    pub(super) fn add(&mut self, actions: &[&str]) {
        for &action in actions {
            let wanted = |known: &&&'static str| match action.strip_suffix('*') {
                Some(start) => known.starts_with(start),
                None => **known == action,
            };
            let found: Vec<_> = DATA_ACTIONS.iter().filter(wanted).collect();
            assert!(!found.is_empty(), "there is no data action '{action}' in Key Vault; see DATA_ACTIONS");
            self.actions.extend(found);
        }
    }
}

/// The caller, by the token of the request. Who has none learns nothing else, whatever the path.
///
/// The text for a missing token is recorded, the one for an expired token quoted; the other two are assumed.
pub(super) fn authenticate(directory: &Directory, headers: &HeaderMap) -> Result<Arc<Claims>, Refusal> {
    let tenant = directory.tenant();
    let refuse = |message: &str| Refusal::unauthorized(tenant, message);
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|it| it.to_str().ok())
        .and_then(|it| it.strip_prefix("Bearer "))
        .ok_or_else(|| refuse("AKV10000: Request is missing a Bearer or PoP token."))?;
    let claims = directory.verify(token).map_err(|bad| match bad {
        BadToken::Expired => refuse("[TokenExpired] Error validating token: 'S2S12086'."),
        BadToken::Forged => refuse("[InvalidToken] Error validating token: 'S2S12005'."),
    })?;
    if claims.aud != RESOURCE {
        let found = &claims.aud;
        return Err(refuse(&format!("AKV10022: Invalid audience. Expected {RESOURCE}, found: {found}.")));
    }
    Ok(claims)
}

/// Whether the caller's address may come in. The text for private links is assumed.
pub(super) fn check_network(vault: &Vault, claims: &Claims) -> Result<(), Refusal> {
    let (inner, reason) = match vault.network {
        Network::Open => return Ok(()),
        Network::Firewall => (
            "ForbiddenByFirewall",
            "Client address is not authorized and caller is not a trusted service.\r\nClient address: 192.0.2.1",
        ),
        Network::PrivateOnly => (
            "ForbiddenByConnection",
            "Public network access is disabled and request is not from a trusted service nor via an approved private \
             link.",
        ),
    };
    let (caller, options) = (caller(claims), &vault.options);
    let message = format!("{reason}\r\nCaller: {caller}\r\nVault: {};location={}", options.name, options.region);
    Err(Refusal::forbidden(inner, message))
}

/// Whether a role gives the caller the data action of the operation.
pub(super) fn check_role(vault: &Vault, claims: &Claims, route: &Route) -> Result<(), Refusal> {
    let action = action(route.operation);
    if vault.grants.get(&claims.oid).is_some_and(|it| it.actions.contains(action)) {
        return Ok(());
    }
    let options = &vault.options;
    if options.permissions == Permissions::AccessPolicies {
        return Err(denied_by_policy(vault, claims, route.operation));
    }
    let mut resource = format!(
        "/subscriptions/{}/resourcegroups/{}/providers/microsoft.keyvault/vaults/{}",
        options.subscription,
        options.resource_group.to_lowercase(),
        options.name.to_lowercase()
    );
    if !route.name.is_empty() {
        resource.push_str(&format!("/{}/{}", route.operation.kind.plural(), route.name.to_lowercase()));
    }
    Err(Refusal::forbidden(
        "ForbiddenByRbac",
        format!(
            "Caller is not authorized to perform action on resource.\r\n\
             If role assignments, deny assignments or role definitions were changed recently, please observe \
             propagation time.\r\n\
             Caller: {}\r\nAction: '{action}'\r\nResource: '{resource}'\r\n\
             Assignment: (not found)\r\nDenyAssignmentId: null\r\nDecisionReason: 'DeniedWithNoValidRBAC' \r\n\
             Vault: {};location={}\r\n",
            caller(claims),
            options.name,
            options.region
        ),
    ))
}

/// The text is quoted, for `list` of secrets and a use of keys that is not imitated.
fn denied_by_policy(vault: &Vault, claims: &Claims, operation: Operation) -> Refusal {
    let permission = match operation.verb {
        Verb::List | Verb::ListVersions | Verb::ListDeleted => "list",
        Verb::Get | Verb::GetDeleted | Verb::GetPolicy | Verb::GetPending => "get",
        Verb::Set => "set",
        Verb::Create => "create",
        Verb::Import => "import",
        Verb::Update | Verb::UpdatePolicy | Verb::UpdatePending => "update",
        Verb::Backup => "backup",
        Verb::Restore => "restore",
        Verb::Delete | Verb::DeletePending => "delete",
        Verb::Recover => "recover",
        Verb::Purge => "purge",
    };
    let message = format!(
        "The user, group or application '{}' does not have {} {permission} permission on key vault '{};location={}'. \
         For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125287",
        caller(claims),
        operation.kind.plural(),
        vault.options.name,
        vault.options.region
    );
    Refusal::forbidden("AccessDenied", message)
}

fn caller(claims: &Claims) -> String {
    format!("appid={};oid={};iss={}", claims.appid, claims.oid, claims.iss)
}

macro_rules! data_actions {
    ($($constant:ident = $tail:literal;)+) => {
        $(const $constant: &str = concat!("Microsoft.KeyVault/vaults/", $tail);)+
        /// Every data action that an operation of this simulator asks for.
        pub const DATA_ACTIONS: &[&str] = &[$($constant),+];
    };
}

data_actions! {
    SECRETS_READ = "secrets/readMetadata/action";
    SECRETS_GET = "secrets/getSecret/action";
    SECRETS_SET = "secrets/setSecret/action";
    SECRETS_UPDATE = "secrets/update/action";
    SECRETS_BACKUP = "secrets/backup/action";
    SECRETS_RESTORE = "secrets/restore/action";
    SECRETS_DELETE = "secrets/delete";
    SECRETS_RECOVER = "secrets/recover/action";
    SECRETS_PURGE = "secrets/purge/action";
    KEYS_READ = "keys/read";
    KEYS_CREATE = "keys/create/action";
    KEYS_IMPORT = "keys/import/action";
    KEYS_UPDATE = "keys/update/action";
    KEYS_BACKUP = "keys/backup/action";
    KEYS_RESTORE = "keys/restore/action";
    KEYS_DELETE = "keys/delete";
    KEYS_RECOVER = "keys/recover/action";
    KEYS_PURGE = "keys/purge/action";
    CERTIFICATES_READ = "certificates/read";
    CERTIFICATES_CREATE = "certificates/create/action";
    CERTIFICATES_IMPORT = "certificates/import/action";
    CERTIFICATES_UPDATE = "certificates/update/action";
    CERTIFICATES_BACKUP = "certificates/backup/action";
    CERTIFICATES_RESTORE = "certificates/restore/action";
    CERTIFICATES_DELETE = "certificates/delete";
    CERTIFICATES_RECOVER = "certificates/recover/action";
    CERTIFICATES_PURGE = "certificates/purge/action";
}

/// The data action of an operation. Reading what is deleted is assumed to need the same as reading what is there.
fn action(operation: Operation) -> &'static str {
    let of_kind = |secret, key, certificate| match operation.kind {
        Kind::Secret => secret,
        Kind::Key => key,
        Kind::Certificate => certificate,
    };
    match operation.verb {
        Verb::Get => of_kind(SECRETS_GET, KEYS_READ, CERTIFICATES_READ),
        Verb::List | Verb::ListVersions | Verb::ListDeleted | Verb::GetDeleted | Verb::GetPolicy | Verb::GetPending => {
            of_kind(SECRETS_READ, KEYS_READ, CERTIFICATES_READ)
        }
        Verb::Set | Verb::Create => of_kind(SECRETS_SET, KEYS_CREATE, CERTIFICATES_CREATE),
        Verb::Import => of_kind(SECRETS_SET, KEYS_IMPORT, CERTIFICATES_IMPORT),
        Verb::Update | Verb::UpdatePolicy | Verb::UpdatePending | Verb::DeletePending => {
            of_kind(SECRETS_UPDATE, KEYS_UPDATE, CERTIFICATES_UPDATE)
        }
        Verb::Backup => of_kind(SECRETS_BACKUP, KEYS_BACKUP, CERTIFICATES_BACKUP),
        Verb::Restore => of_kind(SECRETS_RESTORE, KEYS_RESTORE, CERTIFICATES_RESTORE),
        Verb::Delete => of_kind(SECRETS_DELETE, KEYS_DELETE, CERTIFICATES_DELETE),
        Verb::Recover => of_kind(SECRETS_RECOVER, KEYS_RECOVER, CERTIFICATES_RECOVER),
        Verb::Purge => of_kind(SECRETS_PURGE, KEYS_PURGE, CERTIFICATES_PURGE),
    }
}
