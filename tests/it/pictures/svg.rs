//! A terminal's screen as SVG. Borders are drawn as lines and each run of letters is fitted to its cells, so that it looks
//! the same with every font.

use std::fmt::Write as _;

use vt100::{Cell, Color, Screen};

/// The size of a cell, in the units of the picture.
const WIDTH: f32 = 8.4;
const HEIGHT: f32 = 19.0;
const MARGIN: f32 = 18.0;

const BACKGROUND: &str = "#171b21";
const TEXT: &str = "#d5dbe3";
const FAINT: &str = "#7d8794";
const BORDER: &str = "#4a5360";
const PROMPT: &str = "#6cb6ff";

/// The eight colours of a terminal, and their bright ones.
const COLOURS: [&str; 16] = [
    "#545d68", "#f47067", "#6bc46d", "#daaa3f", "#6cb6ff", "#dcbdfb", "#56d4dd", "#d5dbe3", "#768390", "#ff938a",
    "#8ddb8c", "#eac55f", "#96d0ff", "#e2c5ff", "#76e3ea", "#ffffff",
];

/// One line after the other.
pub(super) struct Page {
    columns: u16,
    text: String,
    borders: String,
    rows: usize,
}

impl Page {
    pub(super) fn new(columns: u16) -> Self {
        Self { columns, text: String::new(), borders: String::new(), rows: 0 }
    }

    /// What is typed.
    pub(super) fn command(&mut self, command: &str) {
        if self.rows > 0 {
            self.rows += 1;
        }
        self.begin();
        self.run(0, "$", PROMPT, true);
        self.run(2, command, TEXT, true);
        self.end();
    }

    /// Time goes by.
    pub(super) fn pause(&mut self) {
        self.begin();
        self.run(0, "⋮", FAINT, false);
        self.end();
    }

    pub(super) fn screen(&mut self, screen: &Screen) {
        let (rows, columns) = screen.size();
        let (rows, columns) = (rows.get(), columns.get());
        let used =
            (0..rows).rev().find(|row| (0..columns).any(|column| !letter(screen, *row, column).trim().is_empty()));
        for row in 0..used.map_or(0, |last| last + 1) {
            self.begin();
            let mut column = 0;
            while column < columns {
                let start = column;
                let first = letter(screen, row, column);
                column += 1;
                if let Some(arms) = first.chars().next().and_then(arms) {
                    self.border(start, arms);
                } else if !first.trim().is_empty() {
                    let mut run = first;
                    let style = style(screen.cell(row, start));
                    // Single spaces belong to a run, so that sentences stay together.
                    while column < columns && goes_on(screen, row, column, style) {
                        run.push_str(&letter(screen, row, column));
                        column += 1;
                    }
                    self.run(start, &run, style.0, style.1);
                }
            }
            self.end();
        }
    }

