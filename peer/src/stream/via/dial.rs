//! Dials a proxy and has it connect to somebody.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::error::{Trouble, ViaError};
use super::{connect, socks};
use crate::config::{Endpoint, Via, ViaScheme};
use crate::stream::dial::dial;
use crate::stream::net::Net;
use crate::stream::resolve::Resolver;

/// A connection to `upstream` through `via`, all `within` this time. Nothing that
/// `upstream` says has been read from it.
///
/// # Errors
/// [`ViaError`].
pub async fn dial_via<N: Net>(
    resolver: &Resolver<N>,
    via: &Via,
    upstream: &Endpoint,
    within: Duration,
) -> Result<N::Stream, ViaError> {
    let deadline = Instant::now() + within;
    let failed = |trouble| ViaError::new(via, trouble);
    let dialled = dial(resolver, &via.endpoint, within).await;
    let mut stream = dialled.map_err(|error| failed(error.into()))?;
    let asking = async {
        match via.scheme {
            ViaScheme::Http => connect::ask(&mut stream, via, upstream).await,
            ViaScheme::Socks5 | ViaScheme::Socks5h => socks::ask(&mut stream, via, upstream).await,
        }
    };
    let late = || Trouble::Late(upstream.clone());
    let asked = timeout_at(deadline, asking).await.unwrap_or_else(|_| Err(late()));
    asked.map_err(failed)?;
    Ok(stream)
}
