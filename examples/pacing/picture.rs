//! The picture: rates above, refusals below, over the same time.

use std::error::Error;

use plotters::prelude::*;

use super::run::Second;

const SIZE: (u32, u32) = (960, 540);
const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
const GRID: RGBColor = RGBColor(0xe4, 0xe4, 0xe4);
const ALLOWED: RGBColor = RGBColor(0x00, 0x72, 0xb2);
const SENT: RGBColor = RGBColor(0x56, 0xb4, 0xe9);
const PRODUCTION: RGBColor = RGBColor(0x00, 0x9e, 0x73);
const REFUSED: RGBColor = RGBColor(0xd5, 0x5e, 0x00);
const QUOTA: RGBColor = RGBColor(0x99, 0x99, 0x99);

/// Requests per second that the vault's quota allows.
const REQUESTS: f64 = 400.0;

/// The picture as SVG.
pub(crate) fn draw(series: &[Second]) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let (rates, refusals) = area.split_vertically(350);
        let end = series.len() as f64;
        let line = |value: fn(&Second) -> f64| (1..).zip(series).map(move |(at, it)| (f64::from(at), value(it)));

        let mut chart = chart(&rates, "requests per second", "", end, 500.0)?;
        chart
            .draw_series([PathElement::new([(0.0, REQUESTS), (end, REQUESTS)], QUOTA.stroke_width(2))])?
            .label("the vault's quota")
            .legend(|at| key(at, QUOTA));
        chart
            .draw_series(LineSeries::new(line(|it| it.production as f64), PRODUCTION.stroke_width(1)))?
            .label("its applications")
            .legend(|at| key(at, PRODUCTION));
        chart
            .draw_series(LineSeries::new(line(|it| it.sent as f64), SENT.stroke_width(1)))?
            .label("the backup")
            .legend(|at| key(at, SENT));
        chart
            .draw_series(LineSeries::new(line(|it| it.allowed), ALLOWED.stroke_width(2)))?
            .label("the pace")
            .legend(|at| key(at, ALLOWED));
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .label_font(("sans-serif", 13).into_font().color(&INK))
            .background_style(WHITE.mix(0.85))
            .draw()?;

        let most = series.iter().map(|it| it.refused.max(it.production_refused)).max().unwrap_or(0).max(10);
        let mut chart = self::chart(&refusals, "refused per second", "seconds", end, most as f64 * 1.1)?;
        chart
            .draw_series(LineSeries::new(line(|it| it.production_refused as f64), PRODUCTION.stroke_width(1)))?
            .label("of its applications")
            .legend(|at| key(at, PRODUCTION));
        chart
            .draw_series(LineSeries::new(line(|it| it.refused as f64), REFUSED.stroke_width(2)))?
            .label("of the backup")
            .legend(|at| key(at, REFUSED));
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .label_font(("sans-serif", 13).into_font().color(&INK))
            .background_style(WHITE.mix(0.85))
            .draw()?;
        area.present()?;
    }
    Ok(svg)
}

type Chart<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

fn chart<'a, 'b>(
    area: &'a DrawingArea<SVGBackend<'b>, plotters::coord::Shift>,
    up: &str,
    along: &str,
    end: f64,
    top: f64,
) -> Result<Chart<'a, 'b>, Box<dyn Error>> {
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(if along.is_empty() { 20 } else { 36 })
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(("sans-serif", 13).into_font().color(&INK))
        .x_labels(9)
        .y_labels(6)
        .x_label_formatter(&|at| format!("{at:.0}"))
        .y_label_formatter(&|at| format!("{at:.0}"))
        .x_desc(along)
        .y_desc(up)
        .draw()?;
    Ok(chart)
}

/// A short line of the colour.
fn key((x, y): (i32, i32), colour: RGBColor) -> PathElement<(i32, i32)> {
    PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2))
}
