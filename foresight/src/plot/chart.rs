//! Bars and lines of any figures.
//!
//! In: names or places with values, some of them unknown. Out: the text of an SVG. Promise: every text is escaped and
//! without control characters; axes begin at zero for bars; an unknown value is a gap. Never: more than [`MOST_BARS`]
//! bars or [`MOST_LINES`] lines; the note says what was left out.

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{COLOURS, PlotError, Series, failed};

/// Rows of bars that are drawn: more are not read.
pub const MOST_BARS: usize = 30;
/// Lines that are drawn: as many as there are colours.
pub const MOST_LINES: usize = COLOURS.len();

/// Width in pixels: a page's.
const WIDTH: u32 = 900;
/// Height of a picture of lines, in pixels.
const HEIGHT: u32 = 460;
/// Room for names left of bars, in pixels, and how many letters it holds.
const NAMES: (u32, usize) = (290, 40);
/// Room for title, note and legend, in pixels.
const HEAD: u32 = 78;
/// Room for the axis below, in pixels.
const FOOT: u32 = 48;
/// Height of a bar, in pixels.
const BAR: u32 = 16;
/// The text's size, in pixels.
const TEXT: i32 = 13;
/// Where the axis ends at most, in times the greatest value: limits of rows that hardly know anything leave the picture.
const BEYOND: f64 = 3.0;

/// Between which values the truth lies; a side that is not known is open.
pub type Limits = (Option<f64>, Option<f64>);

/// Bars from left to right, one row a name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bars {
    /// Above all.
    pub title: String,
    /// Below the title.
    pub note: String,
    /// What the values are, with their unit.
    pub axis: String,
    /// One a row.
    pub names: Vec<String>,
    /// Bars of each row.
    pub series: Vec<Series>,
    /// Of the first series; empty where there are none.
    pub limits: Vec<Limits>,
    /// A mark in each row.
    pub mark: Option<Series>,
}

/// What a place on the lower axis is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// A number.
    #[default]
    Number,
    /// Seconds since 1970 (UTC).
    Time,
}

/// Lines over numbers or time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Lines {
    /// Above all.
    pub title: String,
    /// Below the title.
    pub note: String,
    /// What the lower axis is.
    pub across: String,
    /// How its numbers are read.
    pub place: Place,
    /// What the values are.
    pub axis: String,
    /// Places, ascending.
    pub places: Vec<f64>,
    /// A value a place.
    pub series: Vec<Series>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws bars.
pub fn bars(bars: &Bars) -> Result<String, PlotError> {
    let rows = bars.names.len().min(MOST_BARS);
    let each = BAR * bars.series.len().max(1) as u32 + 8;
    let height = HEAD + FOOT + (each * rows.max(2) as u32);
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let left_out = bars.names.len() - rows;
        let note = match left_out {
            0 => bars.note.clone(),
            some => format!("{}the first {rows} rows, {some} more are not drawn", prefix(&bars.note)),
        };
        head(&area, &bars.title, &note)?;
        let names = bars.series.iter().chain(&bars.mark).map(|series| series.name.as_str());
        legend(&area, names, bars.mark.is_some())?;
        rows_of(&area, bars, rows)?;
        area.present().map_err(failed)?;
    }
    Ok(text)
}

fn rows_of(area: &Area<'_>, bars: &Bars, rows: usize) -> Result<(), PlotError> {
    let values = bars.series.iter().chain(&bars.mark).flat_map(|series| series.values.iter().take(rows).flatten());
    let greatest = values.copied().filter(|value| value.is_finite()).fold(0.0, f64::max);
    let uppers = bars.limits.iter().take(rows).filter_map(|limits| limits.1).filter(|upper| upper.is_finite());
    let upper = uppers.fold(0.0, f64::max);
    let most = if greatest > 0.0 { upper.min(greatest * BEYOND).max(greatest) } else { upper };
    let most = if most > 0.0 { most * 1.04 } else { 1.0 };
    let mut chart = ChartBuilder::on(area)
        .margin_top(HEAD)
        .margin_right(28)
        .x_label_area_size(FOOT)
        .y_label_area_size(NAMES.0)
        .build_cartesian_2d(0.0..most, 0.0..rows.max(1) as f64)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .disable_y_axis()
        .y_labels(0)
        .x_label_formatter(&number)
        .x_label_style(("sans-serif", TEXT))
        .axis_desc_style(("sans-serif", TEXT))
        .x_desc(clean(&bars.axis))
        .draw()
        .map_err(failed)?;
    let count = bars.series.len().max(1) as f64;
    for (row, name) in bars.names.iter().take(rows).enumerate() {
        let top = (rows - row) as f64;
        let (x, y) = chart.backend_coord(&(0.0, top - 0.5));
        let style = ("sans-serif", TEXT).into_text_style(area).pos(Pos::new(HPos::Right, VPos::Center));
        area.draw(&Text::new(shortened(name, NAMES.1), (x - 8, y), style)).map_err(failed)?;
        let edge = |part: f64| top - 0.12 - 0.76 * part / count;
        for (place, (series, colour)) in bars.series.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let value = known(series, row);
            if let Some(value) = value.filter(|value| *value > 0.0) {
                let corners = [(0.0, edge(place as f64)), (value.min(most), edge(place as f64 + 1.0))];
                chart.draw_series([Rectangle::new(corners, colour.mix(0.75).filled())]).map_err(failed)?;
            }
        }
        if let Some((lower, upper)) = bars.limits.get(row) {
            let middle = edge(0.5);
            let (from, to) = (lower.unwrap_or(0.0).clamp(0.0, most), upper.unwrap_or(most).clamp(0.0, most));
            let mut paths = vec![vec![(from, middle), (to, middle)]];
            // An end that lies beyond the picture has no stroke.
            let within = |end: &Option<f64>| end.filter(|end| (0.0..most).contains(end));
            for end in [lower, upper].into_iter().filter_map(within) {
                paths.push(vec![(end, middle - 0.14 / count), (end, middle + 0.14 / count)]);
            }
            chart
                .draw_series(paths.into_iter().map(|path| PathElement::new(path, BLACK.stroke_width(1))))
                .map_err(failed)?;
        }
        if let Some(value) = bars.mark.as_ref().and_then(|mark| known(mark, row)) {
            let at = (value.clamp(0.0, most), edge(count / 2.0));
            chart.draw_series([Circle::new(at, 4, mark_colour().filled())]).map_err(failed)?;
        }
    }
    Ok(())
}

