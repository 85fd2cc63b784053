//! What a client says and hears on one connection, by protocol.

use std::io;

use tokio::io::{AsyncRead, ReadHalf, WriteHalf};

use super::conversation::converse;
use super::directions::{both, failed};
use super::hello::client_hello;
use super::orders::Order;
use super::outcome::Ending;
use super::pace::{Cuts, Reader, Writer};
use super::progress::Progress;
use super::script::claims;
use super::told::{Asked, Told};
use crate::ground::Ground;
use crate::message::TOLD;
use crate::payload::{ENDLESS, GREETING, Pattern};
use crate::scenario::steps::{Request, Talk, Via, plain_name};

/// Longest answer head that a client takes.
const HEAD_BYTES: usize = 4096;

/// Content type of a record with an alert, and how long that is (RFC 8446 §5.1, §6).
const ALERT: u8 = 21;
const ALERT_RECORD_BYTES: usize = 7;

/// Carries out one request on a fresh connection.
pub(super) async fn run<N: Ground>(
    net: &N,
    progress: &mut Progress<N>,
    stream: N::Stream,
    order: &Order,
) -> Ending {
    let (read, write) = tokio::io::split(stream);
    let mut hand = Hand::new(progress, order, read, write);
    let end = match hand.exchange().await {
        Ok(end) | Err(end) => end,
    };
    let Hand { reader, writer, .. } = hand;
    let stream = reader.into_inner().unsplit(writer.into_inner());
    match end {
        // A client that has enough, or sees garbage, does not say goodbye.
        Ending::Left | Ending::Corrupt(_) => net.abort(stream),
        _ => drop(stream),
    }
    end
}

/// One client's hand on one connection.
struct Hand<'a, N: Ground> {
    progress: &'a Progress<N>,
    request: &'a Request,
    order: &'a Order,
    reader: Reader<ReadHalf<N::Stream>>,
    writer: Writer<WriteHalf<N::Stream>>,
    /// What backends have said so far that they were told.
    told: Told,
    seed: u64,
}

impl<'a, N: Ground> Hand<'a, N> {
    fn new(
        progress: &'a Progress<N>,
        order: &'a Order,
        read: ReadHalf<N::Stream>,
        write: WriteHalf<N::Stream>,
    ) -> Self {
        let request = &order.request;
        let rate = request.read_rate.map(|rate| rate.0);
        let seed = progress.number() as u64 + 1;
        let cuts = Cuts::of(request, seed);
        let (reader, writer) = (Reader::new(read, rate), Writer::new(write, cuts));
        Self { progress, request, order, reader, writer, told: Told::default(), seed }
    }

    async fn exchange(&mut self) -> Result<Ending, Ending> {
        if let Some(ip) = self.request.speaks_for {
            let port = 10_000 + self.progress.number() % 50_000;
            let header = format!("PROXY TCP4 {ip} 192.0.2.1 {port} 80\r\n");
            self.writer.send(header.as_bytes()).await.map_err(failed)?;
        }
        match self.request.via {
            Via::Http if !self.request.exchanges.is_empty() => {
                let (reader, writer) = (&mut self.reader, &mut self.writer);
                converse(self.progress, self.order, self.seed, reader, writer).await
            }
            Via::Http => {
                for turn in 0..self.request.keep_alive {
                    let (end, is_last) = self.http(turn).await?;
                    if end != Ending::Status(200) || turn + 1 == self.request.keep_alive {
                        return Ok(end);
                    }
                    if is_last {
                        return Ok(Ending::Closed);
                    }
                }
                Ok(Ending::Closed)
            }
            Via::Connect => {
                let name = &self.request.name;
                let head = format!("CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\n\r\n");
                self.writer.send(head.as_bytes()).await.map_err(failed)?;
                let status = self.head().await?.status;
                if status == 200 { self.talk(Vec::new()).await } else { Ok(Ending::Status(status)) }
            }
            Via::Tls => {
                let mut random = [0; 32];
                Pattern(self.seed).fill(0, &mut random);
                self.talk(client_hello(self.request, &random)).await
            }
            Via::Tcp => self.talk(Vec::new()).await,
            Via::Http2 | Via::Udp => unreachable!("they are driven in ways of their own"),
        }
    }