    pub(super) fn draw(&self) -> String {
        let width = f32::from(self.columns) * WIDTH + 2.0 * MARGIN;
        let height = self.rows as f32 * HEIGHT + 2.0 * MARGIN;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             height=\"{height:.0}\">\n<rect width=\"100%\" height=\"100%\" rx=\"10\" fill=\"{BACKGROUND}\"/>\n\
             <path d=\"{}\" stroke=\"{BORDER}\" fill=\"none\"/>\n<g font-family=\"ui-monospace, SFMono-Regular, Menlo, \
             Consolas, 'DejaVu Sans Mono', monospace\" font-size=\"14\" xml:space=\"preserve\">\n{}</g>\n</svg>\n",
            self.borders.trim(),
            self.text
        )
    }

    fn begin(&mut self) {
        self.text.push_str("<text>");
    }

    fn end(&mut self) {
        self.text.push_str("</text>\n");
        self.rows += 1;
    }

    fn run(&mut self, column: u16, letters: &str, colour: &str, bold: bool) {
        let (x, y) = (self.x(column), self.y() + 0.72 * HEIGHT);
        let length = letters.chars().count() as f32 * WIDTH;
        let weight = if bold { " font-weight=\"bold\"" } else { "" };
        let letters = letters.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = write!(
            self.text,
            "<tspan x=\"{x:.1}\" y=\"{y:.1}\" textLength=\"{length:.1}\" lengthAdjust=\"spacingAndGlyphs\" \
             fill=\"{colour}\"{weight}>{letters}</tspan>"
        );
    }

    /// The lines from the middle of a cell to its edges.
    fn border(&mut self, column: u16, arms: &str) {
        let (x, y) = (self.x(column), self.y());
        let (middle, centre, gap) = (x + WIDTH / 2.0, y + HEIGHT / 2.0, 1.5);
        for arm in arms.chars() {
            let (from, to) = match arm {
                'u' => ((middle, y), (middle, centre)),
                'd' => ((middle, centre), (middle, y + HEIGHT)),
                'l' => ((x, centre), (middle, centre)),
                'r' => ((middle, centre), (x + WIDTH, centre)),
                // Two lines, to the left or to the right.
                'L' | 'R' => {
                    let from = if arm == 'L' { x } else { middle };
                    let (above, half) = (centre - gap, WIDTH / 2.0);
                    let _ = write!(self.borders, "M{from:.1} {above:.1}h{half} ");
                    ((from, centre + gap), (from + half, centre + gap))
                }
                // A dotted line down.
                _ => {
                    let _ = write!(self.borders, "M{middle:.1} {:.1}v3 ", y + 3.0);
                    ((middle, centre + 3.0), (middle, centre + 6.0))
                }
            };
            let _ = write!(self.borders, "M{:.1} {:.1}L{:.1} {:.1} ", from.0, from.1, to.0, to.1);
        }
    }

    fn x(&self, column: u16) -> f32 {
        MARGIN + f32::from(column) * WIDTH
    }

    fn y(&self) -> f32 {
        MARGIN + self.rows as f32 * HEIGHT
    }
}

/// The words of each line of a picture.
pub(super) fn lines(svg: &str) -> Vec<String> {
    let line = |text: &str| {
        let words = text.split('<').filter_map(|piece| piece.split_once('>')).map(|(_, words)| words);
        let words: Vec<&str> = words.filter(|words| !words.is_empty()).collect();
        words.join(" ").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    };
    svg.lines().filter(|text| text.starts_with("<text>")).map(line).collect()
}

fn letter(screen: &Screen, row: u16, column: u16) -> String {
    screen.cell(row, column).map(Cell::contents).unwrap_or_default().to_owned()
}

/// Colour, and whether it is bold.
fn style(cell: Option<&Cell>) -> (&'static str, bool) {
    let Some(cell) = cell else { return (TEXT, false) };
    let colour = match cell.fgcolor() {
        Color::Idx(index) => COLOURS.get(usize::from(index)).copied().unwrap_or(TEXT),
        _ if cell.dim() => FAINT,
        _ => TEXT,
    };
    (colour, cell.bold())
}

fn goes_on(screen: &Screen, row: u16, column: u16, style_of_run: (&str, bool)) -> bool {
    let belongs = |column: u16| {
        let letter = letter(screen, row, column);
        let visible = letter.chars().next().filter(|letter| !letter.is_whitespace());
        visible.is_some_and(|letter| arms(letter).is_none()) && style(screen.cell(row, column)) == style_of_run
    };
    belongs(column) || letter(screen, row, column).trim().is_empty() && belongs(column + 1)
}

/// Which lines a border consists of: up, down, left, right, two to the left or to the right, or dotted.
fn arms(letter: char) -> Option<&'static str> {
    Some(match letter {
        '│' => "ud",
        '─' => "lr",
        '┆' => ":",
        '┌' => "dr",
        '┐' => "dl",
        '└' => "ur",
        '┘' => "ul",
        '┬' => "dlr",
        '┴' => "ulr",
        '├' => "udr",
        '┤' => "udl",
        '┼' => "udlr",
        '═' | '╪' => "LR",
        '╞' => "udR",
        '╡' => "udL",
        _ => return None,
    })
}
