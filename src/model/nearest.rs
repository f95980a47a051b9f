//! Names that may have been meant.

/// At most so many are named.
const MOST: usize = 3;

/// `" Did you mean contoso-prod?"` when one of the names that are known is so near to what was written that it may have
/// been meant, else nothing. Names only: it is shown in messages.
pub fn did_you_mean<N: AsRef<str>>(written: &str, known: impl IntoIterator<Item = N>) -> String {
    let written = written.to_lowercase();
    let mut near: Vec<(usize, String)> = known
        .into_iter()
        .filter_map(|name| {
            let name = name.as_ref();
            distance(&written, &name.to_lowercase()).map(|distance| (distance, name.to_owned()))
        })
        .collect();
    near.sort_unstable();
    near.dedup();
    let Some((nearest, _)) = near.first().cloned() else { return String::new() };
    let names = near.into_iter().take_while(|(distance, _)| *distance == nearest).take(MOST).map(|(_, name)| name);
    format!(" Did you mean {}?", names.collect::<Vec<_>>().join(" or "))
}

/// How many slips of the finger lie between the two; nothing when they are too many to be slips. What is the beginning
/// of a name was cut off.
fn distance(written: &str, name: &str) -> Option<usize> {
    let allowed = (written.chars().count() / 4).clamp(1, 3);
    if written.len() >= 4 && written.len() < name.len() && name.starts_with(written) {
        return Some(1);
    }
    // They differ by at least what one is longer, and there may be many names.
    if written.chars().count().abs_diff(name.chars().count()) > allowed {
        return None;
    }
    Some(strsim::damerau_levenshtein(written, name)).filter(|distance| *distance <= allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger_and_names_cut_off_are_recognised() {
        let known = ["contoso-prod", "contoso-dr", "before-upgrade"];
        assert_eq!(did_you_mean("contoso-prdo", known), " Did you mean contoso-prod?");
        assert_eq!(did_you_mean("Contso-DR", known), " Did you mean contoso-dr?");
        assert_eq!(did_you_mean("before-up", known), " Did you mean before-upgrade?");
        assert_eq!(did_you_mean("contoso", known), " Did you mean contoso-dr or contoso-prod?");
    }

    #[test]
    fn what_is_far_from_everything_gets_no_suggestion() {
        assert_eq!(did_you_mean("fabrikam", ["contoso-prod"]), "");
        assert_eq!(did_you_mean("dr", ["contoso-dr", "drill-vault"]), "");
        assert_eq!(did_you_mean("contoso-dr", ["contoso-prod"]), "");
        assert_eq!(did_you_mean("anything", Vec::<String>::new()), "");
    }
}
