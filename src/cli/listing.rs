//! Long lists for people: a short one whole, and of a long one what needs attention.

use super::print::{Cell, MANY, Printer, outcome, table};
use crate::{error::Result, model::counted, report::ItemReport, rows::Rows};

/// Rows of one table when a long list is shown whole, because a table is laid out in memory.
const PAGE: usize = 1_000;

/// A row, and whether it needs a person's attention.
pub(super) type Row<const COLUMNS: usize> = (bool, [Cell; COLUMNS]);

/// Prints so many rows below a header: all of them when they are few or `all` are wanted, else those that need attention
/// and how many others there are.
pub(super) fn print<const COLUMNS: usize>(
    printer: &Printer,
    header: [&str; COLUMNS],
    count: usize,
    rows: impl Iterator<Item = Result<Row<COLUMNS>>>,
    all: bool,
) -> Result<()> {
    let all = all || count <= MANY;
    let (mut page, mut shown, mut attention) = (table(&header), 0, 0);
    for row in rows {
        let (needs_attention, cells) = row?;
        attention += usize::from(needs_attention);
        if all || needs_attention && shown < MANY {
            page.add_row(cells);
            shown += 1;
        }
        if page.len() == PAGE {
            printer.table(std::mem::replace(&mut page, table(&header)));
        }
    }
    if page.len() > 0 {
        printer.table(page);
    }
    if !all {
        printer.line(match attention {
            0 => format!("None of {count} items needs attention. --all-rows shows every one."),
            _ => format!(
                "Shown: {shown} of {} in need of attention, of {count}. --all-rows shows every one.",
                counted(attention as u64, "item")
            ),
        });
    }
    Ok(())
}

/// Prints what became of items.
pub(super) fn outcomes(printer: &Printer, items: &Rows<ItemReport>, all: bool) -> Result<()> {
    let rows = items.iter().map(|report| {
        let ItemReport { item, outcome: result, version, problem } = report?;
        let version = version.map(String::from).unwrap_or_default();
        Ok((!result.is_good() || problem.is_some(), [item.to_string().into(), outcome(result), version.into()]))
    });
    print(printer, ["Item", "Result", "Version"], items.len(), rows, all)
}
