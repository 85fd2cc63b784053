//! HTTP/2 in clear text (RFC 9113 §3.3), as far as it takes to see that every request of a
//! connection is for the same name. Only header blocks are read; all else passes.

mod frame;
mod hpack;
mod request;
mod watch;

pub use frame::{GOAWAY_NO_ERROR, answer, goaway, greeting};
pub use watch::{PREFACE, Watch};

#[cfg(test)]
mod tests;
