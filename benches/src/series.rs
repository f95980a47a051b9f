//! What several runs gave.

use std::fmt;

/// Figures of the same thing, one of each run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    pub(crate) fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            length if length % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    pub(crate) fn least(&self) -> f64 {
        self.sorted().first().copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn most(&self) -> f64 {
        self.sorted().last().copied().unwrap_or(f64::NAN)
    }

    /// The figures of the same runs, divided: runs that follow each other have the same noise.
    pub(crate) fn over(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(mine, theirs)| mine / theirs).collect())
    }

    /// All figures times `factor`.
    pub(crate) fn times(&self, factor: f64) -> Self {
        Self(self.0.iter().map(|figure| figure * factor).collect())
    }

    /// What was measured once of several things, a figure of each.
    pub(crate) fn push_each<const COUNT: usize>(all: &mut [Self; COUNT], figures: [f64; COUNT]) {
        all.iter_mut().zip(figures).for_each(|(series, figure)| series.push(figure));
    }

    /// The cells of a row that begins with `first`.
    pub(crate) fn row(first: impl IntoIterator<Item = String>, all: &[Self]) -> Vec<String> {
        first.into_iter().chain(all.iter().map(ToString::to_string)).collect()
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

/// Median, least and most.
impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() < 2 {
            return write!(f, "{}", short(self.median()));
        }
        write!(f, "{} ({}–{})", short(self.median()), short(self.least()), short(self.most()))
    }
}

/// Three digits that say something.
pub(crate) fn short(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 => grouped(figure.round() as i64),
        size if size >= 10.0 => format!("{figure:.1}"),
        size if size >= 1.0 => format!("{figure:.2}"),
        _ => format!("{figure:.3}"),
    }
}

/// `12,345`.
pub(crate) fn grouped(number: i64) -> String {
    let digits = number.abs().to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    format!("{}{}", if number < 0 { "-" } else { "" }, groups.join(","))
}

#[cfg(test)]
mod tests {
    use super::{Series, grouped, short};

    #[test]
    fn a_series_shows_its_median_with_the_least_and_the_most() {
        let mut series = Series::default();
        for figure in [3.0, 1.0, 250.4, 2.0] {
            series.push(figure);
        }
        assert_eq!(series.to_string(), "2.50 (1.00–250)");
        assert_eq!((grouped(1_234_567), short(0.0123)), ("1,234,567".to_owned(), "0.012".to_owned()));
    }

    #[test]
    fn ratios_are_taken_run_by_run() {
        let (mut slow, mut fast) = (Series::default(), Series::default());
        for (a, b) in [(10.0, 1.0), (40.0, 2.0)] {
            slow.push(a);
            fast.push(b);
        }
        assert_eq!((slow.over(&fast).least(), slow.over(&fast).most()), (10.0, 20.0));
    }
}