fn known(series: &Series, row: usize) -> Option<f64> {
    series.values.get(row).copied().flatten().filter(|value| value.is_finite())
}

fn mark_colour() -> RGBColor {
    COLOURS[COLOURS.len() - 1]
}

/// Draws lines.
pub fn lines(lines: &Lines) -> Result<String, PlotError> {
    let drawn = &lines.series[..lines.series.len().min(MOST_LINES)];
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH, HEIGHT)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let note = match lines.series.len() - drawn.len() {
            0 => lines.note.clone(),
            some => format!("{}the first {MOST_LINES} columns, {some} more are not drawn", prefix(&lines.note)),
        };
        head(&area, &lines.title, &note)?;
        legend(&area, drawn.iter().map(|series| series.name.as_str()), false)?;
        let across = span(lines.places.iter().copied(), 0.0);
        let up = span(drawn.iter().flat_map(|series| series.values.iter().flatten()).copied(), 0.06);
        let mut chart = ChartBuilder::on(&area)
            .margin_top(HEAD)
            .margin_right(28)
            .margin_left(16)
            .x_label_area_size(FOOT)
            .y_label_area_size(76)
            .build_cartesian_2d(across.0..across.1, up.0..up.1)
            .map_err(failed)?;
        let place = |value: &f64| match lines.place {
            Place::Number => number(value),
            Place::Time => time(*value, across.1 - across.0),
        };
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_labels(8)
            .x_label_formatter(&place)
            .y_label_formatter(&number)
            .label_style(("sans-serif", TEXT))
            .axis_desc_style(("sans-serif", TEXT))
            .x_desc(clean(&lines.across))
            .y_desc(shortened(&lines.axis, 60))
            .draw()
            .map_err(failed)?;
        for (series, colour) in drawn.iter().zip(COLOURS.iter().cycle()) {
            for run in runs(&lines.places, &series.values) {
                let size = if run.len() == 1 { 3 } else { 0 };
                chart.draw_series(LineSeries::new(run, colour.stroke_width(2)).point_size(size)).map_err(failed)?;
            }
        }
        area.present().map_err(failed)?;
    }
    Ok(text)
}

/// Points without a gap between them.
fn runs(places: &[f64], values: &[Option<f64>]) -> Vec<Vec<(f64, f64)>> {
    let mut runs = vec![Vec::new()];
    for (place, value) in places.iter().zip(values) {
        match value.filter(|value| value.is_finite() && place.is_finite()) {
            Some(value) => runs.last_mut().into_iter().for_each(|run: &mut Vec<_>| run.push((*place, value))),
            None => runs.push(Vec::new()),
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

/// From the least to the greatest, with some air, and never of no width.
fn span(values: impl Iterator<Item = f64>, air: f64) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) =
        finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return (0.0, 1.0);
    }
    let air = if high > low { (high - low) * air } else { low.abs().max(1.0) * 0.5 };
    (low - air, high + air)
}

fn head(area: &Area<'_>, title: &str, note: &str) -> Result<(), PlotError> {
    area.draw(&Text::new(shortened(title, 90), (16, 12), ("sans-serif", 18))).map_err(failed)?;
    let style = ("sans-serif", TEXT).into_font().color(&BLACK.mix(0.65));
    area.draw(&Text::new(shortened(note, 130), (16, 36), style)).map_err(failed)
}

