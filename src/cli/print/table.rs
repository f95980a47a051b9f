//! Tables that fit the terminal, whatever its width; colour where it means something.

use clap::builder::styling::{AnsiColor, Style};
use comfy_table::{ColumnConstraint, ContentArrangement, Table as Grid, Width, presets::UTF8_FULL_CONDENSED};
use console::Term;

/// A table. Printed, it fits the terminal of standard output: words are never broken, and where the columns cannot
/// stand beside each other their values stand below each other. What is not printed to a terminal is as wide as it is.
pub(in crate::cli) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

/// What a table holds: a text, and what it means to the reader.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Cell {
    text: String,
    tone: Tone,
}

/// What a text means: the only reason for a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Tone {
    Plain,
    Good,
    Doubtful,
    Bad,
}

/// Between the columns of a table: a space on both sides, and a border.
const BETWEEN: usize = 3;

/// Content is not wrapped to less than this many columns; a longer word may be broken after it.
const WIDEST_WORD: usize = 40;

/// An empty table.
pub(in crate::cli) fn table(header: &[&str]) -> Table {
    Table { header: header.iter().map(ToString::to_string).collect(), rows: Vec::new() }
}

impl Table {
    /// A row; cells may be missing at its end.
    pub(in crate::cli) fn add_row<C: Into<Cell>>(&mut self, row: impl IntoIterator<Item = C>) {
        self.rows.push(row.into_iter().map(Into::into).collect());
    }

    /// How many rows it has.
    pub(in crate::cli) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Its lines for the terminal of standard output, with escape codes for colours.
    pub(super) fn lines(self) -> Vec<String> {
        let terminal = Term::stdout();
        let width = if terminal.is_term() { terminal.size_checked().map(|(_, columns)| columns.into()) } else { None };
        self.lines_within(width)
    }

    fn lines_within(self, width: Option<usize>) -> Vec<String> {
        let columns: Vec<usize> = (0..self.header.len()).map(|index| narrowest(&self, index)).collect();
        let borders = BETWEEN * columns.len() + 1;
        match width {
            Some(width) if columns.iter().sum::<usize>() + borders > width => self.below_each_other(width),
            _ => self.beside_each_other(&columns, width),
        }
    }

    /// Takes the rows over one by one: there may be a hundred thousand.
    fn beside_each_other(self, narrowest: &[usize], width: Option<usize>) -> Vec<String> {
        // Whether codes are wanted is decided where they are printed, and nowhere else.
        crossterm::style::force_color_output(true);
        let mut grid = Grid::new();
        grid.load_style(UTF8_FULL_CONDENSED).force_no_tty().enforce_styling().style_text_only();
        grid.set_header(self.header);
        for row in self.rows {
            grid.add_row(row.into_iter().map(|Cell { text, tone }| {
                let cell = comfy_table::Cell::new_owned(text);
                match tone.color() {
                    Some(color) => cell.fg(color),
                    None => cell,
                }
            }));
        }
        if let Some(width) = width {
            grid.set_content_arrangement(ContentArrangement::Dynamic).set_width(width as u16);
            let least = |column: &usize| ColumnConstraint::LowerBoundary(Width::Fixed((column + BETWEEN - 1) as u16));
            grid.set_constraints(narrowest.iter().map(least));
        }
        grid.lines().collect()
    }

    fn below_each_other(self, width: usize) -> Vec<String> {
        let name = self.header.iter().map(|name| name.chars().count()).max().unwrap_or_default();
        let mut lines = Vec::new();
        for row in self.rows {
            if !lines.is_empty() {
                lines.push(String::new());
            }
            for (header, cell) in self.header.iter().zip(row).filter(|(_, cell)| !cell.text.is_empty()) {
                let text = cell.text.replace('\n', ", ");
                let longest = text.split_whitespace().map(|word| word.chars().count()).max().unwrap_or_default();
                let mut header = header.as_str();
                // What does not fit beside its name stands below it: whole, so that it can be copied.
                if name + 2 + longest > width {
                    lines.push(header.to_owned());
                    let indent = 2.min(width.saturating_sub(longest));
                    for part in wrapped(&text, width - indent) {
                        lines.push(format!("{:indent$}{}", "", cell.tone.paint(&part)));
                    }
                    continue;
                }
                for part in wrapped(&text, width - name - 2) {
                    lines.push(format!("{header:name$}  {}", cell.tone.paint(&part)));
                    header = "";
                }
            }
        }
        lines
    }
}

