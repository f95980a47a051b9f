//! How many, and how much: said in one way wherever people read it.

use std::fmt::Display;

use indicatif::HumanBytes;

/// So many of a thing: `1 backup`, `2 backups`, `0 backups`.
pub fn counted(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// What so many things are.
pub fn are(count: u64) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

/// What so many things were.
pub fn were(count: u64) -> &'static str {
    if count == 1 { "was" } else { "were" }
}

/// So many bytes: `0 B`, `1.50 KiB`. Where one byte more or less matters, they are [`counted`].
pub fn size(bytes: u64) -> impl Display {
    HumanBytes(bytes)
}

/// The word of a program, such as `alreadyPresent`, as people write it: `already present`.
pub fn spoken(word: &str) -> String {
    let mut words = String::with_capacity(word.len() + 2);
    for letter in word.chars() {
        if letter.is_ascii_uppercase() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_not_several() {
        let said: Vec<String> =
            (0..3).map(|count| format!("{} {} there", counted(count, "item"), are(count))).collect();
        assert_eq!(said, ["0 items are there", "1 item is there", "2 items are there"]);
    }

    #[test]
    fn words_of_programs_are_written_apart() {
        assert_eq!(["alreadyPresent", "stale", "tooOld"].map(spoken), ["already present", "stale", "too old"]);
    }

    #[test]
    fn a_size_has_a_unit_that_can_be_read() {
        assert_eq!([0, 1, 1536].map(|bytes| size(bytes).to_string()), ["0 B", "1 B", "1.50 KiB"]);
    }
}
