//! Tables for people, and whether the targets are met.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{Result, machine};

/// What `docs/benchmarks.md` has a place for, beside the machine and the targets.
const SECTIONS: [&str; 13] = [
    "backup",
    "restore",
    "azure",
    "quota",
    "memory",
    "unchanged",
    "start",
    "protocols",
    "connections",
    "instructions",
    "builds",
    "profile",
    "every-run",
];

/// All that was found out.
#[derive(Debug)]
pub(crate) struct Report {
    quick: bool,
    verdicts: Vec<Verdict>,
    sections: BTreeMap<&'static str, String>,
    images: BTreeMap<&'static str, String>,
}

#[derive(Debug)]
struct Verdict {
    what: String,
    target: String,
    measured: String,
    pass: bool,
}

impl Report {
    pub(crate) fn new(quick: bool) -> Self {
        Self { quick, verdicts: Vec::new(), sections: BTreeMap::new(), images: BTreeMap::new() }
    }

    /// A row of the targets.
    pub(crate) fn verdict(&mut self, what: &str, target: &str, measured: String, pass: bool) {
        self.verdicts.push(Verdict { what: what.to_owned(), target: target.to_owned(), measured, pass });
    }

    /// What stands between the marks of this name in the document.
    ///
    /// # Panics
    /// When the document has no such place: better now than after an hour.
    pub(crate) fn section(&mut self, name: &'static str, text: &str) {
        assert!(SECTIONS.contains(&name), "docs/benchmarks.md has no place for {name}");
        println!("\n== {name}\n\n{text}");
        self.sections.insert(name, text.to_owned());
    }

    /// A plot, `docs/images/NAME`.
    pub(crate) fn image(&mut self, name: &'static str, svg: String) {
        self.images.insert(name, svg);
    }

    /// Prints the targets; whether all are met.
    pub(crate) fn print_verdicts(&self) -> bool {
        let note = if self.quick { " (quick: fewer items and runs)" } else { "" };
        println!("\n== targets{note}\n\n{}", self.verdicts());
        self.verdicts.iter().all(|it| it.pass)
    }

    fn verdicts(&self) -> String {
        let rows = self.verdicts.iter().map(|it| {
            let pass = if it.pass { "pass" } else { "**fail**" };
            vec![it.what.clone(), it.target.clone(), it.measured.clone(), pass.to_owned()]
        });
        table(&["what", "at least", "measured", ""], rows)
    }

    /// Writes what was measured into `docs`, and leaves what was not measured this time.
    ///
    /// # Errors
    /// When the document lacks a mark, or cannot be written.
    pub(crate) fn write(&self, docs: &Path) -> Result<()> {
        let path = docs.join("benchmarks.md");
        let mut text = fs::read_to_string(&path)?;
        let (machine, verdicts) = (machine::describe(), self.verdicts());
        let mine = [("machine", &machine), ("targets", &verdicts)];
        for (name, section) in mine.into_iter().chain(self.sections.iter().map(|(name, text)| (*name, text))) {
            text =
                replaced(&text, name, section).ok_or_else(|| format!("{} has no place for {name}.", path.display()))?;
        }
        fs::write(&path, text)?;
        fs::create_dir_all(docs.join("images"))?;
        for (name, svg) in &self.images {
            fs::write(docs.join("images").join(name), svg)?;
        }
        Ok(())
    }
}

/// A table in Markdown: the first column to the left, the others to the right.
pub(crate) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let rule = head.iter().enumerate().map(|(index, _)| if index == 0 { "---" } else { "---:" });
    let mut lines = vec![line(head.iter().map(ToString::to_string)), line(rule.map(str::to_owned))];
    lines.extend(rows.into_iter().map(line));
    lines.join("\n")
}

/// The same below what was run in turns, and how often.
pub(crate) fn table_of_turns(
    what: &str,
    rounds: usize,
    head: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> String {
    format!("{what}, {rounds} runs in turns; median (least–most):\n\n{}", table(head, rows))
}

fn line(cells: impl IntoIterator<Item = String>) -> String {
    format!("| {} |", cells.into_iter().collect::<Vec<_>>().join(" | "))
}

/// The text with another section between `<!-- measured: NAME -->` and `<!-- end -->`.
fn replaced(text: &str, name: &str, section: &str) -> Option<String> {
    let mark = format!("<!-- measured: {name} -->\n");
    let (before, rest) = text.split_once(&mark)?;
    let (_, after) = rest.split_once("<!-- end -->")?;
    Some(format!("{before}{mark}{section}\n<!-- end -->{after}"))
}

#[cfg(test)]
mod tests {
    use super::{Report, SECTIONS, replaced, table};

    #[test]
    fn one_miss_is_a_miss_of_the_whole() {
        let mut report = Report::new(true);
        report.verdict("start", "30 ms", "2 ms".to_owned(), true);
        assert!(report.print_verdicts());
        report.verdict("backup", "90 %", "89 %".to_owned(), false);
        report.verdict("restore", "90 %", "91 %".to_owned(), true);
        assert!(!report.print_verdicts());
    }

    #[test]
    fn the_document_has_a_place_for_everything_that_is_measured() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks.md");
        let text = std::fs::read_to_string(path).unwrap();
        for name in SECTIONS.into_iter().chain(["machine", "targets"]) {
            assert!(replaced(&text, name, "").is_some(), "docs/benchmarks.md lacks {name}");
        }
    }

    #[test]
    fn a_section_takes_the_place_of_the_one_before_and_leaves_the_rest() {
        let text = "a\n<!-- measured: x -->\nold\n<!-- end -->\nb\n<!-- measured: y -->\ny\n<!-- end -->\n";
        let changed = replaced(text, "x", "new").unwrap();
        assert_eq!(changed, text.replace("old", "new"));
        assert_eq!(replaced(text, "z", "new"), None);
    }

    #[test]
    fn a_table_has_a_rule_below_its_head() {
        let text = table(&["who", "s"], [vec!["us".to_owned(), "1".to_owned()]]);
        assert_eq!(text, "| who | s |\n| --- | ---: |\n| us | 1 |");
    }
}
