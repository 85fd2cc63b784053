//! The sequence diagram: a column for each host, time downwards, not to scale.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::html::escape;
use crate::connection::End;
use crate::run::Played;
use crate::scenario::Scenario;
use crate::tap::Role;
use crate::trace::What;

/// Rows drawn; a longer run says how much was left out.
const MOST_ROWS: usize = 1500;

const ROW: usize = 16;
const TOP: usize = 30;
const LEFT: usize = 80;
const COLUMN: usize = 170;

/// One row of the diagram.
enum Row {
    /// Across all columns.
    Step(String),
    /// From one host to another.
    Arrow { from: usize, to: usize, class: &'static str, text: String },
    /// At one host.
    Mark { host: usize, class: &'static str, text: String },
}

/// A connection's two hosts and what it is.
struct Known {
    hosts: [usize; 2],
    role: Role,
    /// The last REGISTER: the same again is a heartbeat, and not drawn.
    registered: String,
    heartbeats: usize,
}

impl Known {
    fn new(hosts: [usize; 2]) -> Self {
        Self { hosts, role: Role::Other, registered: String::new(), heartbeats: 0 }
    }

    /// Whether a line is a heartbeat, or the answer to one.
    fn is_heartbeat(&mut self, line: &str) -> bool {
        if line.starts_with("REGISTER:") {
            let again = self.registered == line;
            self.heartbeats += usize::from(again);
            line.clone_into(&mut self.registered);
            return again;
        }
        let answer = line.starts_with("OK:") && self.heartbeats > 0;
        self.heartbeats -= usize::from(answer);
        answer
    }
}

struct Diagram<'a> {
    columns: Vec<&'a str>,
    connections: BTreeMap<u64, Known>,
    rows: Vec<(Duration, Row)>,
    /// Bytes of one direction that are not drawn yet.
    bulk: Option<(Duration, u64, End, usize)>,
}

pub(super) fn of(scenario: &Scenario, played: &Played) -> String {
    let columns = scenario.hosts().collect();
    let mut diagram =
        Diagram { columns, connections: BTreeMap::new(), rows: Vec::new(), bulk: None };
    for event in &played.events {
        diagram.take(event.at, &event.host, &event.what);
    }
    diagram.flush();
    diagram.draw()
}

impl Diagram<'_> {
    fn column(&self, host: &str) -> usize {
        let name = host.split(':').next().unwrap_or(host);
        self.columns.iter().position(|column| *column == name).unwrap_or(0)
    }

    fn take(&mut self, at: Duration, host: &str, what: &What) {
        if let What::Wrote { conn, end, bytes, .. } = what {
            return self.wrote(at, *conn, *end, *bytes);
        }
        // Reading follows from writing, and logs are in the trace.
        if matches!(
            what,
            What::Read { .. }
                | What::SawEnd { .. }
                | What::Log { .. }
                | What::Sent { .. }
                | What::Received { .. }
        ) {
            return;
        }
        if !matches!(what, What::Line { .. }) {
            self.flush();
        }
        let here = self.column(host);
        let row = match what {
            What::Accepted { conn, from, to } => {
                let hosts = [self.column(from), self.column(to)];
                self.connections.insert(*conn, Known::new(hosts));
                let text = format!("[{conn}] connects to {to}");
                Row::Arrow { from: hosts[0], to: hosts[1], class: "end", text }
            }
            What::Line { conn, end, line } => return self.line(at, *conn, *end, line),
            What::DialFailed { to, error } => {
                Row::Mark { host: here, class: "bad", text: format!("{to}: {error}") }
            }
            What::Failed { conn, error, .. } => {
                Row::Mark { host: here, class: "bad", text: format!("[{conn}] {error}") }
            }
            What::Finished { conn, end } => {
                self.arrow(*conn, *end, "end", format!("[{conn}] ends"))
            }
            What::Aborted { conn, end } => {
                self.arrow(*conn, *end, "broken", format!("[{conn}] reset"))
            }
            What::Closed { conn, .. } => {
                Row::Mark { host: here, class: "faint", text: format!("[{conn}] closed") }
            }
            What::Step { number, title } => Row::Step(format!("step {number}: {title}")),
            What::Outcome { text } => Row::Step(text.clone()),
            What::Wrote { .. }
            | What::Read { .. }
            | What::SawEnd { .. }
            | What::Sent { .. }
            | What::Received { .. }
            | What::Log { .. } => {
                return;
            }
        };
        self.rows.push((at, row));
    }

