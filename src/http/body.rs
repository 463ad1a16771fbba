//! Receives the body of a request: within a size limit, at a minimum pace, counted among the bodies that are being
//! received, charged to its sender, and decompressed if it is compressed. An unauthenticated caller may send only a
//! small body.

use super::error::{ApiError, Code};
use crate::{
    domain::shares::{Charge, Full, Owner, Taken},
    gateway::{
        Gateway,
        compute::{NotDone, Wanted},
    },
};
use actix_web::{
    body::{BodySize, MessageBody},
    error::PayloadError,
    web::{Bytes, BytesMut, Payload},
};
use futures_util::{FutureExt, StreamExt};
use std::{
    convert::Infallible,
    io::{self, Read},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, timeout_at};

/// The pace of a body is measured over this time.
const PACE_TIME: Duration = Duration::from_secs(10);
/// The part of an announced length that is allocated at once: a long length is often announced and never sent.
const ANNOUNCED_BYTES_MAX: usize = 64 * 1024;
/// From this size on a compressed body is decompressed on a thread for large requests, and the announced memory is
/// charged.
const SMALL_BYTES_MAX: usize = 64 * 1024;
/// The window of a decompressor (RFC 9659 for Zstandard).
const WINDOW_BYTES_MAX: u64 = 8 << 20;
/// Pieces of a body that are read before its caller is known.
const PEEKED_MAX: usize = 64;
/// The part of a large answer that waits for its client in addition to the answer itself.
const SLICE_BYTES: usize = 32 * 1024;
const CODINGS: &str = "gzip, deflate, br, zstd";

/// The sender of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sender {
    Organization(Owner),
    /// An unauthenticated caller at this address.
    Stranger(Owner),
}

/// What the head of the request states about its body.
pub struct Announced<'a> {
    pub length: Option<usize>,
    /// `Content-Encoding`.
    pub coding: Option<&'a str>,
}

/// A body, and its memory charge.
pub struct Received {
    pub bytes: Bytes,
    pub memory: Option<Charge>,
}

/// Why a body was not received.
pub enum Unreceived {
    /// The received bytes are not a body: the server closes the connection as soon as it has noticed that.
    Broken(ApiError),
    Refused(ApiError),
}

impl From<ApiError> for Unreceived {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

impl From<PayloadError> for Unreceived {
    fn from(error: PayloadError) -> Self {
        Self::Broken(error.into())
    }
}

/// How a body is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// Why a body could not be decompressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Undecoded {
    TooLarge,
    Broken,
}

struct Receiving<'g> {
    gateway: &'g Gateway,
    sender: Sender,
    memory: Option<Charge>,
    bytes_max: usize,
}

/// The beginning of a body, which is awaited. Broken framing is noticed here: the server closes the connection with it,
/// and a request that waits for anything except its body would not be answered any more.
pub async fn peek(payload: &mut Payload) -> Result<Vec<Bytes>, ApiError> {
    let mut early: Vec<Bytes> = Vec::new();
    match tokio::time::timeout(PACE_TIME, payload.next()).await {
        Ok(Some(chunk)) => early.push(chunk?),
        Ok(None) | Err(_) => return Ok(early),
    }
    while early.iter().map(Bytes::len).sum::<usize>() < SMALL_BYTES_MAX && early.len() < PEEKED_MAX {
        match payload.next().now_or_never() {
            Some(Some(chunk)) => early.push(chunk?),
            Some(None) | None => break,
        }
    }
    Ok(early)
}

/// Receives a body of at most `bytes_max` bytes, compressed or not.
pub async fn receive(
    (early, payload): (Vec<Bytes>, &mut Payload),
    gateway: &Gateway,
    sender: Sender,
    announced: Announced<'_>,
    bytes_max: usize,
) -> Result<Received, Unreceived> {
    if announced.length.is_some_and(|length| length > bytes_max) {
        return Err(too_large(bytes_max).into());
    }
    let coding = coding(announced.coding)?;
    let mut receiving = Receiving { gateway, sender, memory: None, bytes_max };
    let bytes = receiving.read(early, payload, announced.length).await?;
    let bytes = match coding {
        None => bytes,
        Some(coding) => receiving.decoded(bytes, coding).await?,
    };
    Ok(Received { bytes, memory: receiving.memory })
}

