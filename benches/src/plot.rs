//! Plots for the document: SVG, without any library of fonts or pixels.

use plotters::prelude::*;

use crate::Result;

/// Bars beside each other, longest first or as given; `unit` stands below.
pub(crate) fn bars(title: &str, unit: &str, bars: &[(&str, f64)]) -> Result<String> {
    let mut svg = String::new();
    {
        let (height, most) = (90 + 44 * bars.len() as u32, bars.iter().map(|bar| bar.1).fold(0.0, f64::max));
        let area = SVGBackend::with_string(&mut svg, (760, height)).into_drawing_area();
        area.fill(&WHITE).map_err(text)?;
        let write = |label: &str, x: i32, y: i32, size: i32| {
            area.draw(&Text::new(label.to_owned(), (x, y), ("sans-serif", size))).map_err(text)
        };
        write(title, 12, 12, 18)?;
        for (index, (label, size)) in bars.iter().enumerate() {
            let y = 48 + 44 * index as i32;
            write(label, 12, y + 8, 14)?;
            let end = 270 + (380.0 * size / most) as i32;
            let colour = if index == 0 { RGBColor(31, 119, 180) } else { RGBColor(170, 170, 170) };
            area.draw(&Rectangle::new([(270, y), (end.max(272), y + 28)], colour.filled())).map_err(text)?;
            write(&crate::series::short(*size), end.max(272) + 8, y + 8, 14)?;
        }
        write(unit, 270, 52 + 44 * bars.len() as i32, 13)?;
        area.present().map_err(text)?;
    }
    Ok(svg)
}

/// A line of a plot.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) label: &'static str,
    pub(crate) colour: (u8, u8, u8),
    /// How far, and how high.
    pub(crate) points: Vec<(f64, f64)>,
}

/// Lines over the same axis.
pub(crate) fn lines(title: &str, width: &str, height: &str, lines: &[Line]) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (760, 380)).into_drawing_area();
        area.fill(&WHITE).map_err(text)?;
        let all = || lines.iter().flat_map(|line| &line.points);
        let (end, top) = all().fold((1.0_f64, 1.0_f64), |(x, y), point| (x.max(point.0), y.max(point.1)));
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(52)
            .build_cartesian_2d(0.0..end, 0.0..top * 1.1)
            .map_err(text)?;
        chart.configure_mesh().x_desc(width).y_desc(height).light_line_style(WHITE).draw().map_err(text)?;
        for Line { label, colour, points } in lines {
            let colour = RGBColor(colour.0, colour.1, colour.2);
            chart
                .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))
                .map_err(text)?
                .label(*label)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE)
            .draw()
            .map_err(text)?;
        area.present().map_err(text)?;
    }
    Ok(svg)
}

fn text(error: impl std::fmt::Display) -> String {
    format!("The plot could not be drawn: {error}")
}
