//! No token could be had: whether that may pass by itself, the same for vaults and storage.

use std::{error, iter::successors};

use azure_core::{
    error::{Error, ErrorKind},
    http::StatusCode,
};

/// Whether a failure to get a token may pass in a moment: whoever hands them out failed, is busy or was not reached. Any
/// other failure stays until somebody changes something: the identity is unknown, or nobody is signed in.
///
/// Microsoft asks to try again after 404, 410, 429 and 5xx ("How to use managed identities", error handling). On the
/// endpoint of App Service and Functions 404 does not mean a passing failure.
pub fn may_come(error: &Error) -> bool {
    *error.kind() == ErrorKind::Credential
        && successors(Some(error as &(dyn error::Error + 'static)), |cause| cause.source())
            .filter_map(|cause| cause.downcast_ref::<Error>())
            .any(|cause| match cause.kind() {
                ErrorKind::Io | ErrorKind::Connection => true,
                ErrorKind::HttpResponse { status, .. } => {
                    status.is_server_error()
                        || matches!(status, StatusCode::TooManyRequests | StatusCode::RequestTimeout | StatusCode::Gone)
                }
                _ => false,
            })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: StatusCode) -> Error {
        let answer = ErrorKind::HttpResponse { status, error_code: None, raw_response: None };
        Error::with_error(ErrorKind::Credential, Error::with_message(answer, "The request failed"), "No token.")
    }

    #[test]
    fn only_failures_of_the_one_who_hands_tokens_out_pass() {
        assert!(may_come(&answered(StatusCode::InternalServerError)));
        assert!(may_come(&answered(StatusCode::TooManyRequests)));
        assert!(!may_come(&answered(StatusCode::BadRequest)));
        assert!(!may_come(&Error::with_message(ErrorKind::Credential, "Nobody is signed in.")));
        let broken = Error::with_message(ErrorKind::Io, "connection reset");
        assert!(!may_come(&broken), "that was not the identity endpoint");
        assert!(may_come(&Error::with_error(ErrorKind::Credential, broken, "No token.")));
    }
}
