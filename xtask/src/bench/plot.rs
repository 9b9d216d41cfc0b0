//! Rates by callers as a picture (SVG).

use std::ops::Range;

use anyhow::Context;
use plotters::prelude::*;

use super::side::Side;
use super::statistics::Spread;

/// Pixels of a page in a README.
const SIZE: (u32, u32) = (720, 420);

/// Room above the highest figure.
const HEADROOM: f64 = 1.15;

/// One line of the picture.
#[derive(Debug)]
pub struct Curve<'a> {
    /// For the legend.
    pub name: &'a str,
    /// Its points, in any order.
    pub sides: Vec<&'a Side>,
}

/// Draws sales a second by callers; bars show the lowest and the highest round.
///
/// # Errors
///
/// There is nothing to draw.
pub fn rates(title: &str, curves: &[Curve<'_>]) -> anyhow::Result<String> {
    let points: Vec<Vec<(f64, Spread)>> = curves.iter().map(points).collect();
    let (callers, rates) = ranges(&points).context("there is nothing to draw")?;
    let mut picture = String::new();
    {
        let area = SVGBackend::with_string(&mut picture, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 20))
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(callers.log_scale(), rates)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc("callers")
            .y_desc("sales a second (median; bars: lowest and highest round)")
            .x_label_formatter(&|callers| format!("{callers:.0}"))
            .y_label_formatter(&|rate| format!("{rate:.0}"))
            .draw()?;
        for ((curve, points), colour) in curves.iter().zip(&points).zip([RED, BLUE, BLACK].into_iter().cycle()) {
            let line = points.iter().map(|(callers, rate)| (*callers, rate.median));
            chart
                .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
                .label(curve.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
            chart.draw_series(points.iter().map(|(callers, rate)| {
                ErrorBar::new_vertical(*callers, rate.low, rate.median, rate.high, colour.filled(), 8)
            }))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE)
            .border_style(BLACK)
            .draw()?;
        area.present()?;
    }
    Ok(picture)
}

/// Draws how long each load took, a bar from the fastest round to the slowest.
///
/// # Errors
///
/// There is nothing to draw.
pub fn seconds(title: &str, sides: &[&Side]) -> anyhow::Result<String> {
    let took = |side: &&Side| {
        let sales = side.sales as f64 / side.rates.len().max(1) as f64;
        Spread::of(&side.rates.iter().map(|rate| sales / rate).collect::<Vec<_>>())
    };
    let bars: Vec<Spread> = sides.iter().filter_map(took).collect();
    let longest =
        Spread::of(&bars.iter().map(|bar| bar.high).collect::<Vec<_>>()).context("there is nothing to draw")?;
    let (end, rows) = ((longest.high * HEADROOM).max(0.1), bars.len() as f64);
    let mut picture = String::new();
    {
        let area = SVGBackend::with_string(&mut picture, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 20))
            .margin(16)
            .x_label_area_size(44)
            .build_cartesian_2d(0.0..end, 0.0..rows)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc("seconds (median; bars: fastest and slowest round)")
            .draw()?;
        for (row, (side, bar)) in sides.iter().zip(&bars).enumerate() {
            let (low, colour) = (row as f64, if side.is_ours { RED } else { BLUE });
            chart.draw_series([Rectangle::new(
                [(0.0, low + 0.25), (bar.median, low + 0.75)],
                colour.mix(0.6).filled(),
            )])?;
            chart.draw_series([ErrorBar::new_horizontal(
                low + 0.5,
                bar.low,
                bar.median,
                bar.high,
                BLACK.filled(),
                8,
            )])?;
            let text = format!("{}: {:.1} s", side.load, bar.median);
            chart.draw_series([Text::new(text, (end / 100.0, low + 0.95), ("sans-serif", 15))])?;
        }
        area.present()?;
    }
    Ok(picture)
}

