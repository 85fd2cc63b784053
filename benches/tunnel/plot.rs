//! The ratios as bars, in one self-contained SVG.

use std::fmt::Write;

use crate::table::{Figure, Table, YARDSTICK};

const BAR: f64 = 14.0;
const LEFT: f64 = 190.0;
/// Pixels of a ratio of one.
const UNIT: f64 = 170.0;
/// Bars longer than this ratio are cut; their number tells.
const LONGEST: f64 = 2.6;
const COLOURS: [&str; 5] = ["#9aa5b1", "#c0563b", "#d9a441", "#2f6f9f", "#5b9b6b"];

/// One group of bars for each figure, a line where the yardstick is.
pub(crate) fn ratios(table: &Table) -> String {
    let figures: Vec<Figure> = table.figures().collect();
    let group = BAR * table.rigs().len() as f64 + 16.0;
    let (width, height) = (LEFT + UNIT * LONGEST + 70.0, 40.0 + group * figures.len() as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (index, rig) in table.rigs().iter().enumerate() {
        let x = LEFT + 110.0 * index as f64;
        let colour = COLOURS[index % COLOURS.len()];
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"8\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"17\">{rig}</text>",
            x + 14.0
        );
    }
    for (row, figure) in figures.iter().enumerate() {
        let top = 34.0 + group * row as f64;
        let label = top + group / 2.0 - 4.0;
        let _ = writeln!(svg, "<text x=\"4\" y=\"{label}\">{}</text>", figure.label());
        for (index, rig) in table.rigs().iter().enumerate() {
            let ratio = table.ratio(*figure, rig);
            let y = top + BAR * index as f64;
            let length = ratio.min(LONGEST) * UNIT;
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"{}\" fill=\"{}\"/>\
                 <text x=\"{:.1}\" y=\"{}\">{ratio:.2}</text>",
                BAR - 2.0,
                COLOURS[index % COLOURS.len()],
                LEFT + length + 4.0,
                y + BAR - 4.0
            );
        }
    }
    let one = LEFT + UNIT;
    let _ = writeln!(
        svg,
        "<line x1=\"{one}\" y1=\"28\" x2=\"{one}\" y2=\"{height}\" stroke=\"#333\" \
         stroke-dasharray=\"3 3\"/>\n<!-- 1 is {YARDSTICK} -->\n</svg>"
    );
    svg
}
