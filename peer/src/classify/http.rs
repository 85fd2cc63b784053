//! The first request of a connection, as far as routing needs it. What a request head is,
//! [`http`](crate::http) decides.

mod head;
mod opening;

pub(super) use head::Head;
pub(super) use opening::opening;

#[cfg(test)]
mod tests;