/// Draws how long each side takes, a bar from the fastest round to the slowest, by factors of ten: a name, milliseconds of
/// the rounds, and whether it is ours.
///
/// # Errors
///
/// There is nothing to draw.
pub fn milliseconds(title: &str, sides: &[(String, Vec<f64>, bool)]) -> anyhow::Result<String> {
    let bars: Vec<_> =
        sides.iter().filter_map(|(name, rounds, is_ours)| Some((name, Spread::of(rounds)?, *is_ours))).collect();
    let bounds = |of: fn(&Spread) -> f64| bars.iter().map(|(_, bar, _)| of(bar)).collect::<Vec<_>>();
    let fastest = Spread::of(&bounds(|bar| bar.low)).context("there is nothing to draw")?.low;
    let slowest = Spread::of(&bounds(|bar| bar.high)).context("there is nothing to draw")?.high;
    let (begin, end) = (fastest.max(0.001) / 4.0, slowest.max(0.002) * 2.0);
    let mut picture = String::new();
    {
        let area = SVGBackend::with_string(&mut picture, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 20))
            .margin(16)
            .x_label_area_size(44)
            .build_cartesian_2d((begin..end).log_scale(), 0.0..bars.len() as f64)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc("milliseconds, by factors of ten (median; bars: fastest and slowest round)")
            .draw()?;
        for (row, (name, bar, is_ours)) in bars.iter().enumerate() {
            let (low, colour) = (row as f64, if *is_ours { RED } else { BLUE });
            let corners = [(begin, low + 0.2), (bar.median, low + 0.6)];
            chart.draw_series([Rectangle::new(corners, colour.mix(0.6).filled())])?;
            let spread = ErrorBar::new_horizontal(low + 0.4, bar.low, bar.median, bar.high, BLACK.filled(), 8);
            chart.draw_series([spread])?;
            let text = format!("{name}: {:.1} ms", bar.median);
            chart.draw_series([Text::new(text, (begin * 1.05, low + 0.95), ("sans-serif", 15))])?;
        }
        area.present()?;
    }
    Ok(picture)
}

fn points(curve: &Curve<'_>) -> Vec<(f64, Spread)> {
    let point = |side: &&Side| Some((f64::from(side.callers), Spread::of(&side.rates)?));
    let mut points: Vec<(f64, Spread)> = curve.sides.iter().filter_map(point).collect();
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    points
}

/// From the fewest callers to the most, with some air, and from nothing to the highest rate.
fn ranges(curves: &[Vec<(f64, Spread)>]) -> Option<(Range<f64>, Range<f64>)> {
    let callers = Spread::of(&curves.iter().flatten().map(|point| point.0).collect::<Vec<_>>())?;
    let highest = Spread::of(&curves.iter().flatten().map(|point| point.1.high).collect::<Vec<_>>())?.high;
    Some((callers.low / 1.3..callers.high * 1.3, 0.0..(highest * HEADROOM).max(1.0)))
}

#[cfg(test)]
mod tests {
    use super::super::loader::Way;
    use super::super::measure::Load;
    use super::super::side::tests::sample;
    use super::*;

    #[test]
    fn a_picture_names_its_curves_and_their_axes() {
        let ours: Vec<Side> =
            [8, 64].map(|callers| Side::of(Load::callers(callers), &[sample(100), sample(200)])).into();
        let peer = Side::of(Load::Pgbench(8), &[sample(150)]);
        let curves =
            [Curve { name: "Tandem", sides: ours.iter().collect() }, Curve { name: "pgbench", sides: vec![&peer] }];
        let picture = rates("Writes", &curves).unwrap();
        assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"), "{picture}");
        for word in ["Writes", "Tandem", "pgbench", "callers", "sales a second"] {
            assert!(picture.contains(word), "{word} is missing in {picture}");
        }
    }

    #[test]
    fn a_picture_of_times_names_each_load_and_how_long_it_took() {
        let load = |way| Load::Bulk { sales: 100, way };
        let ours = Side::of(load(Way::SeedBulk), &[sample(200)]);
        let peer = Side::of(load(Way::CopyInParts), &[sample(100)]);
        let picture = seconds("Seed", &[&ours, &peer]).unwrap();
        for word in ["Seed", "seed --via bulk: 1.0 s", "psql COPY, in parts: 1.0 s"] {
            assert!(picture.contains(word), "{word} is missing in {picture}");
        }
        assert!(seconds("Seed", &[]).is_err());
    }

    #[test]
    fn a_picture_of_milliseconds_names_each_side_and_how_long_it_took() {
        let sides = [("ours".to_owned(), vec![0.5], true), ("SQL".to_owned(), vec![200.0, 300.0, 250.0], false)];
        let picture = milliseconds("Figures", &sides).unwrap();
        for word in ["Figures", "ours: 0.5 ms", "SQL: 250.0 ms"] {
            assert!(picture.contains(word), "{word} is missing in {picture}");
        }
        assert!(milliseconds("Figures", &[]).is_err());
    }

    #[test]
    fn nothing_to_draw_is_an_error() {
        assert!(rates("Writes", &[Curve { name: "Tandem", sides: Vec::new() }]).is_err());
    }
}
