//! What Key Vault's refusals mean: the one table from an SDK error to an [`Error`] and to "try again or not".
//!
//! The SDK's `error_code` cannot be relied upon (it is "403" as soon as the message holds an escape), so the code, the
//! inner code and the message are read from the raw response.

use std::{error::Error as _, fmt};

use azure_core::{
    error::ErrorKind as SdkErrorKind,
    http::{StatusCode, headers::HeaderName},
};
use serde::Deserialize;

use super::home::NotHome;
use crate::{
    error::{Error, ErrorKind},
    model::{ItemId, Kind, VaultName},
    token,
};

/// What was being done when the vault refused, for the sentence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doing<'a> {
    pub(super) vault: &'a VaultName,
    pub(super) action: Action,
    pub(super) subject: Subject<'a>,
}

/// The operations on a vault, as words of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    List,
    ListVersions,
    Get,
    BackUp,
    Restore,
    Recover,
    Delete,
    Purge,
}

impl Action {
    /// How many there are.
    pub(super) const COUNT: usize = Self::Purge as usize + 1;
}

/// What the operation was on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject<'a> {
    Kind(Kind),
    DeletedKind(Kind),
    Item(&'a ItemId),
}

impl fmt::Display for Doing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.action {
            Action::List => "list",
            Action::ListVersions => "list the versions of",
            Action::Get => "look at",
            Action::BackUp => "back up",
            Action::Restore => "restore",
            Action::Recover => "recover",
            Action::Delete => "delete",
            Action::Purge => "purge",
        };
        let place = if self.action == Action::Restore { "into" } else { "of" };
        match self.subject {
            Subject::Kind(kind) => write!(f, "Could not {action} the {kind} {place} vault {}", self.vault),
            Subject::DeletedKind(kind) => {
                write!(f, "Could not {action} the deleted {kind} {place} vault {}", self.vault)
            }
            Subject::Item(item) => write!(f, "Could not {action} {item} {place} vault {}", self.vault),
        }
    }
}

/// A refusal, read: what to tell the caller, and whether the same call may succeed if tried again.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: Error,
    pub(super) again: Again,
}

/// Whether to try the same call again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Never: the answer will be the same.
    Never,
    /// For a short while only: most likely a wrong name, perhaps a hiccup of name resolution or of the identity endpoint,
    /// which was asked several times by then.
    Briefly,
    /// Until the deadline of the call.
    Yes,
}

/// An attempt that took too long.
pub(super) fn timed_out(doing: Doing<'_>, after: std::time::Duration) -> Refusal {
    let message = format!("{doing}: no answer came within {} seconds. Try again later.", after.as_secs());
    Refusal { error: Error::new(ErrorKind::Unavailable, message), again: Again::Yes }
}

/// Reads an SDK error.
pub(super) fn read(doing: Doing<'_>, error: azure_core::Error) -> Refusal {
    let (kind, again, why) = weigh(doing, &error);
    let mut refusal = Error::new(kind, format!("{doing}: {why}"));
    if let Subject::Item(item) = doing.subject {
        refusal = refusal.at(item.to_string());
    }
    // The text of a response error is the response's body, which the sentence quotes already; that of a conversion
    // quotes what could not be read, which can be a backup.
    if !matches!(error.kind(), SdkErrorKind::HttpResponse { .. } | SdkErrorKind::DataConversion) {
        refusal = refusal.because(error);
    }
    Refusal { error: refusal, again }
}

fn weigh(doing: Doing<'_>, error: &azure_core::Error) -> (ErrorKind, Again, String) {
    if let Some(not_home) = error.downcast_ref::<NotHome>() {
        return (ErrorKind::Refused, Again::Never, not_home.to_string());
    }
    match error.kind() {
        SdkErrorKind::HttpResponse { status, raw_response, .. } => {
            let answer = raw_response.as_ref().map(|response| {
                let request = response.headers().get_optional_string(&HeaderName::from_static("x-ms-request-id"));
                (Answer::parse(response.body()), request)
            });
            let (answer, request) = answer.unwrap_or_default();
            let (kind, again, mut why) = judge(doing, *status, &answer);
            if let Some(request) = request {
                why.push_str(&format!(" (Request {request}.)"));
            }
            (kind, again, why)
        }
        SdkErrorKind::Credential if token::may_come(error) => (
            ErrorKind::Unavailable,
            Again::Briefly,
            "no token could be had, because the identity endpoint does not answer as it should. Try again later; if that \
             goes on, look at the identity of the app, and at what answers at IDENTITY_ENDPOINT."
                .to_owned(),
        ),
        SdkErrorKind::Credential => (
            ErrorKind::Unauthenticated,
            Again::Never,
            "no token could be had. Check the identity: in Azure, that it is assigned to the app and that its client \
             id is right; elsewhere, that you are signed in (az login)."
                .to_owned(),
        ),
        SdkErrorKind::Io | SdkErrorKind::Connection if mentions(error, &["dns error", "tunnel error"]) => (
            ErrorKind::NotFound,
            Again::Briefly,
            "no such host. Check the vault's name, and for a private endpoint its DNS zone.".to_owned(),
        ),
        SdkErrorKind::Io | SdkErrorKind::Connection if mentions(error, &["invalid peer certificate"]) => (
            ErrorKind::Refused,
            Again::Never,
            "what answers there has no certificate that this machine trusts; nothing was sent. Check what stands between \
             this program and the vault, and the certificates that SSL_CERT_FILE names."
                .to_owned(),
        ),
        SdkErrorKind::Io | SdkErrorKind::Connection => (
            ErrorKind::Unavailable,
            Again::Yes,
            "the vault could not be reached or broke off its answer. Check the network, then try again.".to_owned(),
        ),
        SdkErrorKind::DataConversion => (
            ErrorKind::Unavailable,
            Again::Briefly,
            "the answer is not one of Key Vault's, or it was cut off. Check what stands between this program and \
             the vault."
                .to_owned(),
        ),
        _ => (ErrorKind::Internal, Again::Never, "the Azure SDK reported a failure of its own.".to_owned()),
    }
}

