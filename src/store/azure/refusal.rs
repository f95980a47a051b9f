//! The one table from what Blob Storage answers to what the caller can do.
//!
//! Codes and statuses: Azure documentation, "Blob service error codes" and "Common REST API error codes".

use std::time::Duration;

use azure_core::error::ErrorKind as Cause;
use azure_core::http::headers::{HeaderName, RETRY_AFTER};
use azure_core::xml;
use serde::Deserialize;

use crate::error::{Error, ErrorKind};
use crate::store::busy;
use crate::token;

/// What is done to a blob or to its container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Create,
    Replace,
    Read,
    List,
    Delete,
    Lease,
}

impl Deed {
    fn verb(self) -> &'static str {
        match self {
            Self::Create => "write",
            Self::Replace => "replace",
            Self::Read => "read",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Lease => "lease",
        }
    }

    /// The built-in role that allows it, and the one right of it that matters. Source: Azure documentation, "Authorize
    /// with Microsoft Entra ID (REST API)", permissions for blob service operations.
    fn role(self) -> &'static str {
        match self {
            Self::Create => "Storage Blob Data Contributor, or a custom role with blobs/add/action",
            Self::Replace | Self::Lease => "Storage Blob Data Contributor, or a custom role with blobs/write",
            Self::Delete => "Storage Blob Data Contributor, or a custom role with blobs/delete",
            Self::Read | Self::List => "Storage Blob Data Reader, or a custom role with blobs/read",
        }
    }
}

/// What the service answered, as far as it is needed. Holds nothing of the body but the error's code.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) retry_after: Option<Duration>,
    request: String,
}

impl Answer {
    /// `None` when the service did not answer. Reads the raw response: the SDK's own reading of it expects JSON.
    pub(super) fn of(error: &azure_core::Error) -> Option<Self> {
        let (status, raw_response) = match error.kind() {
            Cause::HttpResponse { status, raw_response, .. } => (status, raw_response),
            // What a token endpoint answered says nothing about the blob.
            Cause::Credential => return None,
            _ => return error.downcast_ref::<azure_core::Error>().and_then(Self::of),
        };
        let header = |name| raw_response.as_ref()?.headers().get_optional_string(&name);
        let in_body = || xml::from_xml::<_, ErrorBody>(raw_response.as_ref()?.body()).ok()?.code;
        Some(Self {
            status: u16::from(*status),
            code: header(HeaderName::from_static("x-ms-error-code")).or_else(in_body).unwrap_or_default(),
            retry_after: header(RETRY_AFTER).and_then(|after| after.parse().ok()).map(Duration::from_secs),
            request: header(HeaderName::from_static("x-ms-request-id")).unwrap_or_else(|| "unknown".to_owned()),
        })
    }

    /// Whether the answer to a create says that a blob of that name is there. Immutability is a policy on blobs that
    /// exist and never keeps a new one from being written, so its refusals say so too.
    pub(super) fn says_it_exists(&self) -> bool {
        match self.status {
            409 => matches!(
                self.code.as_str(),
                "BlobAlreadyExists" | "BlobImmutableDueToPolicy" | "BlobImmutableDueToLegalHold"
            ),
            412 => true,
            _ => false,
        }
    }

    /// Whether the answer to a read says that the range begins behind the blob's end.
    pub(super) fn says_it_ends_earlier(&self) -> bool {
        self.status == 416
    }

    pub(super) fn says_there_is_no_blob(&self) -> bool {
        self.status == 404 && self.code == "BlobNotFound"
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(rename = "Code")]
    code: Option<String>,
}

/// Whether the same call may well succeed in a moment.
pub(super) fn is_transient(error: &azure_core::Error) -> bool {
    match Answer::of(error) {
        Some(answer) => matches!(answer.status, 408 | 429 | 500 | 502 | 503 | 504),
        None => matches!(error.kind(), Cause::Io | Cause::Connection) || token::may_come(error),
    }
}

