//! Which operation a request asks for. What is not in this file is refused loudly.

use http::{Method, Request};

use super::{
    model::{Kind, Operation, Verb},
    page,
    refusal::Refusal,
};

/// The api-versions that are imitated. They do not differ in what this simulator covers.
const API_VERSIONS: [&str; 9] = ["7.0", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6", "2025-07-01", "2026-04-01"];

/// Key Vault pages hold at most this many rows, and so many when the caller does not say.
pub(super) const PAGE: usize = 25;

/// A request, understood.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) operation: Operation,
    /// Empty for lists and restores.
    pub(super) name: String,
    pub(super) version: Option<u128>,
    pub(super) query: Query,
}

/// The query of a request.
#[derive(Debug, Default)]
pub(super) struct Query {
    pub(super) api_version: String,
    pub(super) max_results: Option<usize>,
    /// The first row of the page, from `$skiptoken`.
    pub(super) start: Option<String>,
    pub(super) include_pending: bool,
}

impl Route {
    pub(super) fn of<T>(request: &Request<T>) -> Result<Self, Refusal> {
        let path = request.uri().path();
        let segments: Vec<&str> = path.trim_start_matches('/').trim_end_matches('/').split('/').collect();
        let unknown = || Refusal::unknown(format_args!("the request {} {path}", request.method()));
        let (operation, name, version) = recognise(request.method(), &segments).ok_or_else(unknown)?;
        let named_well = name.len() <= 127 && name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
        if !named_well {
            return Err(Refusal::unknown("a name that is not made of 1 to 127 letters, digits and hyphens"));
        }
        let version = match version {
            None => None,
            Some(it) => Some(version_id(it).ok_or_else(unknown)?),
        };
        let query = Query::of(operation, request.uri().query().unwrap_or_default())?;
        Ok(Self { operation, name: name.to_owned(), version, query })
    }
}

type Recognised<'a> = (Operation, &'a str, Option<&'a str>);

fn recognise<'a>(method: &Method, segments: &[&'a str]) -> Option<Recognised<'a>> {
    let (&collection, rest) = segments.split_first()?;
    let active = Kind::ALL.into_iter().find(|it| it.plural() == collection);
    let deleted =
        || Kind::ALL.into_iter().find(|it| collection.strip_prefix("deleted").is_some_and(|tail| tail == it.plural()));
    let (verb, name, version) = match active {
        Some(kind) => of_active(kind, method.as_str(), rest)?,
        None => of_deleted(method.as_str(), rest)?,
    };
    Some((Operation::new(active.or_else(deleted)?, verb), name, version))
}

fn of_active<'a>(kind: Kind, method: &str, rest: &[&'a str]) -> Option<(Verb, &'a str, Option<&'a str>)> {
    use Kind::*;
    let (verb, name) = match (method, rest, kind) {
        ("GET", [], _) => (Verb::List, ""),
        ("POST", ["restore"], _) => (Verb::Restore, ""),
        ("PUT", [name], Secret) => (Verb::Set, *name),
        ("PUT", [name], Key) => (Verb::Import, *name),
        ("GET", [name], _) => (Verb::Get, *name),
        ("PATCH", [name], _) => (Verb::Update, *name),
        ("DELETE", [name], _) => (Verb::Delete, *name),
        ("GET", [name, "versions"], _) => (Verb::ListVersions, *name),
        ("POST", [name, "backup"], _) => (Verb::Backup, *name),
        ("POST", [name, "create"], Key | Certificate) => (Verb::Create, *name),
        ("POST", [name, "import"], Certificate) => (Verb::Import, *name),
        ("GET", [name, "policy"], Certificate) => (Verb::GetPolicy, *name),
        ("PATCH", [name, "policy"], Certificate) => (Verb::UpdatePolicy, *name),
        ("GET", [name, "pending"], Certificate) => (Verb::GetPending, *name),
        ("PATCH", [name, "pending"], Certificate) => (Verb::UpdatePending, *name),
        ("DELETE", [name, "pending"], Certificate) => (Verb::DeletePending, *name),
        ("GET", [name, version], _) => return Some((Verb::Get, name, Some(version))),
        ("PATCH", [name, version], _) => return Some((Verb::Update, name, Some(version))),
        _ => return None,
    };
    Some((verb, name, None))
}

fn of_deleted<'a>(method: &str, rest: &[&'a str]) -> Option<(Verb, &'a str, Option<&'a str>)> {
    let (verb, name) = match (method, rest) {
        ("GET", []) => (Verb::ListDeleted, ""),
        ("GET", [name]) => (Verb::GetDeleted, *name),
        ("DELETE", [name]) => (Verb::Purge, *name),
        ("POST", [name, "recover"]) => (Verb::Recover, *name),
        _ => return None,
    };
    Some((verb, name, None))
}

fn version_id(text: &str) -> Option<u128> {
    (text.len() == 32 && text.bytes().all(|it| it.is_ascii_hexdigit())).then(|| u128::from_str_radix(text, 16).ok())?
}

impl Query {
    fn of(operation: Operation, text: &str) -> Result<Self, Refusal> {
        let lists = matches!(operation.verb, Verb::List | Verb::ListVersions | Verb::ListDeleted);
        let certificates = operation.kind == Kind::Certificate;
        let mut query = Self::default();
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            match &*name {
                "api-version" => query.api_version = value.into_owned(),
                "maxresults" if lists => query.max_results = Some(max_results(&value)?),
                "$skiptoken" if lists => query.start = Some(page::start_of(&value)?),
                "includePending" if lists && certificates => query.include_pending = &*value == "true",
                "request_id" if operation.verb == Verb::GetPending => {}
                _ => return Err(Refusal::unknown(format_args!("the query parameter {name} of {operation}"))),
            }
        }
        if !API_VERSIONS.contains(&&*query.api_version) {
            return Err(Refusal::unknown(format_args!("the api-version '{}'", query.api_version)));
        }
        Ok(query)
    }
}

/// Out of range: 400 `BadParameter`; the text is assumed.
fn max_results(text: &str) -> Result<usize, Refusal> {
    match text.parse() {
        Ok(count @ 1..=PAGE) => Ok(count),
        _ => Err(Refusal::bad_parameter("The parameter maxresults must be between 1 and 25.")),
    }
}
