//! Pictures of figures, as SVG: the only module that says plotters.
//!
//! In: named series over months, or over names and places ([`chart`]). Out: the text of an SVG. Promise: the same figures
//! give the same text. Never: a file.

pub mod chart;
#[cfg(test)]
mod tests;

use plotters::prelude::*;

/// Width and height in pixels: a page's width, two panels.
const SIZE: (u32, u32) = (900, 700);
/// Colours of series, in order: told apart by people who see no red or green (Okabe and Ito, 2008).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
];

/// One line: a value per month, none where it is not defined.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// In the legend.
    pub name: String,
    /// One per month.
    pub values: Vec<Option<f64>>,
}

/// A picture could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("draw the picture: {0}")]
pub struct PlotError(String);

/// Two panels over the same months: shares from 0 to 1 above, amounts from 0 on below.
pub fn months(
    title: &str,
    months: &[String],
    shares: &[Series],
    amounts: &[Series],
    unit: &str,
) -> Result<String, PlotError> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let (above, below) = area.split_vertically(SIZE.1 / 2);
        panel(&above, title, months, shares, 1.0, "share")?;
        let most = amounts.iter().flat_map(|series| series.values.iter().flatten()).copied().fold(1.0, f64::max);
        panel(&below, "", months, amounts, most * 1.05, unit)?;
        area.present().map_err(failed)?;
    }
    Ok(text)
}

fn failed(error: impl std::fmt::Display) -> PlotError {
    PlotError(error.to_string())
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    months: &[String],
    series: &[Series],
    most: f64,
    unit: &str,
) -> Result<(), PlotError> {
    let last = months.len().saturating_sub(1).max(1) as f64;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(32)
        .y_label_area_size(56)
        .build_cartesian_2d(-0.2..last + 0.2, 0.0..most)
        .map_err(failed)?;
    let name = |place: &f64| {
        let whole = (place - place.round()).abs() < 1e-6;
        let month = if whole { months.get(place.round() as usize) } else { None };
        month.cloned().unwrap_or_default()
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(2 * months.len() + 1)
        .x_label_formatter(&name)
        .y_desc(unit)
        .draw()
        .map_err(failed)?;
    for (series, colour) in series.iter().zip(COLOURS.iter().cycle()) {
        let points: Vec<(f64, f64)> =
            series.values.iter().enumerate().filter_map(|(month, value)| Some((month as f64, (*value)?))).collect();
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))
            .map_err(failed)?
            .label(&series.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    let mut labels = chart.configure_series_labels();
    labels.background_style(WHITE.mix(0.8)).border_style(BLACK).draw().map_err(failed)
}
