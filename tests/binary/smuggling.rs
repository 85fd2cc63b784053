//! Requests that can be read in two ways, before backends that read them in different ones:
//! none of them sees a request that the peer has not counted.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client::connect;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

use crate::{Mesh, NAME, Path};

/// What is hidden behind each of these heads.
const HIDDEN: &str = "0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: app.example\r\n\r\n";

/// Fields that one server reads like this and another like that.
const FIELDS: &[&str] = &[
    "Content-Length: 5\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 5",
    "Content-Length: 0\r\nTransfer-Encoding: chunked",
    "Content-Length: 5\r\nTransfer-Encoding: xchunked",
    "Content-Length: 5\r\nTransfer-Encoding: identity",
    "Content-Length: 5\r\nContent-Length: 0",
    "Content-Length: 0\r\nContent-Length: 5",
    "Content-Length: 5\r\nContent-Length: 5",
    "Content-Length: 5, 0",
    "Content-Length: 5, 5",
    "Content-Length: 5,",
    "Content-Length: +5",
    "Content-Length: -5",
    "Content-Length: 0x5",
    "Content-Length: 05",
    "Content-Length: 5\t5",
    "Content-Length: 5.0",
    "Content-Length:",
    "Content-Length: 18446744073709551621",
    "Content-Length : 5",
    "Content-Length\0: 5",
    "Content-Length: 5\0",
    "Content Length: 5",
    "Content_Length: 5",
    "Content-Length",
    "Content-Length: 0\r\n Content-Length: 5",
    "X: y\nContent-Length: 5",
    "X: y\rContent-Length: 5",
    "X: y\n\nGET /hidden HTTP/1.1\r\nHost: app.example",
    "X: y\r\n\tContent-Length: 5",
    "Transfer-Encoding: chunked",
    "transfer-encoding: Chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunkedx",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: ,chunked",
    "Transfer-Encoding: chunked,",
    "Transfer-Encoding: \x0bchunked",
    "Transfer-Encoding:",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\t: chunked",
    " Transfer-Encoding: chunked",
    "X: y\r\n Transfer-Encoding: chunked",
    "X: y\rTransfer-Encoding: chunked",
    "X: y\nTransfer-Encoding: chunked",
    "Transfer_Encoding: chunked",
    "Connection: Content-Length\r\nContent-Length: 5",
    "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
    "Host: app.example",
    "Host: other.example",
    "X: y",
    ": 5",
];

/// Chunks that one server reads like this and another like that.
const CHUNKS: &[&str] = &[
    "5\r\nhello\r\n0\r\n\r\n",
    "5;a=b\r\nhello\r\n0\r\n\r\n",
    "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n",
    "5;\nhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "4\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "-0\r\n\r\n",
    "00\r\n\r\n",
    "0\n\n",
    "0\r\n\n",
    "0\r\nX: y\r\n\r\n",
    "0\r\nX: y\n\r\n",
    "0\r\nContent-Length: 5\r\n\r\n",
    "0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "10000000000000005\r\nhello\r\n0\r\n\r\n",
    "g\r\n\r\n",
    "\r\n0\r\n\r\n",
];

/// Every shape, with a request hidden in it where there is room.
fn shapes() -> Vec<String> {
    let with_fields = FIELDS
        .iter()
        .map(|fields| format!("POST /open HTTP/1.1\r\nHost: {NAME}\r\n{fields}\r\n\r\n{HIDDEN}"));
    let with_chunks = CHUNKS.iter().map(|body| {
        let head = "POST /open HTTP/1.1\r\nTransfer-Encoding: chunked";
        let hidden = HIDDEN.trim_start_matches("0\r\n\r\n");
        format!("{head}\r\nHost: {NAME}\r\n\r\n{body}{hidden}")
    });
    let get = format!("GET /open HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 5\r\n\r\n{HIDDEN}");
    let old = format!(
        "POST /open HTTP/1.0\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\n\r\n{HIDDEN}"
    );
    with_fields.chain(with_chunks).chain([get, old]).collect()
}

/// How a backend reads what it should not have been sent.
#[derive(Debug, Clone, Copy)]
enum Reading {
    /// By the letter, as hyper does.
    Strict,
    /// Whatever can be guessed; of two framings, the length.
    Length,
    /// Whatever can be guessed; of two framings, the coding, and of two lengths, the last.
    Coding,
}

type Seen = Arc<Mutex<Vec<String>>>;

/// A backend that notes the target of every request that it has read to its end, and says it
/// in the answer.
async fn backend(reading: Reading, seen: &Seen) -> Backend {
    let seen = Arc::clone(seen);
    Backend::start(move |stream| {
        let seen = Arc::clone(&seen);
        async move {
            match reading {
                Reading::Strict => serve_strictly(stream, &seen).await,
                // Whoever is cut off has read its last request.
                _ => drop(serve_leniently(stream, reading, &seen).await),
            }
        }
    })
    .await
}

