//! Answers that say no, in the words of the real service.
//!
//! Texts marked *assumed* were never seen in recorded traffic.

use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::model::Kind;

/// An answer that says no.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: String,
    pub(super) message: String,
    pub(super) inner: Option<&'static str>,
    pub(super) retry_after: Option<u32>,
    pub(super) challenge: Option<HeaderValue>,
    /// A page for people instead of the service's own form: something in front of the service answers.
    pub(super) page: bool,
    /// The simulator does not know what it was asked; see `unknown_requests`.
    pub(super) unknown: bool,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            inner: None,
            retry_after: None,
            challenge: None,
            page: false,
            unknown: false,
        }
    }

    fn inner(mut self, inner: &'static str) -> Self {
        self.inner = Some(inner);
        self
    }

    /// Asked for something that is not imitated. Nobody may mistake it for an answer of Azure.
    pub(super) fn unknown(what: impl std::fmt::Display) -> Self {
        let message = format!("The simulator does not know {what}. Teach it from recorded traffic or do not send it.");
        Self { unknown: true, ..Self::new(StatusCode::NOT_IMPLEMENTED, "SimulatorDoesNotKnow", message) }
    }

    pub(super) fn unauthorized(tenant: uuid::Uuid, message: &str) -> Self {
        let challenge = format!(
            r#"Bearer authorization="https://login.microsoftonline.com/{tenant}", resource="https://vault.azure.net""#
        );
        let challenge = HeaderValue::try_from(challenge).ok();
        Self { challenge, ..Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", message) }
    }

    pub(super) fn forbidden(inner: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).inner(inner)
    }

    pub(super) fn secret_disabled() -> Self {
        Self::forbidden("SecretDisabled", "Operation get is not allowed on a disabled secret.")
    }

    /// Managed keys and secrets are handled through their certificate.
    pub(super) fn managed(kind: Kind, operation: &str) -> Self {
        // The service writes "Key" but "secret" here; both were seen.
        let (word, inner) = match kind {
            Kind::Key => ("Key", "KeyManagedByKeyVault"),
            _ => ("secret", "SecretManagedByKeyVault"),
        };
        Self::forbidden(
            inner,
            format!(
                "Operation \"{operation}\" is not allowed on this {word}, since it is associated with a certificate. \
                 Perform the operation on the corresponding certificate. For more information refer to \
                 https://docs.microsoft.com/en-us/azure/key-vault/certificates/about-certificates\
                 #composition-of-a-certificate"
            ),
        )
    }

    pub(super) fn purge_protected(vault: &str, region: &str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "Forbidden",
            format!(
                "Operation \"purge\" is not allowed because purge protection is enabled for this vault. Key Vault \
                 service will automatically purge it after the retention period has passed.\r\n\
                 Vault: {vault};location={region}"
            ),
        )
    }

    pub(super) fn not_found(kind: Kind, name: &str) -> Self {
        let word = kind.word();
        Self::new(
            StatusCode::NOT_FOUND,
            &format!("{}NotFound", kind.title()),
            format!(
                "A {word} with (name/id) {name} was not found in this key vault. If you recently deleted this {word} \
                 you may be able to recover it using the correct recovery command. For help resolving this issue, \
                 please see https://go.microsoft.com/fwlink/?linkid=2125182"
            ),
        )
    }

    /// Only while a delete runs.
    pub(super) fn deleted_not_found(kind: Kind, name: &str) -> Self {
        let title = kind.title();
        Self::new(StatusCode::NOT_FOUND, &format!("{title}NotFound"), format!("Deleted {title} not found: {name}"))
    }

    pub(super) fn pending_not_found(name: &str) -> Self {
        let message = format!("Pending certificate not found: {name}");
        Self::new(StatusCode::NOT_FOUND, "PendingCertificateNotFound", message)
    }

    fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "Conflict", message)
    }

    /// The name is in use: active, deleted, or purged a moment ago; the service does not say which.
    pub(super) fn conflict_restoring(kind: Kind, id: &str) -> Self {
        let word = kind.word();
        Self::conflict(format!(
            "There was a conflict restoring the {word} '{id}'. This can happen if either: a second {word} with the \
             same name was created after the first {word} was deleted; thus trying to restore a {word} whose name is \
             already in use. To fix this, rename the second {word} to something else so that the restore works. The \
             second probable cause of this exception is when multiple operations are performed in parallel against \
             the {word}. To avoid this error, perform operations against a {word} in a sequential manner."
        ))
    }

    pub(super) fn deleted_but_recoverable(kind: Kind, name: &str) -> Self {
        let (title, word) = (kind.title(), kind.word());
        Self::conflict(format!(
            "{title} {name} is currently in a deleted but recoverable state, and its name cannot be reused; in this \
             state, the {word} can only be recovered or purged."
        ))
        .inner("ObjectIsDeletedButRecoverable")
    }

    pub(super) fn being_deleted_cannot_create(kind: Kind, name: &str) -> Self {
        let title = kind.title();
        Self::conflict(format!("{title} {name} is currently being deleted and cannot be re-created; retry later."))
            .inner("ObjectIsBeingDeleted")
    }

    pub(super) fn being_deleted(kind: Kind) -> Self {
        Self::conflict(format!("{} is currently being deleted.", kind.title())).inner("ObjectIsBeingDeleted")
    }

    /// Text assumed; the code is named in change logs of the SDKs.
    pub(super) fn being_recovered(kind: Kind) -> Self {
        Self::conflict(format!("{} is currently being recovered.", kind.title())).inner("ObjectIsBeingRecovered")
    }

    /// A certificate cannot take the name of a key or secret, nor the other way round. Text assumed.
    pub(super) fn name_taken(kind: Kind, name: &str, by: Kind) -> Self {
        Self::conflict(format!("The name {name} of this {} is in use by a {}.", kind.word(), by.word()))
    }

    pub(super) fn bad_parameter(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadParameter", message)
    }

    pub(super) fn malformed_backup(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Malformed backup blob", message)
    }

    pub(super) fn throttled(retry_after: Option<u32>) -> Self {
        let message =
            "Request was not processed because too many requests were received. Reason: VaultRequestTypeLimitReached";
        Self { retry_after, ..Self::new(StatusCode::TOO_MANY_REQUESTS, "Throttled", message) }
    }

    pub(super) fn read_only(operation: &str) -> Self {
        let message =
            format!("Operation \"{operation}\" is unavailable: the service is currently in a read-only state.");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    pub(super) fn into_answer(self) -> super::answer::Answer {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(inner) = self.inner {
            error["innererror"] = json!({"code": inner});
        }
        let mut answer = super::answer::Answer::json(self.status, &json!({"error": error}));
        if self.page {
            answer.body = Some(format!("<html><body>{}</body></html>", self.message).into());
            answer.headers.push((header::CONTENT_TYPE, HeaderValue::from_static("text/html")));
        }
        if let Some(challenge) = self.challenge {
            answer.headers.push((header::WWW_AUTHENTICATE, challenge));
        }
        if let Some(seconds) = self.retry_after {
            answer.headers.push((header::RETRY_AFTER, seconds.into()));
        }
        answer
    }
}
