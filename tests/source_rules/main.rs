//! Rules for the sources that neither the compiler nor clippy knows.
#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod circles;
mod code_map;
mod folders;
mod imports;
mod lines;
mod links;
mod module_tree;
mod secrets;
mod seeded_bugs;
mod sources;
