//! SOCKS version 5, as its client (RFC 1928, RFC 1929).

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_socks::Error;
use tokio_socks::tcp::Socks5Stream;

use super::error::{Remedy, Trouble};
use crate::config::{Endpoint, Via};

/// Has the proxy at the other end of `stream` connect it to `upstream`. Reads not a byte
/// behind its answer. Has no deadline: the caller sets one.
///
/// # Errors
/// [`Trouble`].
pub(super) async fn ask<S>(stream: &mut S, via: &Via, upstream: &Endpoint) -> Result<(), Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let target = (upstream.host.as_str(), upstream.port);
    let asked = match &via.login {
        None => Socks5Stream::connect_with_socket(stream, target).await,
        Some(login) => {
            let (user, password) = (login.user.as_str(), login.password.as_str());
            Socks5Stream::connect_with_password_and_socket(stream, target, user, password).await
        }
    };
    asked.map(drop).map_err(|error| trouble(error, via, upstream))
}

fn trouble(error: Error, via: &Via, upstream: &Endpoint) -> Trouble {
    let (said, remedy) = match error {
        Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Trouble::Closed(via.set_by);
        }
        Error::Io(error) => return Trouble::Broken(error),
        Error::NoAcceptableAuthMethods | Error::AuthorizationRequired => {
            ("authentication required", Remedy::login(via))
        }
        Error::PasswordAuthFailure(_) => ("authentication failed", Remedy::login(via)),
        Error::ConnectionNotAllowedByRuleset => ("not allowed by its rules", Remedy::Allow),
        Error::NetworkUnreachable => ("network unreachable", Remedy::Reach),
        Error::HostUnreachable => ("host unreachable", Remedy::Reach),
        Error::ConnectionRefused => ("connection refused", Remedy::Reach),
        Error::TtlExpired => ("TTL expired", Remedy::Reach),
        Error::GeneralSocksServerFailure => ("general failure", Remedy::Reach),
        Error::CommandNotSupported => ("CONNECT is not supported", Remedy::Ask),
        Error::AddressTypeNotSupported => ("this kind of address is not supported", Remedy::Ask),
        Error::InvalidTargetAddress(what) => (what, Remedy::Reach),
        _ => return Trouble::Foreign("this is not SOCKS version 5", via.set_by),
    };
    Trouble::Refused { upstream: upstream.clone(), said: said.to_owned(), remedy }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// What comes of asking a proxy that answers so, and what it was asked.
    async fn asked(url: &str, upstream: &str, answer: &[u8]) -> (Result<(), String>, Vec<u8>) {
        let via = Via::parse(url, "--via").unwrap();
        let upstream = upstream.parse().unwrap();
        let (mut ours, mut proxy) = duplex(1024);
        proxy.write_all(answer).await.unwrap();
        proxy.shutdown().await.unwrap();
        let asked = ask(&mut ours, &via, &upstream).await;
        drop(ours);
        let mut said = Vec::new();
        proxy.read_to_end(&mut said).await.unwrap();
        (asked.map_err(|trouble| trouble.to_string()), said)
    }

    #[tokio::test]
    async fn names_go_to_the_proxy_as_they_are_and_addresses_as_addresses() {
        const GRANTED: &[u8] = &[5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for url in ["socks5://proxy", "socks5h://proxy"] {
            let (answer, said) = asked(url, "hub.example:258", GRANTED).await;
            assert_eq!(answer, Ok(()));
            let wanted = [&[5, 1, 0, 5, 1, 0, 3, 11][..], b"hub.example", &[1, 2]].concat();
            assert_eq!(said, wanted, "{url}");
            let (answer, said) = asked(url, "10.0.0.1:258", GRANTED).await;
            assert_eq!((answer, said), (Ok(()), vec![5, 1, 0, 5, 1, 0, 1, 10, 0, 0, 1, 1, 2]));
        }
    }

    #[tokio::test]
    async fn a_refusal_says_its_meaning_and_the_remedy() {
        for (url, answer, words) in [
            ("socks5://u:wrong@proxy", &[5, 2, 1, 1][..], ["authentication failed", "in --via"]),
            ("socks5://proxy", &[5, 0xff], ["authentication required", "USER:PASSWORD@"]),
            ("socks5://proxy", &[5, 0, 5, 2, 0, 1], ["not allowed", "allow"]),
            ("socks5://proxy", &[5, 0, 5, 4, 0, 1], ["host unreachable", "--connect"]),
            ("socks5://proxy", &[5, 0, 5, 5, 0, 1], ["connection refused", "--connect"]),
            ("socks5://proxy", &[5, 0, 5, 8, 0, 1], ["kind of address", "ask whoever"]),
            ("socks5://proxy", b"HTTP/1.1 400", ["not SOCKS version 5", "scheme"]),
            ("socks5://proxy", &[5], ["closed the connection", "scheme"]),
        ] {
            let said = asked(url, "hub:1", answer).await.0.unwrap_err();
            assert!(words.iter().all(|word| said.contains(word)), "{answer:?}: {said}");
            assert!(!said.contains("wrong"), "{said}");
        }
    }
}
