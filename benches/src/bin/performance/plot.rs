//! Plots: lines over a logarithmic axis, as SVG.

use std::path::Path;

use plotters::prelude::*;

use crate::Fault;

pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

const SIZE: (u32, u32) = (720, 400);
const COLOURS: [RGBColor; 2] = [RGBColor(0x1f, 0x5f, 0x8b), RGBColor(0xc0, 0x5a, 0x1e)];

/// Draws lines. The y axis begins at zero: what looks flat is.
pub(crate) fn plot(file: &Path, title: &str, x: &str, y: &str, lines: &[Line]) -> Result<(), Fault> {
    let all = || lines.iter().flat_map(|line| line.points.iter());
    let least = all().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let most = all().map(|point| point.0).fold(0.0, f64::max);
    let highest = all().map(|point| point.1).fold(0.0, f64::max);
    if !(least > 0.0 && highest > 0.0) {
        return Err(format!("{title}: there is nothing to draw").into());
    }
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d((least * 0.9..most * 1.1).log_scale(), 0.0..highest * 1.15)?;
    let label = |value: &f64| match value {
        value if *value >= 1e6 => format!("{} M", value / 1e6),
        value if *value >= 1e3 => format!("{} k", value / 1e3),
        value => format!("{value}"),
    };
    chart.configure_mesh().x_desc(x).y_desc(y).x_label_formatter(&label).light_line_style(WHITE).draw()?;
    for (line, colour) in lines.iter().zip(COLOURS) {
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), colour.stroke_width(2)).point_size(3))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3)).draw()?;
    area.present()?;
    Ok(())
}
