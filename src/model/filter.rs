//! Which items are meant: globs over `kind/name`.

use std::fmt;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::{
    error::{Error, ErrorKind, Result},
    model::{ItemId, Kind},
};

/// A choice of items by patterns such as `secrets/db-*`, `keys/*` or `!secrets/tmp-*`.
///
/// An item is chosen when it matches one of the plain patterns (or there is none) and none of those with a `!`. Case
/// does not matter, as in Key Vault.
#[derive(Clone, Default)]
pub struct ItemFilter {
    patterns: Vec<String>,
    wanted: Option<GlobSet>,
    unwanted: GlobSet,
}

impl ItemFilter {
    /// All items.
    pub fn all() -> Self {
        Self::default()
    }

    /// Reads patterns; the error names the first that cannot be read.
    pub fn new<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Result<Self> {
        let patterns: Vec<String> = patterns.into_iter().map(|pattern| pattern.as_ref().trim().to_owned()).collect();
        let (mut wanted, mut unwanted) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        let mut any_wanted = false;
        for pattern in &patterns {
            let (set, glob) = match pattern.strip_prefix('!') {
                Some(glob) => (&mut unwanted, glob),
                None => {
                    any_wanted = true;
                    (&mut wanted, pattern.as_str())
                }
            };
            set.add(parse(pattern, glob)?);
        }
        let build = |set: GlobSetBuilder| {
            set.build().map_err(|cause| {
                Error::new(ErrorKind::InvalidInput, "The item patterns are too large to be used together.")
                    .because(cause)
            })
        };
        Ok(Self { patterns, wanted: any_wanted.then(|| build(wanted)).transpose()?, unwanted: build(unwanted)? })
    }

    /// Whether the item is chosen.
    pub fn matches(&self, item: &ItemId) -> bool {
        let name = item.to_string();
        self.wanted.as_ref().is_none_or(|wanted| wanted.is_match(&name)) && !self.unwanted.is_match(&name)
    }

    /// Whether every item is chosen.
    pub fn is_all(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The patterns as they were written.
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }
}

impl fmt::Debug for ItemFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ItemFilter").field(&self.patterns).finish()
    }
}

fn parse(pattern: &str, glob: &str) -> Result<globset::Glob> {
    let refuse = |why: String| {
        Error::new(
            ErrorKind::InvalidInput,
            format!("The item pattern {pattern:?} {why}; patterns look like secrets/db-* or !keys/tmp-*."),
        )
    };
    let (kind, name) = glob.split_once('/').ok_or_else(|| refuse("has no kind before a slash".into()))?;
    if name.is_empty() || name.contains('/') {
        return Err(refuse("does not have exactly one name after the kind".into()));
    }
    if !kind.contains(['*', '?', '[', '{']) && kind.to_ascii_lowercase().parse::<Kind>().is_err() {
        return Err(refuse(format!("begins with {kind:?}, which is none of keys, secrets and certificates")));
    }
    GlobBuilder::new(glob)
        .literal_separator(true)
        .case_insensitive(true)
        .build()
        .map_err(|cause| refuse("cannot be read".into()).because(cause))
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};

    use super::*;

    fn chosen(patterns: &[&str], item: &str) -> bool {
        let (kind, name) = item.split_once('/').unwrap();
        let item = ItemId { kind: kind.parse().unwrap(), name: name.parse().unwrap() };
        ItemFilter::new(patterns).unwrap().matches(&item)
    }

    #[test]
    fn patterns_choose_by_kind_and_name_and_exclamation_marks_take_away() {
        assert!(chosen(&[], "keys/anything"));
        assert!(chosen(&["secrets/db-*"], "secrets/DB-password"));
        assert!(!chosen(&["secrets/db-*"], "keys/db-password"));
        assert!(chosen(&["!secrets/tmp-*"], "keys/tmp-1"));
        assert!(!chosen(&["!secrets/tmp-*"], "secrets/tmp-1"));
        assert!(!chosen(&["secrets/*", "!secrets/tmp-*"], "secrets/tmp-1"));
        assert!(chosen(&["*/shared"], "certificates/shared"));
    }

    #[test]
    fn a_pattern_that_cannot_match_anything_is_refused_by_name() {
        for pattern in ["db-*", "secret/db", "secrets/", "secrets/a/b", "secrets/["] {
            let error = ItemFilter::new([pattern]).unwrap_err();
            assert!(error.message().contains(&format!("{pattern:?}")), "{error}");
        }
    }

    /// A pattern of `*` and letters matches a name, written down a second time: `*` stands for any run of letters.
    fn matches_glob(glob: &[u8], name: &[u8]) -> bool {
        match glob.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|skipped| matches_glob(rest, &name[skipped..])),
            Some((letter, rest)) => name
                .split_first()
                .is_some_and(|(first, name)| first.eq_ignore_ascii_case(letter) && matches_glob(rest, name)),
        }
    }

    proptest! {
        #[test]
        fn an_item_is_chosen_by_any_pattern_for_it_unless_one_takes_it_away(
            patterns in collection::vec(("!?", "(keys|secrets|certificates|[*])", "[aAb*-]{1,4}"), 0..5),
            kind in 0..3_usize,
            name in "[aAbB-]{1,5}",
        ) {
            let kind = Kind::ALL[kind];
            let all = patterns.iter().map(|(sign, kind, name)| format!("{sign}{kind}/{name}"));
            let filter = ItemFilter::new(all.collect::<Vec<_>>()).unwrap();
            let hit = |(_, of_kind, glob): &&(String, String, String)| {
                (of_kind == "*" || of_kind == kind.as_str()) && matches_glob(glob.as_bytes(), name.as_bytes())
            };
            let (away, choose): (Vec<_>, Vec<_>) = patterns.iter().partition(|(sign, ..)| sign == "!");
            let chosen = choose.is_empty() || choose.iter().any(&hit);
            let expected = chosen && !away.iter().any(&hit);
            prop_assert_eq!(filter.matches(&ItemId { kind, name: name.parse().unwrap() }), expected);
        }

        #[test]
        fn any_pattern_is_read_or_refused_and_case_and_order_do_not_matter(
            mut patterns in collection::vec("!?[a-z*/?{},\\[\\]-]{1,12}", 1..4), name in "[a-zA-Z0-9-]{1,12}",
        ) {
            let Ok(filter) = ItemFilter::new(&patterns) else { return Ok(()) };
            patterns.reverse();
            let reversed = ItemFilter::new(&patterns).unwrap();
            for kind in Kind::ALL {
                let [item, upper] =
                    [name.clone(), name.to_ascii_uppercase()].map(|name| ItemId { kind, name: name.parse().unwrap() });
                prop_assert_eq!(filter.matches(&item), filter.matches(&upper));
                prop_assert_eq!(filter.matches(&item), reversed.matches(&item));
            }
        }
    }
}
