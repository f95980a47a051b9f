//! What Key Vault answers when it says no, in its own words as far as they are known, and what is to be made of it.

use keyvault_backup::error::ErrorKind;
use simulator::key_vault::{Fault, Kind, Operation, Verb};

pub(super) struct Row {
    pub(super) name: &'static str,
    /// On what it comes: listing, backing up or restoring a secret.
    pub(super) verb: Verb,
    pub(super) fault: Fault,
    pub(super) kind: ErrorKind,
    /// Of the command, when it meets nothing but this.
    pub(super) exit: i32,
    /// Whether the same call may succeed later, so that it is tried again.
    pub(super) again: bool,
    /// Why, and what to do.
    pub(super) says: &'static [&'static str],
}

impl Row {
    pub(super) fn operation(&self, kind: Kind) -> Operation {
        Operation::new(kind, self.verb)
    }
}

const RBAC: &str = "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role definitions were changed recently, please observe propagation time.\r\nCaller: appid=a;oid=b;iss=https://sts.windows.net/t/\r\nAction: 'Microsoft.KeyVault/vaults/secrets/readMetadata/action'\r\nResource: '/subscriptions/s'\r\nAssignment: (not found)\r\nDenyAssignmentId: null\r\nDecisionReason: 'DeniedWithNoValidRBAC' \r\nVault: contoso-prod;location=eastus\r\n";
const POLICY: &str = "The user, group or application 'appid=a;oid=b;iss=https://sts.windows.net/t/' does not have secrets list permission on key vault 'contoso-prod;location=westus2'. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125287";
const FIREWALL: &str = "Client address is not authorized and caller is not a trusted service.\r\nClient address: 192.0.2.1\r\nCaller: appid=a;oid=b\r\nVault: contoso-prod;location=eastus";
const CONNECTION: &str =
    "Public network access is disabled and request is not from a trusted service nor via an approved private link.";
const MANAGED: &str = "Operation \"backup\" is not allowed on this secret, since it is associated with a certificate. Perform the operation on the corresponding certificate.";
const NOT_FOUND: &str = "A secret with (name/id) apple was not found in this key vault. If you recently deleted this secret you may be able to recover it using the correct recovery command.";
const CONFLICT: &str = "There was a conflict restoring the secret 'https://contoso-dr.vault.azure.net/secrets/apple/v'. This can happen if either: a second secret with the same name was created";
const DELETED: &str = "Secret apple is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the secret can only be recovered or purged.";
const READ_ONLY: &str = "Operation \"SecretRestore\" is unavailable: the service is currently in a read-only state.";
const THROTTLED: &str =
    "Request was not processed because too many requests were received. Reason: VaultRequestTypeLimitReached";

