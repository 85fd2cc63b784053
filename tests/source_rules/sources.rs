//! The sources of this workspace, as text.

use std::fs;
use std::path::{Path, PathBuf};

/// Modules of the peer that decide and do nothing: no socket, no clock, no wait.
pub(crate) const PURE: [&str; 23] = [
    "names",
    "offer",
    "trace_context",
    "words",
    "limits",
    "wire",
    "classify",
    "http",
    "mesh/tally",
    "mesh/routes",
    "mesh/pending",
    "mesh/returning",
    "mesh/unwell",
    "backend/health/judge",
    "observe/admin/connections",
    "trust/identity",
    "trust/permission",
    "trust/token",
    "listening/pace",
    "connecting/addresses",
    "connecting/backoff",
    "connecting/reserve",
    "stream/via/answer",
];

/// One source file.
pub(crate) struct Source {
    /// From the root of the workspace, with `/`.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
}

impl Source {
    /// The code without comments and without the unit tests at its end.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let code = self.text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let lines = code.lines().enumerate();
        lines.map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
    }

    /// Whether there is nothing but unit tests in it.
    pub(crate) fn is_test_only(&self) -> bool {
        self.path.ends_with("/tests.rs")
    }

    /// Whether this is the file of that module below `directory`, or of one within it.
    pub(crate) fn is_within(&self, directory: &str, module: &str) -> bool {
        is_within(&self.path, directory, module)
    }
}

/// Whether `path` is the file of that module below `directory`, or of one within it.
pub(crate) fn is_within(path: &str, directory: &str, module: &str) -> bool {
    let below = path.strip_prefix(directory).and_then(|path| path.strip_prefix('/'));
    let rest = below.and_then(|path| path.strip_prefix(module));
    rest.is_some_and(|rest| rest.starts_with(['/', '.']))
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All sources below a directory, in the order of their paths.
pub(crate) fn of(directory: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root().join(directory), &mut found);
    found.sort_by(|a: &Source, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "the sources of {directory} are not where this test looks");
    found
}

fn collect(directory: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let from_root = path.strip_prefix(root()).unwrap().to_str().unwrap();
            let text = fs::read_to_string(&path).unwrap();
            found.push(Source { path: from_root.replace('\\', "/"), text });
        }
    }
}

/// Fails with the rule and all that breaks it.
pub(crate) fn assert_none(broken: Vec<String>, rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n{}", broken.join("\n"));
}