fn legend<'a>(area: &Area<'_>, names: impl Iterator<Item = &'a str>, marked: bool) -> Result<(), PlotError> {
    let names: Vec<String> = names.map(|name| shortened(name, 36)).collect();
    if names.len() < 2 {
        return Ok(());
    }
    let mut x = 16;
    for (place, name) in names.iter().enumerate() {
        if marked && place + 1 == names.len() {
            area.draw(&Circle::new((x + 6, 63), 4, mark_colour().filled())).map_err(failed)?;
        } else {
            let colour = COLOURS[place % COLOURS.len()];
            area.draw(&Rectangle::new([(x, 57), (x + 12, 69)], colour.mix(0.75).filled())).map_err(failed)?;
        }
        area.draw(&Text::new(name.clone(), (x + 18, 56), ("sans-serif", TEXT))).map_err(failed)?;
        x += 40 + 7 * name.chars().count() as i32;
    }
    Ok(())
}

fn prefix(note: &str) -> String {
    if note.is_empty() { String::new() } else { format!("{note}; ") }
}

/// Without what SVG cannot hold.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') { '\u{fffd}' } else { c }).collect()
}

fn shortened(text: &str, most: usize) -> String {
    let text = clean(text);
    if text.chars().count() <= most {
        return text;
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// A number with as many digits as an axis needs.
fn number(value: &f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        "0".into()
    } else if !(1e-3..1e6).contains(&size) {
        format!("{value:.1e}")
    } else {
        let text = format!("{value:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

fn time(seconds: f64, width: f64) -> String {
    let Ok(at) = jiff::Timestamp::from_second(seconds.round() as i64) else { return String::new() };
    let form = if width > 3.0 * 86_400.0 { "%Y-%m-%d" } else { "%d %H:%M" };
    at.strftime(form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, values: &[Option<f64>]) -> Series {
        Series { name: name.into(), values: values.to_vec() }
    }

    fn some() -> Bars {
        Bars {
            title: "A < B & \"C\"".into(),
            note: "of acme\u{1b}[31m".into(),
            axis: "failures per 1000 device-months".into(),
            names: vec!["WM-1".into(), "<script>alert('x')</script>".into(), "n".repeat(100)],
            series: vec![series("now", &[Some(2.0), None, Some(0.0)]), series("then", &[Some(1.0), Some(3.0), None])],
            limits: vec![(Some(1.0), Some(900.0)), (None, None), (Some(0.5), None)],
            mark: Some(series("expected", &[Some(1.5), Some(f64::NAN), None])),
        }
    }

    #[test]
    fn names_values_and_axes_stand_in_the_picture_escaped() {
        let svg = bars(&some()).unwrap();
        for said in ["WM-1", "A &lt; B &amp; &quot;C&quot;", "&lt;script&gt;", "device-months", "expected", "now"] {
            assert!(svg.contains(said), "{said} is not in the picture:\n{svg}");
        }
        assert!(!svg.contains("<script") && !svg.contains('\u{1b}') && !svg.contains("NaN"), "{svg}");
        assert!(svg.contains(&format!("{}…", "n".repeat(39))), "{svg}");
        assert_eq!(svg, bars(&some()).unwrap());
    }

    #[test]
    fn what_is_too_much_is_left_out_and_said() {
        let many = Bars {
            names: (0..40).map(|row| format!("row {row}")).collect(),
            series: vec![series("x", &[Some(1.0); 40])],
            ..Bars::default()
        };
        let svg = bars(&many).unwrap();
        assert!(svg.contains("the first 30 rows, 10 more are not drawn") && !svg.contains("row 30"), "{svg}");
    }

    #[test]
    fn nothing_is_an_empty_picture() {
        assert!(bars(&Bars::default()).unwrap().contains("<svg"));
        assert!(lines(&Lines::default()).unwrap().contains("<svg"));
        let one = Lines { places: vec![5.0], series: vec![series("x", &[Some(2.0)])], ..Lines::default() };
        assert!(lines(&one).unwrap().contains("<circle"));
    }

    #[test]
    fn a_line_has_gaps_and_dates() {
        let day = 86_400.0;
        let lines_of = Lines {
            title: "vibration".into(),
            across: "time (UTC)".into(),
            place: Place::Time,
            axis: "mm/s".into(),
            places: (0..10).map(|place| 1_795_219_200.0 + f64::from(place) * day).collect(),
            series: vec![series("a", &[Some(1.0), Some(2.0), None, Some(3.0), Some(4.0)])],
            ..Lines::default()
        };
        let svg = lines(&lines_of).unwrap();
        assert!(svg.contains("2026-11-2") && svg.contains("mm/s"), "{svg}");
        let drawn = svg.lines().filter(|line| line.contains("<polyline") && line.contains("#0072B2")).count();
        assert_eq!(drawn, 2, "{svg}");
    }

    #[test]
    fn numbers_are_short() {
        let told = [0.0, 0.25, 12.5, 1200.0, 2e7, 1e-5].map(|value| number(&value));
        assert_eq!(told, ["0", "0.25", "12.5", "1200", "2.0e7", "1.0e-5"]);
    }
}