/// All rows; each answer is as its public source has it.
pub(super) fn rows() -> Vec<Row> {
    use ErrorKind::*;
    use Verb::{Backup, List, Restore};
    let row = |name, verb, fault, kind, exit, says| Row { name, verb, fault, kind, exit, again: false, says };
    let forbidden = |inner, message| Fault::words(403, "Forbidden", inner, message);
    let passing = |name, status, code, message| Row {
        again: true,
        ..row(
            name,
            List,
            Fault::words(status, code, None, message),
            Unavailable,
            5,
            &["the vault answered ", "Try again later"],
        )
    };
    vec![
        row(
            "401 expired",
            List,
            Fault::words(401, "Unauthorized", None, "[TokenExpired] Error validating token: 'S2S12086'."),
            Unauthenticated,
            6,
            &["the token was not accepted", "TokenExpired", "Check the tenant"],
        ),
        row(
            "403 ForbiddenByRbac",
            List,
            forbidden(Some("ForbiddenByRbac"), RBAC),
            Forbidden,
            6,
            &["the identity lacks Microsoft.KeyVault/vaults/secrets/readMetadata/action", "Assign it", "ten minutes"],
        ),
        row(
            "403 ForbiddenByPolicy",
            List,
            forbidden(Some("ForbiddenByPolicy"), POLICY),
            Forbidden,
            6,
            &["access policy does not allow it", "does not have secrets list permission", "Give the identity"],
        ),
        row(
            "403 AccessDenied",
            List,
            forbidden(Some("AccessDenied"), "Access denied"),
            Forbidden,
            6,
            &["access policy does not allow it", "Give the identity"],
        ),
        row(
            "403 ForbiddenByFirewall",
            List,
            forbidden(Some("ForbiddenByFirewall"), FIREWALL),
            Forbidden,
            6,
            &["firewall does not let this address in", "Client address: 192.0.2.1", "Allow it"],
        ),
        row(
            "403 ForbiddenByConnection",
            List,
            forbidden(Some("ForbiddenByConnection"), CONNECTION),
            Forbidden,
            6,
            &["takes no calls from public networks", "private endpoint"],
        ),
        row(
            "403 SecretDisabled",
            Backup,
            forbidden(Some("SecretDisabled"), "Operation get is not allowed on a disabled secret."),
            Forbidden,
            6,
            &["SecretDisabled", "not allowed on a disabled secret", "Look at the item"],
        ),
        row(
            "403 of what belongs to a certificate",
            Backup,
            forbidden(None, MANAGED),
            Refused,
            1,
            &["it belongs to a certificate", "back up the certificate"],
        ),
        row(
            "404",
            Backup,
            Fault::words(404, "SecretNotFound", None, NOT_FOUND),
            NotFound,
            4,
            &["it is not there", "you may be able to recover it"],
        ),
        row(
            "409 of a restore",
            Restore,
            Fault::words(409, "Conflict", None, CONFLICT),
            Conflict,
            1,
            &["the name is in use", "deleted", "Look for it"],
        ),
        row(
            "409 ObjectIsDeletedButRecoverable",
            Restore,
            Fault::words(409, "Conflict", Some("ObjectIsDeletedButRecoverable"), DELETED),
            Conflict,
            1,
            &["the name is in use", "deleted", "Look for it"],
        ),
        Row {
            again: true,
            ..row(
                "409 ObjectIsBeingDeleted",
                Restore,
                Fault::words(409, "Conflict", Some("ObjectIsBeingDeleted"), "Secret is currently being deleted."),
                Conflict,
                1,
                &["being deleted or recovered just now", "Try again"],
            )
        },
        Row {
            again: true,
            ..row(
                "409 ObjectIsBeingRecovered",
                Restore,
                Fault::words(409, "Conflict", Some("ObjectIsBeingRecovered"), "Secret is currently being recovered."),
                Conflict,
                1,
                &["being deleted or recovered just now", "Try again"],
            )
        },
        row(
            "400 of a damaged backup",
            Restore,
            Fault::words(400, "Malformed backup blob", None, "Backup blob is corrupt."),
            Refused,
            1,
            &["does not accept the backup", "Backup blob is corrupt.", "restore an older one"],
        ),
        row(
            "400 of a backup of another kind",
            Restore,
            Fault::words(400, "BadParameter", None, "Backup blob contains invalid or corrupt version."),
            Refused,
            1,
            &["does not accept the backup", "invalid or corrupt version", "restore an older one"],
        ),
        row(
            "400 of a backup from elsewhere",
            Restore,
            Fault::words(400, "BadParameter", None, "Cannot decrypt backup blob"),
            Refused,
            1,
            &["another Azure subscription or geography", "Choose a target vault in the same"],
        ),
        row(
            "400 of a backup with too many versions",
            Backup,
            Fault::words(400, "BadParameter", None, "The item has more versions than can be backed up."),
            Refused,
            1,
            &["more than 500 versions", "copy its current version to a new name"],
        ),
        row(
            "400 of anything else",
            List,
            Fault::words(400, "BadParameter", None, "The parameter maxresults is not right."),
            Refused,
            1,
            &["the vault answered 400", "maxresults", "report it"],
        ),
        Row {
            again: true,
            ..row(
                "429",
                List,
                Fault::words(429, "Throttled", None, THROTTLED),
                Throttled,
                5,
                &["asked for fewer requests", "Lower BACKUP_REQUESTS_PER_SECOND"],
            )
        },
        row(
            "503 after a failover",
            Restore,
            Fault::words(503, "ServiceUnavailable", None, READ_ONLY),
            Unavailable,
            5,
            &["read-only after a failover", "Restore when its region is back"],
        ),
        passing("408", 408, "RequestTimeout", "The request timed out."),
        passing("500", 500, "InternalServerError", "An internal error occurred."),
        passing("502", 502, "BadGateway", "The gateway got no answer."),
        passing("503", 503, "ServiceUnavailable", "The service is busy."),
        passing("504", 504, "GatewayTimeout", "The gateway waited too long."),
    ]
}