async fn serve_strictly(stream: TcpStream, seen: &Seen) {
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| async {
        let target = request.uri().path().to_owned();
        request.into_body().collect().await?;
        seen.lock().unwrap().push(target.clone());
        Ok::<_, hyper::Error>(hyper::Response::new(Full::<bytes::Bytes>::from(target)))
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    let connection = server.half_close(true).serve_connection(TokioIo::new(stream), service);
    let _ = connection.await;
}

/// Ends with the connection. A line may end without CR and go on in the next one; a field may
/// have white space around its name; of a value, the part that makes sense counts.
async fn serve_leniently(stream: TcpStream, reading: Reading, seen: &Seen) -> std::io::Result<()> {
    let mut stream = BufStream::new(stream);
    loop {
        let mut line = line(&mut stream).await?;
        while line.is_empty() {
            line = self::line(&mut stream).await?;
        }
        let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut fields: Vec<String> = Vec::new();
        loop {
            let line = self::line(&mut stream).await?;
            match fields.last_mut() {
                _ if line.is_empty() => break,
                Some(last) if line.starts_with([' ', '\t']) => last.push_str(&line),
                _ => fields.push(line),
            }
        }
        let values = |wanted: &str| {
            let of = |field: &String| {
                let (name, value) = field.split_once(':')?;
                let name = name.trim_matches(|c: char| c.is_whitespace() || c.is_control());
                name.replace('_', "-").eq_ignore_ascii_case(wanted).then(|| value.to_lowercase())
            };
            fields.iter().filter_map(of).collect::<Vec<_>>()
        };
        let lengths = values("content-length");
        let length = match reading {
            Reading::Coding => lengths.last(),
            _ => lengths.first(),
        };
        let is_digit = |c: &char| c.is_ascii_digit();
        let digits = |value: &String| -> String {
            value.chars().skip_while(|c| !is_digit(c)).take_while(is_digit).collect()
        };
        let length: Option<u64> = length.and_then(|value| digits(value).parse().ok());
        let is_chunked = values("transfer-encoding").iter().any(|value| value.contains("chunked"));
        match length {
            Some(length) if !is_chunked || matches!(reading, Reading::Length) => {
                skip(&mut stream, length).await?;
            }
            _ if is_chunked => loop {
                let size = self::line(&mut stream).await?;
                let size = size.trim().trim_start_matches(['+', '-']).trim_start_matches("0x");
                let size: String = size.chars().take_while(char::is_ascii_hexdigit).collect();
                let size = u64::from_str_radix(&size, 16).unwrap_or(0);
                if size == 0 {
                    while !self::line(&mut stream).await?.is_empty() {}
                    break;
                }
                skip(&mut stream, size).await?;
                self::line(&mut stream).await?;
            },
            _ => {}
        }
        seen.lock().unwrap().push(target.clone());
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", target.len());
        stream.write_all((head + &target).as_bytes()).await?;
        stream.flush().await?;
    }
}

async fn line(stream: &mut BufStream<TcpStream>) -> std::io::Result<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line).await?;
    match line.pop() {
        Some(b'\n') => {}
        _ => return Err(std::io::ErrorKind::UnexpectedEof.into()),
    }
    if line.ends_with(b"\r") {
        line.pop();
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

async fn skip(stream: &mut BufStream<TcpStream>, length: u64) -> std::io::Result<()> {
    let skipped = tokio::io::copy(&mut stream.take(length), &mut tokio::io::sink()).await?;
    if skipped == length { Ok(()) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
}

/// The targets of the requests that were answered with 200, and the status of any other
/// answer.
fn answers(mut text: &str) -> (Vec<String>, Option<u16>) {
    let mut targets = Vec::new();
    while let Some((head, rest)) = text.split_once("\r\n\r\n") {
        let head = head.to_ascii_lowercase();
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap();
        let (body, rest) = rest.split_at(length.trim().parse().unwrap());
        if status != 200 {
            assert_eq!(rest, "", "nothing is served behind {status}");
            return (targets, Some(status));
        }
        targets.push(body.to_owned());
        text = rest;
    }
    assert_eq!(text, "");
    (targets, None)
}

/// What becomes of each shape before a backend that reads like this.
async fn outcomes(reading: Reading) -> Vec<(Vec<String>, Option<u16>)> {
    let seen = Seen::default();
    let backend = backend(reading, &seen).await;
    let mesh = Mesh::serving(Path::Tunnelled, backend.addr(), "").await;
    let mut outcomes = Vec::new();
    let mut counted = 0;
    for shape in shapes() {
        let mut stream = connect(mesh.addr()).await;
        stream.write_all(shape.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        // An aborted body resets the connection behind the answer, if there is one.
        let mut text = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut text)).await;
        let outcome = answers(&String::from_utf8(text).unwrap());
        let what = format!("{reading:?}: {shape:?}: {outcome:?}");
        counted += outcome.0.len();
        let metrics = mesh
            .public
            .until(&what, |metrics| {
                let answered = [("client_name", NAME), ("code", "2xx")];
                metrics.value("ops_proxy_http_requests_total", &answered) == counted as f64
            })
            .await;
        drop(metrics);
        assert_eq!(std::mem::take(&mut *seen.lock().unwrap()), outcome.0, "{what}");
        outcomes.push(outcome);
    }
    outcomes
}

#[tokio::test]
async fn every_backend_sees_what_the_peer_has_counted() {
    let strict = outcomes(Reading::Strict).await;
    let refused = strict.iter().filter(|(_, status)| status.is_some()).count();
    for reading in [Reading::Length, Reading::Coding] {
        for ((shape, strict), lenient) in shapes().iter().zip(&strict).zip(outcomes(reading).await)
        {
            assert_eq!(*strict, lenient, "{shape:?} means one thing");
        }
    }
    let hidden = |targets: &[String]| targets.iter().any(|target| target == "/hidden");
    let passed = strict.iter().filter(|(targets, _)| hidden(targets)).count();
    assert!(refused > 60 && passed > 5, "{refused} refused, {passed} passed on");
    eprintln!("{} shapes: {refused} refused, {passed} passed on whole", strict.len());
}
