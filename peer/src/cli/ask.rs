//! Asks a running peer on its admin address.

use std::pin::pin;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::failure::Failure;
use super::settings::DEFAULT_ADMIN;
use crate::config::Endpoint;
use crate::limits::{ASK_BYTES, ASK_TIMEOUT};
use crate::observe::api::Problem;
use crate::stream::net::Net;
use crate::stream::net::tokio::TokioNet;

/// Which peer is asked.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Admin {
    /// The admin address of the peer to ask, as in its own --admin
    #[arg(long, env = "OPS_PROXY_ADMIN", value_name = "ADDR", default_value_t = DEFAULT_ADMIN.to_string())]
    admin: String,
}

/// An answer that is none.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// What was asked for is not there.
    NotFound(String),
    /// Anything else, in words that say what to do.
    Failed(String),
}

impl From<NoAnswer> for Failure {
    fn from(why: NoAnswer) -> Self {
        match why {
            NoAnswer::NotFound(why) | NoAnswer::Failed(why) => Self::Asked(why),
        }
    }
}

impl Admin {
    /// The address, for messages.
    pub(super) fn address(&self) -> &str {
        &self.admin
    }

    /// What the peer answers at `path`, below `/api/v1/`.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub(super) async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, NoAnswer> {
        let admin = &self.admin;
        let endpoint: Endpoint = admin.parse().map_err(|_| {
            NoAnswer::Failed(format!(
                "--admin {admin}: expected HOST:PORT, where the peer serves its admin pages"
            ))
        })?;
        let (status, body) = match timeout(ASK_TIMEOUT, get(&endpoint, path)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(self.nobody(&error)),
            Err(_) => return Err(self.nobody("no answer in time")),
        };
        if status == StatusCode::OK
            && let Ok(said) = serde_json::from_slice(&body)
        {
            return Ok(said);
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(Problem { error }) if status == StatusCode::NOT_FOUND => {
                Err(NoAnswer::NotFound(error))
            }
            Ok(Problem { error }) => Err(NoAnswer::Failed(format!("{admin} says: {error}"))),
            Err(_) => Err(NoAnswer::Failed(format!(
                "what answers on {admin} is no peer of this version (status {status}); is --admin right, and the peer as new as this program?"
            ))),
        }
    }

    fn nobody(&self, error: &str) -> NoAnswer {
        let admin = &self.admin;
        NoAnswer::Failed(format!(
            "nothing answers on {admin} ({error}); is the peer running, or has it another --admin?"
        ))
    }
}

async fn get(endpoint: &Endpoint, path: &str) -> Result<(StatusCode, Bytes), String> {
    let net = TokioNet;
    let addresses = net.resolve(&endpoint.host, endpoint.port).await.map_err(|e| e.to_string())?;
    let address = addresses.first().ok_or("its host has no address")?;
    let stream = net.connect(*address).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let request = Request::get(format!("/api/v1/{path}"))
        .header(HOST, endpoint.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ASK_BYTES).collect().await;
        Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
    };
    let mut answer = pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // What has come before the end is still to be read.
        _ = connection => answer.await,
    }
}
