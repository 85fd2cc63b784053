//! `/api/v1/`: what the status page shows, for programs.

use hyper::StatusCode;
use serde::Serialize;

use percent_encoding::percent_decode_str;

use super::gather::{self, Wanted};
use super::summary::settings;
use crate::limits::{API_ROWS, STATUS_NAMES};
use crate::names::ProxyId;
use crate::observe::api::Problem;
use crate::shared::Shared;
use crate::stream::net::Net;

/// What is answered, in JSON.
pub(super) type Said = (StatusCode, Vec<u8>);

/// The answer to `path`, below `/api/v1/`.
pub(super) async fn answer<N: Net>(shared: &Shared<N>, path: &str, query: &str) -> Said {
    let wanted = match wanted(query) {
        Ok(wanted) => wanted,
        Err(problem) => return refuse(StatusCode::BAD_REQUEST, &problem),
    };
    match path {
        "peer" => say(&gather::peer(shared).await),
        "names" => say(&gather::names(shared, wanted).await),
        "links" => say(&gather::links(shared, &wanted)),
        "requests" => say(&gather::requests(shared, wanted).await),
        "errors" => say(&gather::errors(shared, wanted.limit)),
        "certificates" => say(&gather::certificates(shared, &wanted)),
        "config" => say(&settings(&shared.config())),
        _ => match path.strip_prefix("requests/") {
            Some(id) => one_request(shared, id),
            None => {
                let there =
                    "peer, names, links, requests, requests/ID, errors, certificates or config";
                refuse(StatusCode::NOT_FOUND, &format!("try {there}, all below /api/v1/"))
            }
        },
    }
}

/// What is known of one request. An id with the number of an HTTP request behind it, as in the
/// access log, is the same.
fn one_request<N: Net>(shared: &Shared<N>, id: &str) -> Said {
    let stretch = id.split('.').next().unwrap_or_default();
    let Ok(id) = stretch.parse::<ProxyId>() else {
        let problem = "not a proxy id: expected 32 lower-case hex digits, as in the log";
        return refuse(StatusCode::BAD_REQUEST, problem);
    };
    let found = gather::found(shared, id);
    match found.total {
        0 => refuse(StatusCode::NOT_FOUND, "this peer knows no such request, or none any more"),
        _ => say(&found),
    }
}

fn wanted(query: &str) -> Result<Wanted, String> {
    let mut wanted = Wanted::first(API_ROWS);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "limit" => match value.parse() {
                Ok(limit @ 1..=STATUS_NAMES) => wanted.limit = limit,
                _ => return Err(format!("limit: expected a number from 1 to {STATUS_NAMES}")),
            },
            "after" => match percent_decode_str(value).decode_utf8() {
                Ok(after) => wanted.after = Some(after.into_owned()),
                Err(_) => return Err("after: expected what `next` said".to_owned()),
            },
            _ => return Err("expected limit=NUMBER and after=NEXT, and nothing else".to_owned()),
        }
    }
    Ok(wanted)
}

fn say(what: &impl Serialize) -> Said {
    (StatusCode::OK, serde_json::to_vec(what).expect("these types have a form in JSON"))
}

fn refuse(status: StatusCode, error: &str) -> Said {
    let problem = Problem { error: error.to_owned() };
    (status, serde_json::to_vec(&problem).expect("text has a form in JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_rows_is_asked_for_within_bounds() {
        let both = wanted("limit=5&after=%2A.example").unwrap();
        assert_eq!(both, Wanted { after: Some("*.example".to_owned()), limit: 5 });
        assert_eq!(wanted("").unwrap(), Wanted::first(API_ROWS));
        for bad in ["limit=0", "limit=1001", "limit=x", "limit", "colour=red", "after=%ff"] {
            assert!(wanted(bad).is_err(), "{bad}");
        }
    }
}
