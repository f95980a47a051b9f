//! Route templates of HTTP triggers, such as `backups/{vault?}/{id?}`.

use super::{Error, Result};
use std::collections::BTreeMap;

/// A route template without its prefix.
#[derive(Clone, Debug)]
pub(super) struct Route {
    segments: Vec<Segment>,
    /// The template as written.
    pub(super) template: String,
}

#[derive(Clone, Debug)]
enum Segment {
    Literal(String),
    Parameter { name: String, optional: bool },
}

impl Route {
    /// Parses a template.
    ///
    /// # Errors
    /// When it uses constraints, catch-alls, defaults or mixed segments: they are not imitated.
    pub(super) fn parse(template: &str) -> Result<Self> {
        let mut segments: Vec<Segment> = Vec::new();
        for text in template.split('/').filter(|s| !s.is_empty()) {
            let segment = match text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
                Some(inside) => {
                    let (name, optional) = inside.strip_suffix('?').map_or((inside, false), |name| (name, true));
                    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                        return Err(unknown(template, text));
                    }
                    Segment::Parameter { name: name.to_owned(), optional }
                }
                None if text.contains(['{', '}', '*']) => return Err(unknown(template, text)),
                None => Segment::Literal(text.to_owned()),
            };
            let after_optional = matches!(segments.last(), Some(Segment::Parameter { optional: true, .. }));
            if after_optional && !matches!(segment, Segment::Parameter { optional: true, .. }) {
                return Err(Error::new(format!("route '{template}' has '{text}' after an optional parameter")));
            }
            segments.push(segment);
        }
        Ok(Self { segments, template: template.trim_matches('/').to_owned() })
    }

    /// The parameters if these decoded path segments fit. An absent optional parameter is simply not there.
    pub(super) fn matches(&self, path: &[String]) -> Option<BTreeMap<String, String>> {
        if path.len() > self.segments.len() {
            return None;
        }
        let mut parameters = BTreeMap::new();
        for (index, segment) in self.segments.iter().enumerate() {
            match (segment, path.get(index)) {
                (Segment::Literal(literal), Some(text)) if literal.eq_ignore_ascii_case(text) => {}
                (Segment::Parameter { name, .. }, Some(text)) => {
                    parameters.insert(name.clone(), text.clone());
                }
                (Segment::Parameter { optional: true, .. }, None) => {}
                _ => return None,
            }
        }
        Some(parameters)
    }

    /// Literal segments win over parameters, earlier ones first, as in ASP.NET routing.
    pub(super) fn precedence(&self) -> Vec<u8> {
        self.segments.iter().map(|s| u8::from(matches!(s, Segment::Parameter { .. }))).collect()
    }
}

fn unknown(template: &str, segment: &str) -> Error {
    Error::new(format!(
        "route '{template}' has the segment '{segment}'; only text, {{name}} and {{name?}} are imitated"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn optional_parameters_may_be_absent() {
        let route = Route::parse("backups/{vault?}/{id?}").unwrap();
        assert_eq!(route.matches(&path("backups")), Some(BTreeMap::new()));
        assert_eq!(route.matches(&path("Backups/kv")).unwrap()["vault"], "kv");
        assert_eq!(route.matches(&path("backups/kv/7")).unwrap()["id"], "7");
        assert_eq!(route.matches(&path("backups/kv/7/8")), None);
        assert_eq!(route.matches(&path("restore")), None);
        assert_eq!(Route::parse("restore/{kind}").unwrap().matches(&path("restore")), None);
    }

    #[test]
    fn what_is_not_imitated_is_refused() {
        for template in ["a/{id:int}", "a/{*rest}", "a/x{id}", "a/{id=1}", "{a?}/b", "a/{}"] {
            assert!(Route::parse(template).is_err(), "{template}");
        }
    }
}