    /// One HTTP request and its answer; whether that says that the connection closes.
    async fn http(&mut self, turn: u32) -> Result<(Ending, bool), Ending> {
        let (request, progress) = (self.request, self.progress);
        let up = Pattern(self.seed << 16 | u64::from(turn) << 1);
        let down = Pattern(up.0 | 1);
        let method = request.method.as_deref().unwrap_or("GET");
        let (line, claims) =
            (format!("{method} /{}?seed={}", request.download, up.0), claims(request));
        let head = format!(
            "{line} HTTP/1.1\r\nHost: {}\r\n{claims}Content-Length: {}\r\n\r\n",
            request.name, request.upload
        );
        // What it says of clients may be removed.
        let lasting = head.len() - claims.len();
        let sending = async {
            self.writer.send(head.as_bytes()).await?;
            progress.sent_head(lasting as u64);
            self.writer.send_pattern(up, request.upload.0, |bytes| progress.sent(bytes)).await
        };
        let abort_after = request.abort_after.map_or(u64::MAX, |size| size.0);
        let hearing = async {
            let AnswerHead { status, length, is_last, told } =
                head_of(&mut self.reader, progress).await?;
            let mut got = 0;
            while got < length {
                let mut buffer = [0; 4096];
                let most = buffer.len().min(usize::try_from(length - got).unwrap_or(usize::MAX));
                let bytes = self.reader.read(&mut buffer[..most]).await.map_err(failed)?;
                if bytes == 0 {
                    return Err(Ending::Cut);
                }
                if status == 200 && !down.matches(got, &buffer[..bytes]) {
                    return Err(Ending::Corrupt(format!("download at byte {got}")));
                }
                got += bytes as u64;
                progress.received(bytes as u64);
                if got >= abort_after {
                    return Err(Ending::Left);
                }
            }
            Ok((status, is_last, told))
        };
        let (status, is_last, told) = both(sending, hearing).await?;
        if status == 200 {
            self.was_told(told.as_deref()).map_err(Ending::Corrupt)?;
        }
        Ok((Ending::Status(status), is_last))
    }

    /// What the backend says that it was told of the client.
    fn was_told(&mut self, said: Option<&str>) -> Result<(), String> {
        let Order { client, request, answered_by, .. } = self.order;
        let Some(by) = answered_by.first() else { return Ok(()) };
        let (host, name, claims) = (&request.name, &plain_name(&request.name), &request.claims);
        let asked = Asked { client, tells: &by.tells, host, name, claims };
        if self.told.check(said, asked, |id| self.progress.is_new(id))? {
            self.progress.was_told();
        }
        Ok(())
    }

    /// A stream: what the opening and the pattern say, and what comes back.
    async fn talk(&mut self, opening: Vec<u8>) -> Result<Ending, Ending> {
        let (request, progress) = (self.request, self.progress);
        // A ClientHello goes first, whoever speaks first behind it.
        self.writer.send(&opening).await.map_err(failed)?;
        if request.talk == Talk::Greeting {
            let mut greeting = vec![0; GREETING.len()];
            let (first, rest) = greeting.split_at_mut(1);
            let heard = match self.reader.read_exact(first).await {
                Ok(()) if first[0] == ALERT && !opening.is_empty() => {
                    return Err(alert(&mut self.reader, first).await);
                }
                Ok(()) => self.reader.read_exact(rest).await,
                failed => failed,
            };
            match heard {
                Ok(()) if greeting == GREETING => progress.answered(),
                Ok(()) => return Err(Ending::Corrupt("greeting".to_owned())),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(Ending::Closed);
                }
                Err(error) => return Err(failed(error)),
            }
        }
        let pattern = if request.talk == Talk::Listen { ENDLESS } else { Pattern(self.seed) };
        let expected = match request.talk {
            Talk::Listen => u64::MAX,
            _ => opening.len() as u64 + request.upload.0,
        };
        let half_close = request.half_close;
        let sending = async {
            self.writer.send_pattern(pattern, request.upload.0, |n| progress.sent(n)).await?;
            if half_close { self.writer.finish().await } else { Ok(()) }
        };
        let abort_after = request.abort_after.map_or(u64::MAX, |size| size.0);
        let reader = &mut self.reader;
        let hearing = async {
            let end = hear(reader, progress, &opening, pattern, expected, abort_after).await?;
            // After everything came, nothing more may.
            let mut byte = [0];
            if half_close && reader.read(&mut byte).await.map_err(failed)? > 0 {
                return Err(Ending::Corrupt("bytes after the end".to_owned()));
            }
            Ok(end)
        };
        both(sending, hearing).await
    }

    async fn head(&mut self) -> Result<AnswerHead, Ending> {
        head_of(&mut self.reader, self.progress).await
    }
}

