//! Which trace a request belongs to, as the header `traceparent` tells it, and as what.
//! Source: "Trace Context", version 1, w3.org/TR/trace-context.

use std::fmt;
use std::str::FromStr;

/// A trace, and the span in it that causes what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; not all zeros.
    pub trace: [u8; 16],
    /// The span; not all zeros.
    pub span: [u8; 8],
    /// Whether it is recorded.
    pub is_sampled: bool,
}

/// What a request is in its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Itself.
    pub context: TraceContext,
    /// The span that has caused it; none if the trace begins with it.
    pub parent: Option<[u8; 8]>,
}

/// The text is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent: expected VERSION-TRACE-SPAN-FLAGS in lower-case hex digits")]
pub struct BadTraceContext;

impl TraceContext {
    /// What the head of an HTTP/1 request says; nothing if it says so twice, or wrongly.
    pub fn of_head(head: &[u8]) -> Option<Self> {
        let lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
        let fields = lines.skip(1).take_while(|line| !line.is_empty());
        let mut values = fields.filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = line.split_at(colon);
            name.eq_ignore_ascii_case(b"traceparent").then(|| value[1..].trim_ascii())
        });
        let value = values.next().filter(|_| values.next().is_none())?;
        std::str::from_utf8(value).ok()?.parse().ok()
    }
}

impl FromStr for TraceContext {
    type Err = BadTraceContext;

    fn from_str(text: &str) -> Result<Self, BadTraceContext> {
        // Later versions may say more behind what this one says.
        let (known, more) = text.split_at_checked(55).ok_or(BadTraceContext)?;
        let parts: Vec<&str> = known.split('-').collect();
        let &[version, trace, span, flags] = &parts[..] else { return Err(BadTraceContext) };
        let [version] = hex(version)?;
        let says_more =
            if version == 0 { more.is_empty() } else { more.is_empty() || more.starts_with('-') };
        let (trace, span, [flags]) = (hex(trace)?, hex(span)?, hex(flags)?);
        match says_more && version != 0xff && trace != [0; 16] && span != [0; 8] {
            true => Ok(Self { trace, span, is_sampled: flags & 1 == 1 }),
            false => Err(BadTraceContext),
        }
    }
}

/// So many bytes, in lower-case hex digits.
fn hex<const N: usize>(text: &str) -> Result<[u8; N], BadTraceContext> {
    let digits = text.as_bytes();
    let is_digit = |digit: &u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(digit);
    if digits.len() != 2 * N || !digits.iter().all(is_digit) {
        return Err(BadTraceContext);
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| (pair[at] as char).to_digit(16).ok_or(BadTraceContext);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Ok(bytes)
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        self.trace.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("-")?;
        self.span.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(if self.is_sampled { "-01" } else { "-00" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_no_traceparent_is_refused() {
        let context: TraceContext = GOOD.parse().unwrap();
        assert!(context.is_sampled && context.trace[0] == 0x4b && context.span[7] == 0xb7);
        assert!(!GOOD.replace("-01", "-00").parse::<TraceContext>().unwrap().is_sampled);
        // Of a later version, which says more.
        let later = GOOD.replacen("00", "cc", 1);
        assert_eq!(format!("{later}-more").parse(), Ok(context));
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            &GOOD.to_uppercase(),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replace("00f067aa0ba902b7", "0000000000000000"),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &format!("{GOOD}-more"),
            &format!("{later}more"),
            &GOOD.replace('-', "_"),
            &format!("ä{}", &GOOD[1..]),
        ] {
            assert_eq!(bad.parse::<TraceContext>(), Err(BadTraceContext), "{bad}");
        }
    }

    #[test]
    fn a_head_says_it_once_or_not_at_all() {
        let of = |fields: &str| {
            let head = format!("GET /traceparent:{GOOD} HTTP/1.1\r\nHost: app\r\n{fields}\r\n\r\n");
            TraceContext::of_head(head.as_bytes())
        };
        assert_eq!(of(&format!("TraceParent:  {GOOD} ")), GOOD.parse().ok());
        assert_eq!(of("Accept: */*"), None);
        assert_eq!(of(&format!("traceparent: {GOOD}\r\ntraceparent: {GOOD}")), None);
        assert_eq!(of("traceparent: 00-nonsense"), None);
        // In the body.
        assert_eq!(of(&format!("Accept: */*\r\n\r\ntraceparent: {GOOD}")), None);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(trace in any::<u128>(), span in any::<u64>(), is_sampled: bool) {
            prop_assume!(trace != 0 && span != 0);
            let context =
                TraceContext { trace: trace.to_be_bytes(), span: span.to_be_bytes(), is_sampled };
            prop_assert_eq!(context.to_string().parse(), Ok(context));
        }

        #[test]
        fn nothing_that_is_read_panics(text: String, head: Vec<u8>) {
            let _ = text.parse::<TraceContext>();
            let _ = TraceContext::of_head(&head);
        }
    }
}
