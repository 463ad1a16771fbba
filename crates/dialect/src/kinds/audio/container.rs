//! The length of audio in a container that states it in one place, at any position: MP4 (M4A) and WebM. Needs the whole
//! file. A file that does not state it has no length here.

use super::big;

/// Maximum boxes and elements that are examined in one file.
const STEPS_MAX: usize = 10_000;

/// Milliseconds.
pub fn ms(file: &[u8]) -> Option<u64> {
    match file.get(..12)? {
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => mp4(file),
        [0x1A, 0x45, 0xDF, 0xA3, ..] => webm(file),
        _ => None,
    }
}

/// The length of the longest track, else of the movie.
fn mp4(file: &[u8]) -> Option<u64> {
    let mut steps = STEPS_MAX;
    let movie = find(file, b"moov", &mut steps)?;
    let (mut longest, mut rest) = (None, movie);
    while let Some((kind, content, tail)) = next_box(rest, &mut steps) {
        rest = tail;
        let header = match kind {
            b"mvhd" => Some(content),
            b"trak" => find(content, b"mdia", &mut steps).and_then(|media| find(media, b"mdhd", &mut steps)),
            _ => None,
        };
        longest = longest.max(header.and_then(header_ms));
    }
    longest.filter(|ms| *ms > 0)
}

fn header_ms(header: &[u8]) -> Option<u64> {
    let (scale, duration) = match header.first()? {
        0 => (big(header.get(12..16))?, big(header.get(16..20)).filter(|all| *all < 0xFFFF_FFFF)?),
        _ => (big(header.get(20..24))?, big(header.get(24..32)).filter(|all| *all < u64::MAX)?),
    };
    let ms = u128::from(duration) * 1_000 / u128::from(scale).max(1);
    u64::try_from(ms).ok()
}

fn find<'a>(boxes: &'a [u8], wanted: &[u8; 4], steps: &mut usize) -> Option<&'a [u8]> {
    let mut rest = boxes;
    while let Some((kind, content, tail)) = next_box(rest, steps) {
        if kind == wanted {
            return Some(content);
        }
        rest = tail;
    }
    None
}

/// Kind and content of the first box, and what follows it.
fn next_box<'a>(boxes: &'a [u8], steps: &mut usize) -> Option<(&'a [u8; 4], &'a [u8], &'a [u8])> {
    *steps = steps.checked_sub(1)?;
    let kind = boxes.get(4..8)?.first_chunk::<4>()?;
    let (head, size) = match big(boxes.get(..4))? {
        0 => (8, boxes.len()),
        1 => (16, usize::try_from(big(boxes.get(8..16))?).ok()?),
        size => (8, usize::try_from(size).ok()?),
    };
    let size = size.min(boxes.len());
    Some((kind, boxes.get(head..size)?, boxes.get(size..)?))
}

const SEGMENT: u64 = 0x1853_8067;
const INFO: u64 = 0x1549_A966;
const SCALE: u64 = 0x2A_D7B1;
const DURATION: u64 = 0x4489;

fn webm(file: &[u8]) -> Option<u64> {
    let mut steps = STEPS_MAX;
    let info = element(element(file, SEGMENT, &mut steps)?, INFO, &mut steps)?;
    let scale = element(info, SCALE, &mut steps).map_or(Some(1_000_000), |scale| big(Some(scale)))?;
    let duration = element(info, DURATION, &mut steps)?;
    let ticks = match duration.len() {
        4 => f64::from(f32::from_be_bytes(*duration.first_chunk()?)),
        8 => f64::from_be_bytes(*duration.first_chunk()?),
        _ => return None,
    };
    let nanos = ticks * f64::from(u32::try_from(scale).ok()?);
    // Casts of floats saturate, and NaN becomes zero.
    (nanos.is_finite() && nanos > 0.0).then_some((nanos / 1e6).ceil() as u64)
}

/// The content of the first element with that id.
fn element<'a>(elements: &'a [u8], wanted: u64, steps: &mut usize) -> Option<&'a [u8]> {
    let mut rest = elements;
    loop {
        *steps = steps.checked_sub(1)?;
        let (id, after_id) = variable(rest, false)?;
        let (size, content) = variable(after_id, true)?;
        // All ones: the size is unknown, and the element extends to the end.
        let size = usize::try_from(size).unwrap_or(usize::MAX).min(content.len());
        if id == wanted {
            return content.get(..size);
        }
        rest = content.get(size..)?;
        if rest.is_empty() {
            return None;
        }
    }
}

/// A number whose first bits state its length; sizes do not include these bits, ids do.
fn variable(bytes: &[u8], is_size: bool) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let width = usize::try_from(first.leading_zeros()).ok()?.checked_add(1).filter(|width| *width <= 8)?;
    let number = big(bytes.get(..width))?;
    let bits = width.saturating_mul(7);
    let mask = 1u64.checked_shl(u32::try_from(bits).ok()?).map_or(u64::MAX, |limit| limit - 1);
    let value = match is_size && number & mask == mask {
        true => u64::MAX,
        false if is_size => number & mask,
        false => number,
    };
    Some((value, bytes.get(width..)?))
}