async fn hear<N: Ground>(
    reader: &mut Reader<ReadHalf<N::Stream>>,
    progress: &Progress<N>,
    opening: &[u8],
    pattern: Pattern,
    expected: u64,
    abort_after: u64,
) -> Result<Ending, Ending> {
    let mut got = 0;
    while got < expected {
        let mut buffer = [0; 4096];
        let bytes = reader.read(&mut buffer).await.map_err(failed)?;
        let heard = &buffer[..bytes];
        if bytes == 0 {
            return Err(if got == 0 { Ending::Closed } else { Ending::Cut });
        }
        progress.answered();
        if got == 0 && !opening.is_empty() && heard[0] == ALERT {
            return Err(alert(reader, heard).await);
        }
        for (at, byte) in (got..).zip(heard) {
            let right = match usize::try_from(at).ok().and_then(|at| opening.get(at)) {
                Some(expected) => byte == expected,
                None => pattern.matches(at - opening.len() as u64, std::slice::from_ref(byte)),
            };
            if !right || at >= expected {
                return Err(Ending::Corrupt(format!("echo at byte {at}")));
            }
        }
        got += bytes as u64;
        progress.received(bytes as u64);
        if got >= abort_after {
            return Err(Ending::Left);
        }
    }
    Ok(Ending::Whole)
}

/// The alert whose record has begun to come.
async fn alert<R: AsyncRead + Unpin>(reader: &mut Reader<R>, heard: &[u8]) -> Ending {
    let mut record = heard.to_vec();
    while record.len() < ALERT_RECORD_BYTES {
        let mut buffer = [0; ALERT_RECORD_BYTES];
        match reader.read(&mut buffer).await {
            Ok(bytes) if bytes > 0 => record.extend_from_slice(&buffer[..bytes]),
            _ => break,
        }
    }
    Ending::Alert(record.get(ALERT_RECORD_BYTES - 1).copied().unwrap_or(0))
}

/// What a client goes by of the head of an answer.
struct AnswerHead {
    status: u16,
    /// Of its body, in bytes.
    length: u64,
    /// It says that the connection closes.
    is_last: bool,
    /// What its backend says that it was told.
    told: Option<String>,
}

async fn head_of<N: Ground>(
    reader: &mut Reader<ReadHalf<N::Stream>>,
    progress: &Progress<N>,
) -> Result<AnswerHead, Ending> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if reader.read(&mut byte).await.map_err(failed)? == 0 {
            return Err(if head.is_empty() { Ending::Closed } else { Ending::Cut });
        }
        progress.answered();
        head.push(byte[0]);
        if head.len() > HEAD_BYTES {
            return Err(Ending::Corrupt("endless answer head".to_owned()));
        }
    }
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut answer = httparse::Response::new(&mut fields);
    if !answer.parse(&head).is_ok_and(|status| status.is_complete()) {
        return Err(Ending::Corrupt("no HTTP answer".to_owned()));
    }
    let field = |name: &str| answer.headers.iter().find(|one| one.name.eq_ignore_ascii_case(name));
    let length = field("content-length")
        .and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok())
        .unwrap_or(0);
    let is_last = field("connection").is_some_and(|field| field.value == b"close");
    let told = field(TOLD).map(|field| String::from_utf8_lossy(field.value).into_owned());
    Ok(AnswerHead { status: answer.code.unwrap_or(0), length, is_last, told })
}