impl Receiving<'_> {
    async fn read(
        &mut self,
        early: Vec<Bytes>,
        payload: &mut Payload,
        announced: Option<usize>,
    ) -> Result<Bytes, Unreceived> {
        let mut body = BytesMut::with_capacity(announced.unwrap_or(1024).min(ANNOUNCED_BYTES_MAX));
        for chunk in early {
            self.keep(&mut body, &chunk, announced)?;
        }
        // Bytes that came with the head are read at once; only a body that must be awaited counts as being received.
        while let Some(chunk) = payload.next().now_or_never() {
            let Some(chunk) = chunk else { return Ok(body.freeze()) };
            self.keep(&mut body, &chunk?, announced)?;
        }
        let _reading = self.reading()?;
        let limits = self.gateway.settings.limits.shares;
        let least = limits.body_bytes_per_second_min.saturating_mul(PACE_TIME.as_secs() as usize);
        let end = Instant::now() + limits.body_time;
        loop {
            let window = (Instant::now() + PACE_TIME).min(end);
            let begun = body.len();
            loop {
                match timeout_at(window, payload.next()).await {
                    Ok(None) => return Ok(body.freeze()),
                    Ok(Some(chunk)) => self.keep(&mut body, &chunk?, announced)?,
                    Err(_) => break,
                }
            }
            if body.len().saturating_sub(begun) < least || Instant::now() >= end {
                let message = "The request body took too long to arrive";
                return Err(ApiError::new(Code::InvalidRequest, message).into());
            }
        }
    }

    fn keep(&mut self, body: &mut BytesMut, chunk: &Bytes, announced: Option<usize>) -> Result<(), ApiError> {
        let length = body.len().saturating_add(chunk.len());
        if length > self.bytes_max {
            return Err(too_large(self.bytes_max));
        }
        if length > SMALL_BYTES_MAX {
            if let Some(announced) = announced.filter(|announced| *announced > body.capacity()) {
                body.reserve(announced.saturating_sub(body.len()));
            }
            self.charge(length)?;
        }
        body.extend_from_slice(chunk);
        Ok(())
    }

    /// Permission to receive a body that has not arrived yet.
    fn reading(&self) -> Result<Taken, ApiError> {
        let shared = &self.gateway.shared;
        match self.sender {
            Sender::Organization(owner) => shared.read_for(owner),
            Sender::Stranger(address) => shared.read_for_stranger(address),
        }
        .map_err(|full| match full {
            Full::Share => {
                let message =
                    "Too many request bodies are being sent at a time; send them when others have arrived";
                ApiError::new(Code::RateLimitExceeded, message).retry_after_s(1)
            }
            Full::Pool => crowded(),
        })
    }

    fn charge(&mut self, bytes: usize) -> Result<(), ApiError> {
        // The bodies of unauthenticated callers are too small to count.
        let Sender::Organization(owner) = self.sender else { return Ok(()) };
        let memory = match &mut self.memory {
            Some(memory) => memory,
            none => none.insert(self.gateway.shared.memory_for(owner)),
        };
        memory.cover(bytes).map_err(no_memory)
    }

    async fn decoded(&mut self, body: Bytes, coding: Coding) -> Result<Bytes, ApiError> {
        let bytes_max = self.bytes_max;
        let owner = match self.sender {
            Sender::Organization(owner) | Sender::Stranger(owner) => owner,
        };
        let work = move |_: &Wanted<'_, Result<Vec<u8>, Undecoded>>| decode(&body, coding, bytes_max);
        let decoded = self.gateway.compute.compute(owner, work).await.map_err(not_done)?;
        let decoded = decoded.map_err(|undecoded| match undecoded {
            Undecoded::TooLarge => too_large(bytes_max),
            Undecoded::Broken => {
                let message = "The request body is not compressed as `Content-Encoding` says: compress it \
                               that way, or leave the header out";
                ApiError::new(Code::InvalidRequest, message)
            }
        })?;
        if decoded.len() > SMALL_BYTES_MAX {
            self.charge(decoded.len())?;
        }
        Ok(decoded.into())
    }
}

/// The body of a large answer. It is sent in slices as the client reads them, and is charged until the last one is
/// read.
pub struct Charged {
    left: Bytes,
    _memory: Charge,
}

impl Charged {
    pub fn new(body: Vec<u8>, memory: Charge) -> Self {
        Self { left: body.into(), _memory: memory }
    }
}

impl MessageBody for Charged {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(u64::try_from(self.left.len()).unwrap_or(u64::MAX))
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let slice = self.left.len().min(SLICE_BYTES);
        let slice = self.left.split_to(slice);
        Poll::Ready((!slice.is_empty()).then_some(Ok(slice)))
    }
}

/// 429: the organization has its share of memory.
pub fn no_memory(full: Full) -> ApiError {
    match full {
        Full::Share => {
            let message = "Your organization's requests and answers take as much memory as they may; \
                           try again when some of them have ended";
            ApiError::new(Code::RateLimitExceeded, message).retry_after_s(1)
        }
        Full::Pool => crowded(),
    }
}

/// A job for the threads of large requests that was not done.
pub fn not_done(not_done: NotDone) -> ApiError {
    match not_done {
        NotDone::Full => {
            let message = "Too many large requests of your organization are waiting; try again";
            ApiError::new(Code::RateLimitExceeded, message).retry_after_s(1)
        }
        NotDone::Lost => ApiError::internal("a large request was lost"),
    }
}

/// 503: there are too many callers in total.
pub fn crowded() -> ApiError {
    ApiError::new(Code::ServiceUnavailable, "Too many requests are being served; try again").retry_after_s(1)
}