/// The error for the caller. `name` is the blob, or the prefix of a listing.
pub(super) fn explain(error: azure_core::Error, deed: Deed, name: &str, container: &str) -> Error {
    let verb = deed.verb();
    let target = match deed {
        Deed::List => format!("the blobs {name}* in {container}"),
        _ => format!("the blob {name} in {container}"),
    };
    let Some(answer) = Answer::of(&error) else {
        let (kind, advice) = unanswered(&error);
        return Error::new(kind, format!("Could not {verb} {target}. {advice}")).at(name).because(error);
    };
    let (kind, advice) = match (answer.status, answer.code.as_str()) {
        (_, "LeaseAlreadyPresent" | "LeaseIdMissing" | "LeaseIsBreakingAndCannotBeAcquired") => return busy(name),
        (404, "ContainerNotFound") | (409, "ContainerBeingDeleted") => (
            ErrorKind::NotFound,
            format!(
                "The container {container} does not exist. Deploy infra, which makes it, or run \
                 `az storage container create --auth-mode login`."
            ),
        ),
        (404, _) => (ErrorKind::NotFound, "It does not exist.".to_owned()),
        (401, _) | (403, "AuthenticationFailed" | "InvalidAuthenticationInfo") => (
            ErrorKind::Unauthenticated,
            "The token was not accepted: check that the identity is of the storage account's tenant, and the clock."
                .to_owned(),
        ),
        (403, "AuthorizationPermissionMismatch" | "InsufficientAccountPermissions") => (
            ErrorKind::Forbidden,
            format!(
                "The identity lacks the role {} on the container. A new role takes up to ten minutes to work.",
                deed.role()
            ),
        ),
        (403, "AuthorizationFailure") => (
            ErrorKind::Forbidden,
            "The storage account's firewall refuses this network: allow its virtual network, or use a private endpoint."
                .to_owned(),
        ),
        (403, _) => (ErrorKind::Forbidden, "The storage account refuses this identity or network.".to_owned()),
        (409, "BlobImmutableDueToPolicy" | "BlobImmutableDueToLegalHold") => (
            ErrorKind::Refused,
            "An immutability policy or a legal hold protects it: it can neither be changed nor deleted before that ends."
                .to_owned(),
        ),
        (409, "BlobArchived") => (
            ErrorKind::Refused,
            "It is in the archive tier: move it to the hot or cool tier, which takes hours, then run this again."
                .to_owned(),
        ),
        (409 | 412, _) => (ErrorKind::Conflict, "It changed meanwhile: run this again.".to_owned()),
        (413, _) => (ErrorKind::Refused, "It is larger than a blob that is written in one request can be.".to_owned()),
        (429, _) | (503, _) => {
            (ErrorKind::Throttled, "The storage account is busy: run this again later.".to_owned())
        }
        (408 | 500.., _) => {
            (ErrorKind::Unavailable, "The storage service failed: run this again later.".to_owned())
        }
        _ => (
            ErrorKind::Internal,
            "The request was not understood. Check that this is a storage account's blob endpoint; if it is, this is a \
             mistake of the program."
                .to_owned(),
        ),
    };
    let Answer { status, code, request, .. } = &answer;
    Error::new(
        kind,
        format!("Could not {verb} {target}. {advice} The service answered {status} {code} (request {request})."),
    )
    .at(name)
}

/// What to say when there was no answer, or none to the request itself.
fn unanswered(error: &azure_core::Error) -> (ErrorKind, &'static str) {
    match error.kind() {
        Cause::Credential if token::may_come(error) => (
            ErrorKind::Unavailable,
            "No token could be had, because the identity endpoint does not answer as it should: run this again later.",
        ),
        Cause::Credential => (
            ErrorKind::Unauthenticated,
            "No token could be had: check that the identity exists and is assigned to this app, or sign in.",
        ),
        Cause::Connection => (
            ErrorKind::Unavailable,
            "The storage account cannot be reached: check its name, DNS, and the network or private endpoint.",
        ),
        Cause::Io => (ErrorKind::Unavailable, "The connection to the storage account broke: run this again later."),
        Cause::DataConversion => (
            ErrorKind::Unavailable,
            "The answer was not understood. Check that this is a storage account's blob endpoint.",
        ),
        _ => (ErrorKind::Internal, "The request could not be made."),
    }
}