/// The words in lines of that width; one that is longer stands alone and whole.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// How narrow a column can be: as its longest word.
fn narrowest(table: &Table, index: usize) -> usize {
    let cells = table.rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.text.as_str());
    let words = cells.flat_map(str::split_whitespace).map(|word| word.chars().count().min(WIDEST_WORD));
    words.max().unwrap_or_default().max(table.header[index].chars().count())
}

impl Cell {
    /// Something that is well.
    pub(in crate::cli) fn good(text: impl ToString) -> Self {
        Self { text: text.to_string(), tone: Tone::Good }
    }

    /// Something that is not quite well.
    pub(in crate::cli) fn doubtful(text: impl ToString) -> Self {
        Self { text: text.to_string(), tone: Tone::Doubtful }
    }

    /// Something that failed or is gone.
    pub(in crate::cli) fn bad(text: impl ToString) -> Self {
        Self { text: text.to_string(), tone: Tone::Bad }
    }

    /// The same with another line below.
    pub(in crate::cli) fn with_line(mut self, line: &str) -> Self {
        self.text = format!("{}\n{line}", self.text);
        self
    }

    /// A number that should be zero.
    pub(in crate::cli) fn none_is_good(count: u64) -> Self {
        if count == 0 { "0".into() } else { Self::doubtful(count) }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), tone: Tone::Plain }
    }
}

impl Tone {
    /// The text with the escape codes of its colour.
    pub(in crate::cli) fn paint(self, text: &str) -> String {
        let color = match self {
            Self::Plain => return text.to_owned(),
            Self::Good => AnsiColor::Green,
            Self::Doubtful => AnsiColor::Yellow,
            Self::Bad => AnsiColor::Red,
        };
        let style = Style::new().fg_color(Some(color.into()));
        format!("{style}{text}{style:#}")
    }

    fn color(self) -> Option<comfy_table::Color> {
        match self {
            Self::Plain => None,
            Self::Good => Some(comfy_table::Color::DarkGreen),
            Self::Doubtful => Some(comfy_table::Color::DarkYellow),
            Self::Bad => Some(comfy_table::Color::DarkRed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Table {
        let mut table = table(&["Vault", "Result", "Why"]);
        table.add_row(["contoso-prod", "Failed", "it could not be reached by anybody at all"]);
        table.add_row([Cell::from("contoso-dr"), Cell::good("Succeeded")]);
        table
    }

    /// Without the escape codes of colours.
    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_no_word_is_broken() {
        for width in 34..=120 {
            let text = plain(&example().lines_within(Some(width)).join("\n"));
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}:\n{text}");
            for word in ["contoso-prod", "Failed", "anybody", "Succeeded"] {
                assert!(text.contains(word), "{width}: {word} is broken:\n{text}");
            }
        }
    }

    #[test]
    fn columns_that_cannot_stand_beside_each_other_stand_below_each_other() {
        let text = plain(&example().lines_within(Some(30)).join("\n"));
        let first = "Vault   contoso-prod\nResult  Failed\nWhy     it could not be\n        reached by anybody at\n        all\n\n";
        assert!(text.starts_with(first), "{text}");
        assert!(text.ends_with("\n\nVault   contoso-dr\nResult  Succeeded"), "{text}");
    }

    #[test]
    fn what_does_not_fit_beside_its_name_stands_whole_below_it() {
        let mut table = table(&["Item", "Version"]);
        table.add_row(["a", "0123456789abcdef0123456789abcdef"]);
        let lines = table.lines_within(Some(36));
        assert_eq!(lines, ["Item     a", "Version", "  0123456789abcdef0123456789abcdef"]);
    }

    #[test]
    fn without_a_terminal_nothing_is_wrapped() {
        let text = plain(&example().lines_within(None).join("\n"));
        assert!(text.contains("it could not be reached by anybody at all"), "{text}");
    }

    #[test]
    fn only_what_means_something_has_a_colour() {
        let text = example().lines_within(None).join("\n");
        assert!(text.contains("\u{1b}[38;5;2mSucceeded\u{1b}["), "{text:?}");
        assert_eq!(text.matches("\u{1b}[38").count(), 1, "{text:?}");
    }
}
