//! Sorts of requests, as far as quotas and latency tell them apart.

use azure_core::http::{Method, Request, headers::AUTHORIZATION};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verb {
    /// Which token is wanted: a request without one.
    Ask,
    List,
    ListVersions,
    Get,
    BackUp,
    Restore,
    /// Delete, recover or purge.
    Change,
}

/// A sort of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sort {
    pub(super) verb: Verb,
    /// 0 for secrets, 1 for keys, 2 for certificates.
    pub(super) kind: usize,
}

impl Sort {
    /// Restores of all kinds.
    pub(super) const RESTORES: Self = Self { verb: Verb::Restore, kind: 0 };

    /// How many sorts there are.
    pub(super) const COUNT: usize = (Verb::Change as usize + 1) * 3;

    /// Of a request to Key Vault.
    pub(super) fn of(request: &Request) -> Self {
        let mut path = request.url().path().trim_matches('/').split('/');
        let collection = path.next().unwrap_or_default();
        let active = collection.strip_prefix("deleted");
        let kind = match active.unwrap_or(collection) {
            "keys" => 1,
            "certificates" => 2,
            _ => 0,
        };
        let (name, last) = (path.next(), path.next());
        // Without a token it only asks which token is wanted: a run that restores many items at once begins with as many
        // such questions, which must not take the turns of restores.
        let verb = if request.headers().get_optional_str(&AUTHORIZATION).is_none() {
            Verb::Ask
        } else {
            match (request.method(), name, last) {
                (Method::Get, None, _) => Verb::List,
                (Method::Get, Some(_), Some("versions")) => Verb::ListVersions,
                (Method::Get, ..) => Verb::Get,
                (Method::Post, Some("restore"), None) => Verb::Restore,
                (Method::Post, Some(_), Some("backup")) => Verb::BackUp,
                _ => Verb::Change,
            }
        };
        Self { verb, kind }
    }

    /// Its place among all sorts.
    pub(super) fn index(self) -> usize {
        self.verb as usize * 3 + self.kind
    }

    /// The sort with which it shares a quota. Azure counts creations of all kinds together.
    pub(super) fn quota(self) -> usize {
        if self.verb == Verb::Restore { Self::RESTORES.index() } else { self.index() }
    }
}

#[cfg(test)]
mod tests {
    use azure_core::http::Url;

    use super::*;

    #[test]
    fn requests_are_told_apart_by_what_they_ask_for() {
        let sort = |method: Method, path: &str, token: bool| {
            let url: Url = format!("https://contoso.vault.azure.net/{path}?api-version=7.6").parse().unwrap();
            let mut request = Request::new(url, method);
            if token {
                request.insert_header(AUTHORIZATION, "Bearer token");
            }
            let Sort { verb, kind } = Sort::of(&request);
            (verb, kind)
        };
        for (method, path, verb, kind) in [
            (Method::Get, "secrets", Verb::List, 0),
            (Method::Get, "deletedkeys", Verb::List, 1),
            (Method::Get, "certificates/web/versions", Verb::ListVersions, 2),
            (Method::Get, "keys/restore", Verb::Get, 1),
            (Method::Get, "deletedsecrets/web", Verb::Get, 0),
            (Method::Post, "keys/web/backup", Verb::BackUp, 1),
            // An item may have any name.
            (Method::Post, "secrets/restore/backup", Verb::BackUp, 0),
            (Method::Post, "certificates/restore", Verb::Restore, 2),
            (Method::Post, "deletedkeys/web/recover", Verb::Change, 1),
            (Method::Delete, "secrets/web", Verb::Change, 0),
        ] {
            assert_eq!(sort(method, path, true), (verb, kind), "{method} {path}");
            assert_eq!(sort(method, path, false), (Verb::Ask, kind), "asking which token is wanted");
        }
    }
}
