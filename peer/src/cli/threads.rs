//! The threads of a process that runs a peer.

use std::num::NonZero;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};

use super::failure::Failure;
use crate::workers::Workers;

/// Threads, at most, that do what is not a connection's: links, the admin server, checks.
const MOST_BESIDE: u16 = 4;

/// Starts as many workers as asked for, or one per core, and the runtime for everything else.
///
/// # Errors
/// The system's own, with what to do.
pub(super) fn start(asked: Option<NonZero<u16>>) -> Result<(Runtime, Workers), Failure> {
    let cores = || available_parallelism().ok()?.try_into().ok();
    let count = asked.or_else(cores).unwrap_or(NonZero::<u16>::MIN);
    let workers = Workers::start(count).map_err(|source| Failure::Workers { count, source })?;
    let beside = count.get().min(MOST_BESIDE).into();
    let runtime = Builder::new_multi_thread().worker_threads(beside).enable_all().build()?;
    Ok((runtime, workers))
}