    fn arrow(&self, conn: u64, end: End, class: &'static str, text: String) -> Row {
        let hosts = self.connections.get(&conn).map_or([0, 0], |known| known.hosts);
        let (from, to) = (hosts[end as usize], hosts[end.other() as usize]);
        Row::Arrow { from, to, class, text }
    }

    fn class(&self, conn: u64) -> &'static str {
        match self.connections.get(&conn).map(|known| known.role) {
            Some(Role::Link) => "link",
            Some(Role::Data) => "data",
            _ => "other",
        }
    }

    fn wrote(&mut self, at: Duration, conn: u64, end: End, bytes: usize) {
        match &mut self.bulk {
            Some((_, same, direction, sum)) if *same == conn && *direction == end => *sum += bytes,
            _ => {
                self.flush();
                self.bulk = Some((at, conn, end, bytes));
            }
        }
    }

    /// A line says more than how many bytes it was.
    fn line(&mut self, at: Duration, conn: u64, end: End, line: &str) {
        let role = match line {
            _ if line.starts_with("HELLO:") => Some(Role::Link),
            _ if line.starts_with("DATA:") => Some(Role::Data),
            _ => None,
        };
        if let Some((role, known)) = role.zip(self.connections.get_mut(&conn)) {
            known.role = role;
        }
        if self.bulk.is_some_and(|(_, same, ..)| same == conn) {
            self.bulk = None;
        }
        if self.connections.get_mut(&conn).is_some_and(|known| known.is_heartbeat(line)) {
            return;
        }
        let row = self.arrow(conn, end, self.class(conn), format!("[{conn}] {line}"));
        self.rows.push((at, row));
    }

    fn flush(&mut self) {
        if let Some((at, conn, end, bytes)) = self.bulk.take() {
            let row = self.arrow(conn, end, self.class(conn), format!("[{conn}] {bytes} B"));
            self.rows.push((at, row));
        }
    }

    fn draw(&self) -> String {
        let rows = self.rows.len().min(MOST_ROWS);
        let (width, height) = (LEFT + COLUMN * self.columns.len(), TOP + ROW * (rows + 1));
        let mut out = format!(
            "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\
             <defs><marker id=\"tip\" viewBox=\"0 0 6 6\" refX=\"6\" refY=\"3\" markerWidth=\"6\" \
             markerHeight=\"6\" orient=\"auto\"><path d=\"M0 0L6 3L0 6z\" fill=\"context-stroke\"/>\
             </marker></defs>\n"
        );
        for (index, column) in self.columns.iter().enumerate() {
            let x = centre(index);
            let _ = writeln!(
                out,
                "<text x=\"{x}\" y=\"14\" text-anchor=\"middle\">{}</text>\
                 <path class=\"host\" d=\"M{x} {TOP}V{height}\"/>",
                escape(column)
            );
        }
        for (index, (at, row)) in self.rows.iter().take(MOST_ROWS).enumerate() {
            draw_row(&mut out, TOP + ROW * (index + 1), *at, row, width);
        }
        out.push_str("</svg>\n");
        if self.rows.len() > rows {
            let _ = writeln!(out, "<p>{} more rows were left out.</p>", self.rows.len() - rows);
        }
        out
    }
}

fn centre(column: usize) -> usize {
    LEFT + COLUMN * column + COLUMN / 2
}

fn draw_row(out: &mut String, y: usize, at: Duration, row: &Row, width: usize) {
    let seconds = at.as_secs_f64();
    let _ = write!(out, "<text class=\"faint\" x=\"4\" y=\"{y}\">{seconds:.3} s</text>");
    let _ = match row {
        Row::Step(text) => writeln!(
            out,
            "<rect class=\"step\" x=\"{LEFT}\" y=\"{}\" width=\"{}\" height=\"{ROW}\"/>\
             <text x=\"{}\" y=\"{y}\">{}</text>",
            y - ROW + 4,
            width - LEFT,
            LEFT + 6,
            escape(text)
        ),
        Row::Arrow { from, to, class, text } => {
            let (x1, x2) = (centre(*from), centre(*to));
            writeln!(
                out,
                "<path class=\"{class}\" d=\"M{x1} {0}H{x2}\" marker-end=\"url(#tip)\"/>\
                 <text x=\"{1}\" y=\"{2}\" text-anchor=\"middle\">{3}</text>",
                y + 1,
                x1.midpoint(x2),
                y - 2,
                escape(&short(text))
            )
        }
        Row::Mark { host, class, text } => writeln!(
            out,
            "<text class=\"{class}\" x=\"{}\" y=\"{y}\">{}</text>",
            centre(*host) + 4,
            escape(&short(text))
        ),
    };
}

fn short(text: &str) -> String {
    const MOST: usize = 48;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
