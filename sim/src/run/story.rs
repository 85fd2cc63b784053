//! What a run has to tell, as text to compare with last time's.

use std::fmt::Write;

use super::played::Played;
use crate::client::Outcome;

impl Played {
    /// The metrics of all listening peers at every checkpoint and at the end, and
    /// what each client saw. Leaves out what says nothing about behaviour: help
    /// texts, buckets, the version, random ids.
    pub fn story(&self) -> String {
        let mut story = String::new();
        for kept in &self.kept {
            let _ = writeln!(story, "== {}: metrics of {}", kept.label, kept.peer);
            for line in kept.text.lines().filter(|line| tells(line)) {
                let labels = format!(",node=\"{}\",pod=\"sim\"", kept.peer);
                let alone = format!("{{node=\"{}\",pod=\"sim\"}}", kept.peer);
                let first = format!("{{node=\"{}\",pod=\"sim\",", kept.peer);
                let line = line.replace(&labels, "").replace(&alone, "").replace(&first, "{");
                let _ = writeln!(story, "{}", line.trim_start_matches("ops_proxy_"));
            }
            story.push('\n');
        }
        let _ = writeln!(story, "== clients");
        for same in self.outcomes.chunk_by(|a, b| alike(a) == alike(b)) {
            let times =
                if same.len() > 1 { format!(" ({} alike)", same.len()) } else { String::new() };
            let _ = writeln!(story, "{}{times}", same[0]);
        }
        for (conn, heard) in &self.raws {
            let text = String::from_utf8_lossy(&heard.received);
            let shown: String = without_ids(&text).chars().take(400).collect();
            let ended = heard.ended.as_deref().unwrap_or("open");
            let _ = writeln!(story, "raw {conn}: {ended}, received {shown:?}");
        }
        story
    }
}

/// An outcome without the numbers that tell one of many from the next.
fn alike(outcome: &Outcome) -> String {
    let text = Outcome { number: 0, ..outcome.clone() }.to_string();
    let (name, rest) = text.split_once(" at ").unwrap_or((&text, ""));
    format!("{} at {rest}", name.replace(|c: char| c.is_ascii_digit(), ""))
}

fn tells(line: &str) -> bool {
    !line.starts_with('#') && !line.contains("_bucket{") && !line.contains("build_info")
}

/// Random ids say nothing: the text with each in its place.
fn without_ids(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let digits = rest[start..].bytes().take_while(u8::is_ascii_hexdigit).count();
        out.push_str(&rest[..start]);
        out.push_str(if digits == 32 { "<id>" } else { &rest[start..start + digits] });
        rest = &rest[start + digits..];
    }
    out.push_str(rest);
    out
}