fn too_large(bytes_max: usize) -> ApiError {
    ApiError::new(Code::RequestTooLarge, format!("The request body is larger than {bytes_max} bytes"))
}

fn coding(named: Option<&str>) -> Result<Option<Coding>, ApiError> {
    let named = named.map(str::trim).unwrap_or_default();
    let is = |name: &str| named.eq_ignore_ascii_case(name);
    Ok(Some(match () {
        () if named.is_empty() || is("identity") => return Ok(None),
        () if is("gzip") || is("x-gzip") => Coding::Gzip,
        () if is("deflate") => Coding::Deflate,
        () if is("br") => Coding::Brotli,
        () if is("zstd") => Coding::Zstd,
        () => {
            let message = format!("The body's `Content-Encoding` must be one of {CODINGS}, once");
            return Err(ApiError::new(Code::UnsupportedEncoding, message).header("accept-encoding", CODINGS));
        }
    }))
}

/// The decompressed body, if it is not larger than `bytes_max`: no more than that is ever produced.
fn decode(body: &[u8], coding: Coding, bytes_max: usize) -> Result<Vec<u8>, Undecoded> {
    match coding {
        Coding::Gzip => read(flate2::bufread::MultiGzDecoder::new(body), bytes_max),
        // RFC 9110 means zlib's format; some clients send plain deflate.
        Coding::Deflate => match body {
            [first, second, ..] if is_zlib(*first, *second) => {
                read(flate2::bufread::ZlibDecoder::new(body), bytes_max)
            }
            _ => read(flate2::bufread::DeflateDecoder::new(body), bytes_max),
        },
        Coding::Brotli => read(brotli_decompressor::Decompressor::new(body, 4096), bytes_max),
        Coding::Zstd => {
            let decoder =
                ruzstd::decoding::StreamingDecoder::new_with_max_window_size(body, WINDOW_BYTES_MAX);
            read(decoder.map_err(|_| Undecoded::Broken)?, bytes_max)
        }
    }
}

fn is_zlib(first: u8, second: u8) -> bool {
    first & 0x0F == 8 && (u16::from(first) << 8 | u16::from(second)).is_multiple_of(31)
}

fn read(decoder: impl Read, bytes_max: usize) -> Result<Vec<u8>, Undecoded> {
    let mut decoded = Vec::new();
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let read: io::Result<usize> = decoder.take(most).read_to_end(&mut decoded);
    match read {
        _ if decoded.len() > bytes_max => Err(Undecoded::TooLarge),
        Ok(_) => Ok(decoded),
        Err(_) => Err(Undecoded::Broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    const ALL: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];
    /// `hello` in brotli and zstd, created with their own tools.
    const BROTLI: &[u8] = &[0x0b, 0x02, 0x80, b'h', b'e', b'l', b'l', b'o', 0x03];

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn every_coding_is_undone_within_the_limit_and_a_bomb_ends_there() {
        let text = "hello ".repeat(1_000).into_bytes();
        let bomb = vec![b'a'; 4 << 20];
        for (coding, encode) in [
            (Coding::Gzip, gzip as fn(&[u8]) -> Vec<u8>),
            (Coding::Deflate, zlib),
            (Coding::Deflate, deflate),
            (Coding::Zstd, zstd),
        ] {
            assert_eq!(decode(&encode(&text), coding, text.len()), Ok(text.clone()), "{coding:?}");
            assert_eq!(
                decode(&encode(&text), coding, text.len() - 1),
                Err(Undecoded::TooLarge),
                "{coding:?}"
            );
            assert_eq!(decode(&encode(&bomb), coding, 1 << 16), Err(Undecoded::TooLarge), "{coding:?}");
            assert_eq!(decode(b"no such thing", coding, 100), Err(Undecoded::Broken), "{coding:?}");
        }
        assert_eq!(decode(BROTLI, Coding::Brotli, 5), Ok(b"hello".to_vec()));
        assert_eq!(decode(BROTLI, Coding::Brotli, 4), Err(Undecoded::TooLarge));
        assert_eq!(decode(b"no such thing", Coding::Brotli, 100), Err(Undecoded::Broken));
    }

    #[test]
    fn codings_are_known_by_name_and_all_else_is_415_with_those_there_are() {
        for (named, expected) in [
            ("gzip", Some(Coding::Gzip)),
            ("X-GZIP", Some(Coding::Gzip)),
            (" br ", Some(Coding::Brotli)),
            ("zstd", Some(Coding::Zstd)),
            ("deflate", Some(Coding::Deflate)),
            ("identity", None),
            ("", None),
        ] {
            assert_eq!(coding(Some(named)).ok(), Some(expected), "{named}");
        }
        for named in ["compress", "gzip, br", "gzip;q=1", "utf-8"] {
            let refused = coding(Some(named)).unwrap_err();
            assert_eq!(refused.status().as_u16(), 415, "{named}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for coding in ALL {
                if let Ok(decoded) = decode(&bytes, coding, 1_000) {
                    prop_assert!(decoded.len() <= 1_000);
                }
            }
        }
    }
}
