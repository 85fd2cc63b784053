//! One HTTP request among several on a connection: what the client sends, and how its
//! backend shall answer.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::via::Via;
use crate::scenario::problem::Problem;
use crate::scenario::units::Size;

/// One HTTP request and its answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// The Host, as the client writes it.
    pub name: String,
    /// The method; absent, POST with a body and GET without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// An empty line comes before it, of which nobody takes notice.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_line: bool,
    /// Bytes of the request's body, or those that follow an upgrade.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub upload: Size,
    /// The body comes in chunks with extensions, and with a trailer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub chunked: bool,
    /// `Expect: 100-continue`: the client waits with the body.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub expects: bool,
    /// `Connection: close`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closes: bool,
    /// How the backend frames its answer.
    #[serde(default, skip_serializing_if = "Answer::is_length")]
    pub answer: Answer,
    /// Bytes of the answer's body.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub download: Size,
    /// Answers of status 103 before the final one.
    #[serde(default, skip_serializing_if = "is_none")]
    pub interim: u32,
    /// In HTTP/2, the client resets the stream once it has so many bytes of the answer's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resets_after: Option<Size>,
    /// What is wrong with the request. Another request is hidden behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

fn is_zero(size: &Size) -> bool {
    size.0 == 0
}

fn is_none(count: &u32) -> bool {
    *count == 0
}

macro_rules! words {
    ($(#[$of:meta])* $type:ident { $($(#[$doc:meta])* $word:ident = $text:literal,)+ }) => {
        $(#[$of])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $type {
            $($(#[$doc])* #[serde(rename = $text)] $word,)+
        }

        impl $type {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$word,)+];
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$word => $text,)+ })
            }
        }

        impl FromStr for $type {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $($text => Ok(Self::$word),)+ _ => Err(()) }
            }
        }
    };
}

words! {
    /// How an answer is framed.
    #[derive(Default)]
    Answer {
        /// With a Content-Length.
        #[default]
        Length = "length",
        /// In chunks with extensions, and with a trailer.
        Chunked = "chunked",
        /// 204.
        NoContent = "no-content",
        /// 304, with the Content-Length of the body that it does not have.
        NotModified = "not-modified",
        /// Up to the end of the connection.
        UntilClose = "until-close",
        /// 101: the client's upload follows without framing, and comes back.
        Upgrade = "upgrade",
    }
}

words! {
    /// What is wrong with the framing of a request.
    Fault {
        /// A Content-Length and `Transfer-Encoding: chunked`.
        BothLengths = "both-lengths",
        /// Two Content-Lengths.
        TwoLengths = "two-lengths",
        /// A field that goes on in the next line.
        FoldedLine = "folded-line",
        /// A line of the head that ends with LF alone.
        BareLf = "bare-lf",
        /// A chunk whose size is no number.
        BadChunk = "bad-chunk",
        /// A chunk whose size is followed by white space.
        ChunkSpace = "chunk-space",
        /// A chunk that is longer than its size.
        LongChunk = "long-chunk",
        /// A Content-Length in the trailer section.
        LengthInTrailer = "length-in-trailer",
        /// A body that is longer than its Content-Length; the request itself is sound.
        LongBody = "long-body",
    }
}

impl Answer {
    fn is_length(&self) -> bool {
        *self == Self::Length
    }

    /// The status that it has.
    pub fn status(self) -> u16 {
        match self {
            Self::Length | Self::Chunked | Self::UntilClose => 200,
            Self::NoContent => 204,
            Self::NotModified => 304,
            Self::Upgrade => 101,
        }
    }
}

/// A Host without what makes no difference: case, port, and the last dot.
pub fn plain_name(host: &str) -> String {
    let name = host.to_ascii_lowercase();
    let name = name.split_once(':').map_or(name.as_str(), |(name, _)| name);
    name.strip_suffix('.').unwrap_or(name).to_owned()
}

impl Exchange {
    /// The method that is sent.
    pub fn method(&self) -> &str {
        let usual =
            if self.upload.0 > 0 && self.answer != Answer::Upgrade { "POST" } else { "GET" };
        self.method.as_deref().unwrap_or(usual)
    }

    /// Whether its answer has no body, whatever it says of one.
    pub fn is_head(&self) -> bool {
        self.method() == "HEAD"
    }

    /// Whether its answer ends with its head.
    pub fn is_bodiless(&self) -> bool {
        let bodiless = [Answer::NoContent, Answer::NotModified, Answer::Upgrade];
        self.is_head() || bodiless.contains(&self.answer)
    }

    /// The Host without what makes no difference.
    pub fn plain_name(&self) -> String {
        plain_name(&self.name)
    }

    /// Whether the connection ends with its answer.
    pub fn is_last(&self) -> bool {
        self.closes || self.fault.is_some() || self.answer == Answer::UntilClose
    }

    /// Whether the parts fit together; `last`: no other request follows.
    pub(super) fn check(&self, via: Via, last: bool) -> Result<(), Problem> {
        let problem = |key: &str, message: &str| {
            Err(Problem::new(&format!("exchanges.{key}"), &self.name, message.to_owned()))
        };
        let upgrades = self.answer == Answer::Upgrade;
        if self.name.is_empty() {
            return problem("name", "every exchange has a name");
        }
        let framed = [Answer::Upgrade, Answer::UntilClose].contains(&self.answer);
        if via == Via::Http2 && (framed || self.closes || self.fault.is_some()) {
            return problem("answer", "HTTP/2 has a framing of its own, and no upgrade");
        }
        if via != Via::Http2 && self.resets_after.is_some() {
            return problem("resets_after", "only HTTP/2 has streams that can be reset");
        }
        if !last && (upgrades || self.fault.is_some()) {
            return problem("name", "nothing follows an upgrade or a fault");
        }
        if upgrades && (self.chunked || self.expects || self.closes || self.is_head()) {
            return problem("answer", "a request for an upgrade has no body, and is not the last");
        }
        if self.fault.is_some() && (upgrades || self.expects || self.chunked || self.is_head()) {
            return problem("fault", "a fault comes with a framing of its own");
        }
        if self.expects && self.upload.0 == 0 {
            return problem("expects", "without a body there is nothing to wait with");
        }
        Ok(())
    }
}