/// The rows of azure-facts: status, code, inner code and message of the service's answer.
fn judge(doing: Doing<'_>, status: StatusCode, answer: &Answer) -> (ErrorKind, Again, String) {
    let says = answer.quote();
    match (status, answer.inner.as_str()) {
        (StatusCode::BadRequest, _) if doing.action == Action::Restore => {
            if answer.message.contains("Cannot decrypt") {
                let why = "its backup was taken in another Azure subscription or geography, and Key Vault opens a \
                           backup only in its own. Choose a target vault in the same subscription and geography.";
                (ErrorKind::Refused, Again::Never, why.into())
            } else {
                let why = format!(
                    "Key Vault does not accept the backup: {says} Verify the backup and restore an older one if it is \
                     damaged; if it is sound, check that the vault is in the same subscription and geography as the \
                     backup's source."
                );
                (ErrorKind::Refused, Again::Never, why)
            }
        }
        (StatusCode::BadRequest, _) if doing.action == Action::BackUp => {
            let why = format!(
                "Key Vault refuses: {says} An item with more than 500 versions can never be backed up again; copy its \
                 current version to a new name."
            );
            (ErrorKind::Refused, Again::Never, why)
        }
        (StatusCode::Unauthorized, _) => {
            (ErrorKind::Unauthenticated, Again::Never, format!("the token was not accepted: {says} Check the tenant."))
        }
        (StatusCode::Forbidden, "ForbiddenByRbac") => {
            let action = answer.rbac_action().unwrap_or("an action that the answer does not name");
            let why = format!(
                "the identity lacks {action}. Assign it the role that holds it (infra defines all three), and allow \
                 ten minutes for it to take effect."
            );
            (ErrorKind::Forbidden, Again::Never, why)
        }
        (StatusCode::Forbidden, "ForbiddenByPolicy" | "AccessDenied") => {
            let why = format!(
                "the vault's access policy does not allow it: {says} Give the identity that permission in the policy."
            );
            (ErrorKind::Forbidden, Again::Never, why)
        }
        (StatusCode::Forbidden, "ForbiddenByFirewall") => {
            let why = format!(
                "the vault's firewall does not let this address in: {says}{} Allow it, or use a private endpoint.",
                answer.client_address()
            );
            (ErrorKind::Forbidden, Again::Never, why)
        }
        (StatusCode::Forbidden, "ForbiddenByConnection") => {
            let why = "the vault takes no calls from public networks. Run from the network of its private endpoint.";
            (ErrorKind::Forbidden, Again::Never, why.into())
        }
        (StatusCode::Forbidden, _) if answer.message.contains("associated with a certificate") => {
            (ErrorKind::Refused, Again::Never, "it belongs to a certificate; back up the certificate.".into())
        }
        (StatusCode::Forbidden, _) => {
            let why = format!("Key Vault forbids it: {says} Look at the item and at the vault's access configuration.");
            (ErrorKind::Forbidden, Again::Never, why)
        }
        (StatusCode::NotFound, _) => (ErrorKind::NotFound, Again::Never, format!("it is not there: {says}")),
        (StatusCode::Conflict, "ObjectIsBeingDeleted" | "ObjectIsBeingRecovered") => {
            let why = format!("it is being deleted or recovered just now: {says} Try again when that has ended.");
            (ErrorKind::Conflict, Again::Yes, why)
        }
        (StatusCode::Conflict, _) => {
            let why = "the name is in use in the vault, perhaps by a deleted item or one that is still being purged. Look \
                       for it there, also among the deleted items.";
            (ErrorKind::Conflict, Again::Never, why.into())
        }
        (StatusCode::TooManyRequests, _) => {
            let why = "the vault asked for fewer requests for too long. Lower BACKUP_REQUESTS_PER_SECOND, or try again \
                       when its applications are less busy.";
            (ErrorKind::Throttled, Again::Yes, why.into())
        }
        (StatusCode::ServiceUnavailable, _) if answer.message.contains("read-only") => {
            let why = format!("the vault is read-only after a failover: {says} Restore when its region is back.");
            (ErrorKind::Unavailable, Again::Never, why)
        }
        (status, _) if status == StatusCode::RequestTimeout || status.is_server_error() => {
            let why = format!("the vault answered {}: {says} Try again later.", u16::from(status));
            (ErrorKind::Unavailable, Again::Yes, why)
        }
        (status, _) if status.is_redirection() => {
            let why = format!(
                "the answer ({}) leads somewhere else, where nothing was sent: a token would go with it. Find out what \
                 answers in the vault's place.",
                u16::from(status)
            );
            (ErrorKind::Refused, Again::Never, why)
        }
        (status, _) => {
            let why = format!(
                "the vault answered {}: {says} That is not expected, and may be a mistake of this program: report it.",
                u16::from(status)
            );
            (ErrorKind::Refused, Again::Never, why)
        }
    }
}

