//! The page itself.

use std::fmt::Write;

use super::html::escape;
use super::{plots, sequence};
use crate::run::Played;
use crate::scenario::Scenario;

const STYLE: &str = "
:root { color-scheme: light dark; font: 14px/1.45 system-ui, sans-serif; }
body { margin: 2em auto; max-width: 75em; padding: 0 1em; }
h1 { font-size: 1.4em; } h2 { font-size: 1.1em; margin-top: 2em; }
pre, svg text { font-family: ui-monospace, monospace; font-size: 11px; }
pre { overflow-x: auto; padding: 1em; background: color-mix(in srgb, currentColor 7%, transparent); }
.wide { overflow-x: auto; } .plots svg { max-width: 100%; }
svg { display: block; } svg text { fill: currentColor; }
.ok { color: #2a8f4f; } .bad { color: #d23c3c; } .faint { opacity: .6; }
.host { stroke: currentColor; opacity: .25; } .step { fill: #d2823c; opacity: .18; }
.link { stroke: #3c78d2; } .data { stroke: #2a8f4f; } .other { stroke: #8a8a8a; }
.broken { stroke: #d23c3c; } .end { stroke: currentColor; opacity: .5; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(22em, 1fr)); gap: 1.5em; }
details > summary { cursor: pointer; }
";

/// The page for a run that was recorded.
pub fn page(scenario: &Scenario, played: &Played) -> String {
    let mut page = String::new();
    let title = escape(&scenario.title);
    let verdict = match &played.failure {
        None => "<span class=\"ok\">all promises kept</span>".to_owned(),
        Some(failure) => format!("<span class=\"bad\">{}</span>", escape(failure)),
    };
    let lasted = humantime::format_duration(played.lasted);
    // Writing to a String does not fail.
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <style>{STYLE}</style>\n<h1>{title}</h1>\n<p>{}</p>\n\
         <p>Seed {}, {lasted} of simulated time, hash {:016x}: {verdict}</p>\n",
        escape(&scenario.about),
        played.seed,
        played.hash,
    );
    let _ = write!(page, "<h2>Metrics over time</h2>\n{}", plots::of(played));
    let _ = write!(
        page,
        "<h2>Who spoke to whom</h2>\n<div class=\"wide\">{}</div>",
        sequence::of(scenario, played)
    );
    let _ = write!(
        page,
        "<h2>What was told</h2>\n<pre>{}</pre>\n\
         <details><summary>The scenario</summary><pre>{}</pre></details>\n</html>\n",
        escape(&played.story()),
        escape(&scenario.to_toml()),
    );
    page
}
