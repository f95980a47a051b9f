//! Lists, page by page.

use std::ops::Bound;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde::{Deserialize, Serialize};

use super::{
    answer::{Answer, Outcome},
    bundle::{self, Row},
    model::{Item, Kind, Verb, hex32},
    refusal::Refusal,
    route::{PAGE, Route},
    vault::Vault,
};

#[derive(Serialize)]
struct Page<'a> {
    value: Vec<Row<'a>>,
    /// `null` on the last page, present all the same.
    #[serde(rename = "nextLink")]
    next_link: Option<String>,
}

/// One page of items, versions or deleted items.
///
/// A page looks at so many *rows* of the store and shows those that are visible, so it can be short or empty and still
/// have a next link. As in the recordings.
pub(super) fn list(vault: &Vault, route: &Route) -> Outcome {
    let kind = route.operation.kind;
    let limit = route.query.max_results.unwrap_or(PAGE);
    let start = route.query.start.as_deref().unwrap_or_default();
    let shelf = vault.shelf(kind);
    let (value, next) = match route.operation.verb {
        Verb::List => {
            let mut rows = shelf.items.range::<str, _>(from(start));
            let visible = |it: &&Item| it.is_active() && (route.query.include_pending || !it.is_unfinished());
            let items = rows.by_ref().take(limit).map(|(_, item)| item).filter(visible);
            let value = items.map(|it| bundle::row(vault, kind, it, it.current(), false)).collect();
            (value, rows.next().map(|(name, _)| name.clone()))
        }
        Verb::ListDeleted => {
            let mut names = shelf.hidden.range::<str, _>(from(start));
            let items = names.by_ref().take(limit).filter_map(|it| shelf.items.get(it));
            let deleted = items.filter(|it| it.deletion().is_some());
            let value = deleted.map(|it| bundle::row(vault, kind, it, it.current(), false)).collect();
            let version = |name: &String| shelf.items.get(name).map(|it| hex32(it.current().id).to_uppercase());
            (value, names.next().map(|name| format!("{name}/{}", version(name).unwrap_or_default())))
        }
        _ => versions(vault, route, start, limit),
    };
    Answer::ok(&Page { value, next_link: next.map(|row| link(vault, route, &row)) })
}

/// In the order of their ids. A name that does not exist has an empty list, not a 404.
fn versions<'a>(vault: &'a Vault, route: &Route, start: &str, limit: usize) -> (Vec<Row<'a>>, Option<String>) {
    let kind = route.operation.kind;
    let Some(item) = vault.active(kind, &route.name) else { return (Vec::new(), None) };
    let start = start.split_once('/').and_then(|(_, id)| u128::from_str_radix(id, 16).ok()).unwrap_or_default();
    let mut rows = item.by_id.range(start..);
    let page = rows.by_ref().take(limit).map(|(_, &position)| &item.versions[position]);
    let value = page.map(|it| bundle::row(vault, kind, item, it, true)).collect();
    let next = rows.next().map(|(&id, _)| format!("{}/{}", item.name, hex32(id)).to_ascii_uppercase());
    (value, next)
}

/// Everything from the row on; its version does not matter in lists of items.
fn from(row: &str) -> (Bound<&str>, Bound<&str>) {
    (Bound::Included(row.split_once('/').map_or(row, |(name, _)| name)), Bound::Unbounded)
}

fn link(vault: &Vault, route: &Route, row: &str) -> String {
    let (kind, query) = (route.operation.kind, &route.query);
    let plural = kind.plural();
    let path = match route.operation.verb {
        Verb::List => plural.to_owned(),
        Verb::ListDeleted => format!("deleted{plural}"),
        _ => format!("{plural}/{}/versions", route.name),
    };
    let mut link = format!(
        "https://{}.vault.azure.net:443/{path}?api-version={}&$skiptoken={}",
        vault.options.name,
        query.api_version,
        token(kind, row)
    );
    if let Some(limit) = query.max_results {
        link.push_str(&format!("&maxresults={limit}"));
    }
    if query.include_pending {
        link.push_str("&includePending=true");
    }
    link
}

#[derive(Serialize, Deserialize)]
struct Token {
    #[serde(rename = "NextMarker")]
    next_marker: String,
    #[serde(rename = "TargetLocation")]
    target_location: u8,
}

/// The token that names the first row of the next page, built like the recorded ones.
fn token(kind: Kind, row: &str) -> String {
    let row = format!("{}/{row}", kind.word());
    let marker = format!("{:06}!{row}!000028!9999-12-31T23:59:59.9999999Z!", row.len());
    let marker = STANDARD.encode(marker).replace('=', "-");
    let token = Token { next_marker: format!("2!{}!{marker}", marker.len()), target_location: 0 };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a token is plain data"))
}

/// The row a token names, without its kind.
pub(super) fn start_of(token: &str) -> Result<String, Refusal> {
    let row = || {
        let token: Token = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let marker = token.next_marker.splitn(3, '!').nth(2)?.replace('-', "=");
        let marker = String::from_utf8(STANDARD.decode(marker).ok()?).ok()?;
        let row = marker.split('!').nth(1)?;
        Some(row.split_once('/')?.1.to_owned())
    };
    row().ok_or_else(|| Refusal::unknown("a $skiptoken that no list of it has given out"))
}
