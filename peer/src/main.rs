//! The `ops-proxy` command.
fn main() {}
