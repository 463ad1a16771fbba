//! Audio that can be measured while it is streamed: MP3, AAC in ADTS, Ogg (Opus, Vorbis, Speex), WAV and FLAC. Keeps
//! only the header that it waits for; must never panic or hold more than [`HELD_BYTES_MAX`].

use super::{big, little};

/// The largest header, of an Ogg page, is far below this.
const HELD_BYTES_MAX: usize = 4_096;
/// How often the next frame may have to be searched: data that loses its frames so often is another format.
const SEARCHES_MAX: u32 = 20_000;
/// Bytes that are examined at once.
const PIECE_BYTES: usize = 4_096;
const NANOS: u64 = 1_000_000_000;
/// Rates of MPEG audio by index, for version 1; version 2 has half, version 2.5 a quarter.
const MPEG_RATES: [u64; 3] = [44_100, 48_000, 32_000];
const ADTS_RATES: [u64; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
/// kbit/s by index, from 1: version 1 layers 1 to 3, then version 2 layer 1 and layers 2 and 3.
const BITRATES: [[u64; 14]; 5] = [
    [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];

/// One stream.
pub struct Frames {
    form: Form,
    held: Vec<u8>,
    /// Bytes to skip.
    skip: u64,
    /// This many samples (in WAV, bytes of them) at this rate a second.
    samples: u64,
    rate: u64,
    searches: u32,
    /// The length of the part before, at other rates.
    nanos: u64,
}

enum Form {
    Mpeg,
    Ogg {
        rate: u64,
        lead: u64,
        granule: u64,
    },
    /// Before the samples, then their bytes per second.
    Wav {
        rate: Option<u64>,
        left: Option<u64>,
        /// Not compressed.
        is_plain: bool,
    },
    Flac {
        known: Option<u64>,
    },
    /// The format is unknown.
    Lost,
}

impl Frames {
    /// Detected from the first twelve bytes.
    pub fn of(start: &[u8]) -> Option<Self> {
        let form = match start {
            [b'I', b'D', b'3', ..] => Form::Mpeg,
            [0xFF, second, ..] if second & 0xE0 == 0xE0 => Form::Mpeg,
            [b'O', b'g', b'g', b'S', ..] => Form::Ogg { rate: 0, lead: 0, granule: 0 },
            [b'R', b'I' | b'F', b'F' | b'6', b'F' | b'4', _, _, _, _, b'W', b'A', b'V', b'E', ..] => {
                Form::Wav { rate: None, left: None, is_plain: false }
            }
            [b'f', b'L', b'a', b'C', ..] => Form::Flac { known: None },
            _ => return None,
        };
        let skip = if matches!(form, Form::Wav { .. }) { 12 } else { 0 };
        Some(Self { form, held: Vec::new(), skip, samples: 0, rate: 1, searches: 0, nanos: 0 })
    }

    pub fn ms(&self) -> Option<u64> {
        match &self.form {
            Form::Ogg { rate: 0, .. } | Form::Wav { rate: None, .. } | Form::Lost => None,
            Form::Flac { known } => *known,
            Form::Ogg { rate, lead, granule } => {
                let last = time(granule.saturating_sub(*lead), *rate);
                Some(self.nanos.saturating_add(last) / 1_000_000)
            }
            Form::Mpeg | Form::Wav { .. } => {
                Some(self.nanos.saturating_add(time(self.samples, self.rate)) / 1_000_000)
            }
        }
    }

    /// Whether every sample is counted. Compressed samples in WAV, and the pages of Ogg and FLAC, only state their
    /// number.
    pub fn counts(&self) -> bool {
        matches!(self.form, Form::Mpeg | Form::Wav { is_plain: true, .. })
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        bytes.chunks(PIECE_BYTES).for_each(|piece| self.piece(piece));
    }

    fn piece(&mut self, piece: &[u8]) {
        let passed = usize::try_from(self.skip).unwrap_or(usize::MAX).min(piece.len());
        self.skip -= wide(passed);
        self.held.extend_from_slice(piece.get(passed..).unwrap_or_default());
        let held = std::mem::take(&mut self.held);
        let mut rest = held.as_slice();
        while !rest.is_empty() {
            let Some(past) = self.step(rest) else { break };
            self.skip = past.saturating_sub(wide(rest.len()));
            rest = rest.get(usize::try_from(past).unwrap_or(usize::MAX)..).unwrap_or_default();
        }
        if rest.len() <= HELD_BYTES_MAX {
            self.held = rest.to_vec();
        }
    }

    /// How many bytes are processed; `None` if there are too few to decide.
    fn step(&mut self, rest: &[u8]) -> Option<u64> {
        match &mut self.form {
            Form::Mpeg => self.mpeg(rest),
            Form::Ogg { .. } => self.ogg_page(rest),
            Form::Wav { .. } => self.wav(rest),
            Form::Lost => Some(u64::MAX),
            Form::Flac { known } => {
                let head = big(rest.get(18..26))?;
                let (rate, samples) = (head >> 44, head & 0xF_FFFF_FFFF);
                *known = (rate > 0 && samples > 0).then(|| time(samples, rate) / 1_000_000);
                Some(u64::MAX)
            }
        }
    }

    fn mpeg(&mut self, rest: &[u8]) -> Option<u64> {
        if rest.starts_with(b"ID3") {
            let size = rest.get(6..10)?.iter().fold(0u64, |size, byte| (size << 7) | u64::from(byte & 0x7F));
            return Some(size + 10);
        }
        let head = rest.get(..7)?;
        match mpeg_frame(head).or_else(|| adts_frame(head)) {
            Some((bytes, samples, rate)) => {
                self.hear(samples, rate);
                Some(bytes)
            }
            None => self.search(0xFF, rest),
        }
    }

    /// Where the next frame may begin, because there is none here.
    fn search(&mut self, first: u8, rest: &[u8]) -> Option<u64> {
        self.searches = self.searches.saturating_add(1);
        if self.searches > SEARCHES_MAX {
            self.form = Form::Lost;
        }
        Some(memchr::memchr(first, rest.get(1..)?).map_or(wide(rest.len()), |at| wide(at) + 1))
    }

    fn hear(&mut self, samples: u64, rate: u64) {
        if rate != self.rate {
            self.nanos = self.nanos.saturating_add(time(self.samples, self.rate));
            (self.samples, self.rate) = (0, rate);
        }
        self.samples = self.samples.saturating_add(samples);
    }

    fn ogg_page(&mut self, rest: &[u8]) -> Option<u64> {
        if !rest.get(..4)?.starts_with(b"OggS") {
            return self.search(b'O', rest);
        }
        let segments = usize::from(*rest.get(26)?);
        let table = rest.get(27..27 + segments)?;
        let size = table.iter().map(|length| u64::from(*length)).sum::<u64>();
        let granule_now = little(rest.get(6..14))?;
        let begins = rest.get(5)? & 0x02 != 0;
        let Form::Ogg { rate, lead, granule } = &mut self.form else { return None };
        if begins {
            let content = rest.get(27 + segments..)?;
            // The longest of the headers below; a page that begins a stream contains nothing else.
            if content.len() < 40 && wide(content.len()) < size {
                return None;
            }
            if let Some((new_rate, new_lead)) = ogg_codec(content) {
                if *rate > 0 {
                    self.nanos = self.nanos.saturating_add(time(granule.saturating_sub(*lead), *rate));
                }
                (*rate, *lead, *granule) = (new_rate, new_lead, 0);
            }
        } else if granule_now != u64::MAX {
            *granule = (*granule).max(granule_now);
        }
        Some(wide(27 + segments) + size)
    }

    fn wav(&mut self, rest: &[u8]) -> Option<u64> {
        let Form::Wav { rate, left, is_plain } = &mut self.form else { return None };
        if let (Some(rate), Some(left)) = (*rate, left.as_mut()) {
            let count = wide(rest.len()).min(*left);
            *left -= count;
            self.hear(count, rate);
            return Some(wide(rest.len()));
        }
        let size = little(rest.get(4..8))?;
        match rest.get(..4)? {
            b"fmt " => {
                let format = rest.get(8..24)?;
                let (channels, hertz) = (little(format.get(2..4))?, little(format.get(4..8))?);
                let (bytes, bits) = (little(format.get(8..12))?, little(format.get(14..16))?);
                *is_plain = matches!(little(format.get(..2)), Some(1 | 3 | 0xFFFE));
                let plain = channels.saturating_mul(hertz).saturating_mul(bits) / 8;
                // Compressed samples have no whole number of bits.
                *rate = Some(if plain > 0 { plain } else { bytes }).filter(|rate| *rate > 0);
            }
            b"data" => {
                // A stream does not know its length in advance.
                let unknown = size == 0 || size >= 0x7FFF_FF00;
                *left = Some(if unknown { u64::MAX } else { size });
                return Some(8);
            }
            _ => {}
        }
        Some(8 + size + (size & 1))
    }
}

/// Bytes, samples and rate of a frame of MPEG audio.
fn mpeg_frame(head: &[u8]) -> Option<(u64, u64, u64)> {
    let [0xFF, second, third, ..] = head else { return None };
    let (version, layer) = ((second >> 3) & 3, (second >> 1) & 3);
    if second & 0xE0 != 0xE0 || version == 1 || layer == 0 {
        return None;
    }
    let first_version = version == 3;
    let table = match (first_version, layer) {
        (true, 3) => 0,
        (true, 2) => 1,
        (true, _) => 2,
        (false, 3) => 3,
        (false, _) => 4,
    };
    let index = usize::from(third >> 4).checked_sub(1)?;
    let bitrate = BITRATES.get(table)?.get(index)? * 1_000;
    let rate = MPEG_RATES.get(usize::from((third >> 2) & 3))?
        >> match version {
            3 => 0,
            2 => 1,
            _ => 2,
        };
    let padding = u64::from((third >> 1) & 1);
    Some(match (layer, first_version) {
        (3, _) => ((12 * bitrate / rate + padding) * 4, 384, rate),
        (2, _) | (1, true) => (144 * bitrate / rate + padding, 1_152, rate),
        _ => (72 * bitrate / rate + padding, 576, rate),
    })
}

/// Bytes, samples and rate of a frame of AAC.
fn adts_frame(head: &[u8]) -> Option<(u64, u64, u64)> {
    let [0xFF, second, third, fourth, fifth, sixth, seventh, ..] = head else { return None };
    if second & 0xF6 != 0xF0 {
        return None;
    }
    let rate = *ADTS_RATES.get(usize::from((third >> 2) & 0x0F))?;
    let bytes = (u64::from(fourth & 3) << 11) | (u64::from(*fifth) << 3) | u64::from(sixth >> 5);
    (bytes >= 7).then_some((bytes, 1_024 * (u64::from(seventh & 3) + 1), rate))
}

/// Samples a second and samples before the beginning.
fn ogg_codec(content: &[u8]) -> Option<(u64, u64)> {
    if content.starts_with(b"OpusHead") {
        return Some((48_000, little(content.get(10..12))?));
    }
    let rate = if content.starts_with(b"\x01vorbis") {
        little(content.get(12..16))
    } else if content.starts_with(b"Speex   ") {
        little(content.get(36..40))
    } else if content.starts_with(b"\x7FFLAC") {
        big(content.get(27..31)).map(|head| head >> 12)
    } else {
        None
    };
    rate.filter(|rate| *rate > 0).map(|rate| (rate, 0))
}

/// This many samples at this rate a second, in nanoseconds.
fn time(samples: u64, rate: u64) -> u64 {
    let nanos = u128::from(samples) * u128::from(NANOS) / u128::from(rate.max(1));
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
