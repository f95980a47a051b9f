//! How the story is told: chapters, lines, tables, numbers and paths.

use std::{
    env,
    io::{self, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use indicatif::HumanCount;
use serde_json::Value;

/// The teller.
pub(crate) struct Story {
    aside: bool,
    start: Instant,
    chapters: u32,
}

impl Story {
    /// `aside` tells it on standard error, because standard output is for a program.
    pub(crate) fn new(aside: bool) -> Self {
        Self { aside, start: Instant::now(), chapters: 0 }
    }

    /// Begins the next chapter.
    pub(crate) fn chapter(&mut self, title: &str) {
        self.chapters += 1;
        let title = format!("{}. {title}", self.chapters);
        self.line(format!("\n{title:<60} {:>5.1} s", self.elapsed().as_secs_f64()));
    }

    /// Tells a line. Nobody listening any more, as behind `| head`, is no reason to stop.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) {
        let text = text.as_ref();
        let _ = if self.aside { writeln!(io::stderr(), "{text}") } else { writeln!(io::stdout(), "{text}") };
    }

    /// Shows rows of a word and numbers.
    pub(crate) fn table<const COLUMNS: usize>(
        &mut self,
        header: [&str; COLUMNS],
        rows: impl IntoIterator<Item = [String; COLUMNS]>,
    ) {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header(header).add_rows(rows);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for line in table.lines() {
            self.line(format!("   {line}"));
        }
    }

    /// The time since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A number as people write it.
pub(crate) fn count(number: impl TryInto<u64>) -> String {
    HumanCount(number.try_into().unwrap_or(u64::MAX)).to_string()
}

/// The number in a JSON value; 0 when there is none.
pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// A path as short as it can be typed here.
pub(crate) fn shown(path: &Path) -> String {
    let here = env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
