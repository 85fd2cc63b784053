//! CONNECT, as a client of an HTTP proxy (RFC 9110 §9.3.6).

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::answer::{Answer, NotHttp, read_answer};
use super::error::{Remedy, Trouble};
use crate::config::{Endpoint, Via};
use crate::limits::VIA_HEAD_BYTES;

/// Has the proxy at the other end of `stream` connect it to `upstream`. Has no deadline:
/// the caller sets one.
///
/// # Errors
/// [`Trouble`].
pub(super) async fn ask<S>(stream: &mut S, via: &Via, upstream: &Endpoint) -> Result<(), Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(request(via, upstream).as_bytes()).await.map_err(Trouble::Broken)?;
    stream.flush().await.map_err(Trouble::Broken)?;
    let foreign = |what| Trouble::Foreign(what, via.set_by);
    let mut read = Vec::new();
    loop {
        match read_answer(&read).map_err(|NotHttp| foreign("this is not HTTP"))? {
            Some(answer) if answer.is_interim() => drop(read.drain(..answer.length)),
            Some(answer) if !answer.is_success() => return Err(refused(&answer, via, upstream)),
            // A listening peer waits for our first line: nobody but the proxy said this.
            Some(answer) if answer.length < read.len() => {
                return Err(foreign("bytes came behind its answer"));
            }
            Some(_) => return Ok(()),
            None if read.len() == VIA_HEAD_BYTES => return Err(foreign("its answer has no end")),
            None => {
                let room = (VIA_HEAD_BYTES - read.len()) as u64;
                let more = (&mut *stream).take(room).read_buf(&mut read).await;
                if more.map_err(Trouble::Broken)? == 0 {
                    return Err(Trouble::Closed(via.set_by));
                }
            }
        }
    }
}

fn request(via: &Via, upstream: &Endpoint) -> String {
    let login = via.login.as_ref().map(|login| {
        // RFC 7617 §2.
        let pair = BASE64.encode(format!("{}:{}", login.user, login.password));
        format!("Proxy-Authorization: Basic {pair}\r\n")
    });
    let login = login.unwrap_or_default();
    format!(
        "CONNECT {upstream} HTTP/1.1\r\nHost: {upstream}\r\nUser-Agent: ops-proxy\r\n{login}\r\n"
    )
}

fn refused(answer: &Answer, via: &Via, upstream: &Endpoint) -> Trouble {
    let remedy = match answer.status {
        401 | 407 => Remedy::login(via),
        403 | 405 => Remedy::Allow,
        500 | 502..=504 => Remedy::Reach,
        _ => Remedy::Ask,
    };
    Trouble::Refused { upstream: upstream.clone(), said: answer.said(), remedy }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn via(url: &str) -> Via {
        Via::parse(url, "--via").unwrap()
    }

    /// What comes of asking a proxy that answers so, in pieces of this size.
    async fn asked(url: &str, answer: &str, piece: usize) -> Result<(), String> {
        let (mut ours, mut proxy) = duplex(64 * 1024);
        let answering = async {
            let mut request = vec![0; request(&via(url), &hub()).len()];
            proxy.read_exact(&mut request).await.unwrap();
            for piece in answer.as_bytes().chunks(piece) {
                // Whoever has read enough does not take the rest.
                let _ = proxy.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            drop(proxy);
        };
        let via = via(url);
        let upstream = hub();
        let (asked, ()) = tokio::join!(
            async {
                let asked = ask(&mut ours, &via, &upstream).await;
                drop(ours);
                asked
            },
            answering
        );
        asked.map_err(|trouble| trouble.to_string())
    }

    fn hub() -> Endpoint {
        "hub.example:8443".parse().unwrap()
    }

    #[test]
    fn the_proxy_is_asked_for_the_name_as_it_was_written() {
        let asks = |url, upstream: &str| request(&via(url), &upstream.parse().unwrap());
        assert_eq!(
            asks("http://proxy", "hub.example:8443"),
            "CONNECT hub.example:8443 HTTP/1.1\r\nHost: hub.example:8443\r\n\
             User-Agent: ops-proxy\r\n\r\n"
        );
        assert!(asks("http://proxy", "[::1]:1").starts_with("CONNECT [::1]:1 HTTP/1.1\r\n"));
        // The example of RFC 7617 §2.
        let asks = asks("http://Aladdin:open%20sesame@proxy", "hub:1");
        assert!(asks.contains("\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"));
    }

    #[tokio::test]
    async fn an_answer_counts_however_it_is_cut() {
        let ok = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nVia: 1.1 x\r\n\r\n";
        for piece in [1, 7, 1000] {
            assert_eq!(asked("http://proxy", ok, piece).await, Ok(()));
        }
    }

    #[tokio::test]
    async fn a_refusal_says_its_status_and_the_remedy() {
        let refusal = |status: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno");
        for (url, status, remedy) in [
            ("http://u:wrong@proxy", "407 Proxy Authentication Required", "in --via"),
            ("http://proxy", "407 Proxy Authentication Required", "USER:PASSWORD@"),
            ("http://proxy", "403 Filtered", "allow"),
            ("http://proxy", "503 Service Unavailable", "--connect"),
            ("http://proxy", "429 Too Many Requests", "ask whoever"),
        ] {
            let said = asked(url, &refusal(status), 1000).await.unwrap_err();
            let begins = format!("refused to connect to hub.example:8443: {status}; ");
            assert!(said.starts_with(&begins) && said.contains(remedy), "{said}");
            assert!(!said.contains("wrong"), "{said}");
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_of_a_proxy_is_said() {
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(VIA_HEAD_BYTES));
        for (answer, why) in [
            ("", "closed the connection"),
            ("HTTP/1.1 200", "closed the connection"),
            ("SSH-2.0-OpenSSH\r\n", "not HTTP"),
            ("HTTP/1.1 200 OK\r\n\r\nhello", "bytes came behind"),
            (&endless, "no end"),
        ] {
            let said = asked("http://proxy", answer, 10_000).await.unwrap_err();
            assert!(said.contains(why), "{answer:?}: {said}");
        }
    }
}
