//! Links between the documents lead to a file, and to a heading in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::sources::{assert_none, root};

/// The documents of these folders, each with its folder.
fn documents() -> Vec<(PathBuf, PathBuf)> {
    let folders = ["", "docs", "docs/cookbook", "scenarios"].map(|folder| root().join(folder));
    let listed = folders.into_iter().flat_map(|folder| {
        let entries = fs::read_dir(&folder).unwrap();
        entries.map(move |entry| (folder.clone(), entry.unwrap().path()))
    });
    listed.filter(|(_, path)| path.extension().is_some_and(|it| it == "md")).collect()
}

/// The lines outside of blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// What headings are linked by: as GitHub and mdbook make it.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

fn links(text: &str) -> impl Iterator<Item = &str> {
    let links = prose(text).flat_map(|line| line.split("](").skip(1));
    links.filter_map(|rest| rest.split(')').next()).filter(|link| !link.contains("://"))
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let (mut dead, mut followed) = (Vec::new(), 0);
    for (folder, document) in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&text) {
            followed += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { document.clone() } else { folder.join(path) };
            let has = |anchor| anchors(&fs::read_to_string(&target).unwrap()).contains(anchor);
            if !target.exists() || !anchor.is_empty() && !has(anchor) {
                dead.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(followed > 100, "only {followed} links were found");
    assert_none(dead, "a link leads nowhere");
}

#[test]
fn the_book_has_every_document_of_its_folder() {
    let docs = root().join("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let listed: BTreeSet<PathBuf> = links(&summary).map(|link| docs.join(link)).collect();
    let documents = documents().into_iter().map(|(_, path)| path);
    let missing = documents.filter(|path| path.starts_with(&docs) && !path.ends_with("SUMMARY.md"));
    let missing = missing.filter(|path| !listed.contains(path));
    assert_none(missing.map(|path| path.display().to_string()).collect(), "not in docs/SUMMARY.md");
}