/// The envelope of the service's errors.
#[derive(Debug, Default)]
struct Answer {
    code: String,
    inner: String,
    message: String,
}

impl Answer {
    fn parse(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Envelope {
            error: Body,
        }
        #[derive(Deserialize)]
        struct Body {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
            innererror: Option<Inner>,
        }
        #[derive(Deserialize)]
        struct Inner {
            #[serde(default)]
            code: String,
        }
        serde_json::from_slice::<Envelope>(body).map_or_else(
            |_| Self::default(),
            |Envelope { error }| Self {
                code: error.code,
                inner: error.innererror.map_or_else(String::new, |inner| inner.code),
                message: error.message,
            },
        )
    }

    /// The code and the first line of the message, short enough for a log line.
    fn quote(&self) -> String {
        if self.code.is_empty() && self.message.is_empty() {
            return "(no reason given)".to_owned();
        }
        let line = self.message.lines().next().unwrap_or_default();
        let short: String = line.chars().take(300).collect();
        format!("{}: \"{}\"", if self.inner.is_empty() { &self.code } else { &self.inner }, short.trim())
    }

    /// The line of a firewall's refusal that tells from where the call came, in brackets.
    fn client_address(&self) -> String {
        let line = self.message.lines().find(|line| line.starts_with("Client address: "));
        line.map_or_else(String::new, |line| format!(" ({})", line.trim()))
    }

    /// The data action in `Action: 'Microsoft.KeyVault/…'` of a refusal by role.
    fn rbac_action(&self) -> Option<&str> {
        let (_, rest) = self.message.split_once("Action: '")?;
        rest.split_once('\'').map(|(action, _)| action)
    }
}

/// Whether a cause of the failure says one of these words: such as that name resolution failed, or that the proxy could
/// not find the host.
fn mentions(error: &azure_core::Error, words: &[&str]) -> bool {
    let mut causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.any(|cause| {
        let text = cause.to_string();
        words.iter().any(|word| text.contains(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_cannot_be_read_is_not_quoted() {
        let vault = "contoso".parse().unwrap();
        let cause = serde_json::from_str::<Answerless>("\"canary\"").unwrap_err();
        assert!(cause.to_string().contains("canary"), "this is why");
        let doing = Doing { vault: &vault, action: Action::BackUp, subject: Subject::Kind(Kind::Secrets) };
        let refusal = read(doing, azure_core::Error::new(SdkErrorKind::DataConversion, cause));
        assert_eq!(refusal.error.kind(), ErrorKind::Unavailable);
        assert!(!refusal.error.chain().contains("canary"), "{}", refusal.error.chain());
    }

    #[derive(Debug, Deserialize)]
    struct Answerless {}

    #[test]
    fn a_missing_role_is_named_from_the_real_text() {
        let body = br#"{"error":{"code":"Forbidden","message":"Caller is not authorized to perform action on resource.\r\nIf role assignments changed\r\nCaller: appid=a;oid=b\r\nAction: 'Microsoft.KeyVault/vaults/keys/read'\r\nResource: '/x'","innererror":{"code":"ForbiddenByRbac"}}}"#;
        let answer = Answer::parse(body);
        assert_eq!(answer.rbac_action(), Some("Microsoft.KeyVault/vaults/keys/read"));
        assert_eq!(answer.quote(), "ForbiddenByRbac: \"Caller is not authorized to perform action on resource.\"");
    }
}
