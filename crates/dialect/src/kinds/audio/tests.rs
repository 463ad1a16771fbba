use super::*;
use proptest::prelude::*;

fn wav(rate: u32, channels: u16, bits: u16, data: usize, announced: u32) -> Vec<u8> {
    let mut file = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0\x01\0".to_vec();
    file.extend(channels.to_le_bytes());
    file.extend(rate.to_le_bytes());
    // The byte rate in the header is not used.
    file.extend(7u32.to_le_bytes());
    file.extend(4u16.to_le_bytes());
    file.extend(bits.to_le_bytes());
    file.extend(b"data");
    file.extend(announced.to_le_bytes());
    file.resize(file.len() + data, 1);
    file
}

/// Version 1, layer 3, 128 kbit/s, 44.1 kHz: 417 bytes and 26.122 ms each.
fn mp3(frames: usize) -> Vec<u8> {
    let mut file = b"ID3\x04\0\0\0\0\x01\x02".to_vec();
    file.resize(file.len() + 130, 0xFF);
    for _ in 0..frames {
        file.extend([0xFF, 0xFB, 0x90, 0x00]);
        file.resize(file.len() + 413, 0x55);
    }
    file.extend(b"TAG");
    file.resize(file.len() + 125, 0);
    file
}

/// 24 kHz, 1,024 samples a frame.
fn adts(frames: usize) -> Vec<u8> {
    let frame = |_| [vec![0xFF, 0xF1, 0x58, 0x80, 0x0C, 0x9F, 0xFC], vec![0x21; 93]].concat();
    (0..frames).flat_map(frame).collect()
}

fn page(kind: u8, granule: u64, content: &[u8]) -> Vec<u8> {
    let mut page = b"OggS\0".to_vec();
    page.push(kind);
    page.extend(granule.to_le_bytes());
    page.extend([0; 12]);
    let segments: Vec<u8> = content.chunks(255).map(|part| u8::try_from(part.len()).unwrap()).collect();
    page.push(u8::try_from(segments.len()).unwrap());
    page.extend(segments);
    page.extend(content);
    page
}

fn opus(ms: u64) -> Vec<u8> {
    let head = b"OpusHead\x01\x01\x38\x01\xC0\x5D\0\0\0\0\0";
    let granule = 312 + ms * 48;
    let pages = [
        page(2, 0, head),
        page(0, 0, b"OpusTags"),
        page(0, granule / 2, &[9; 900]),
        page(4, granule, &[9; 10]),
    ];
    pages.concat()
}

fn vorbis(ms: u64) -> Vec<u8> {
    let head = [&b"\x01vorbis\0\0\0\0\x01"[..], &16_000u32.to_le_bytes(), &[0; 14]].concat();
    [page(2, 0, &head), page(0, u64::MAX, &[1; 3]), page(4, ms * 16, &[9; 300])].concat()
}

fn flac(ms: u64) -> Vec<u8> {
    let mut file = b"fLaC\0\0\0\x22\x10\0\x10\0\0\0\0\0\0\0".to_vec();
    let samples = ms * 48;
    file.extend(((48_000u64 << 44) | (15 << 36) | samples).to_be_bytes());
    file.resize(200, 3);
    file
}

fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    [&u32::try_from(content.len() + 8).unwrap().to_be_bytes(), &kind[..], content].concat()
}

fn mp4(ms: u32) -> Vec<u8> {
    let mut header = vec![0; 12];
    header.extend(1_000u32.to_be_bytes());
    header.extend(ms.to_be_bytes());
    let track = boxed(b"trak", &boxed(b"mdia", &boxed(b"mdhd", &header)));
    // The audio data first, and the header at the end.
    let movie = boxed(b"moov", &[boxed(b"mvhd", &header), track].concat());
    [boxed(b"ftyp", b"M4A \0\0\0\0"), boxed(b"mdat", &[0; 5_000]), movie].concat()
}

fn webm(ms: f64) -> Vec<u8> {
    let element = |id: &[u8], content: &[u8]| {
        [
            id,
            &[0x40 | u8::try_from(content.len() >> 8).unwrap(), u8::try_from(content.len() & 0xFF).unwrap()],
            content,
        ]
        .concat()
    };
    let scale = element(&[0x2A, 0xD7, 0xB1], &1_000_000u32.to_be_bytes());
    let duration = element(&[0x44, 0x89], &ms.to_be_bytes());
    let info = element(&[0x15, 0x49, 0xA9, 0x66], &[scale, duration].concat());
    let head = element(&[0x1A, 0x45, 0xDF, 0xA3], b"\x42\x82\x84webm");
    // With unknown size, as recorders write it.
    [head, vec![0x18, 0x53, 0x80, 0x67, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], info].concat()
}

#[test]
fn every_known_form_tells_how_long_it_lasts() {
    let cases = [
        ("wav", wav(16_000, 1, 16, 64_000, 64_000), 2_000),
        ("stereo", wav(44_100, 2, 16, 176_400, 176_400), 1_000),
        ("a stream that does not know its length", wav(24_000, 1, 16, 48_000, u32::MAX), 1_000),
        ("mp3", mp3(100), 2_612),
        ("aac", adts(90), 3_840),
        ("opus", opus(5_500), 5_500),
        ("vorbis", vorbis(7_250), 7_250),
        ("two recordings in one", [opus(1_000), vorbis(2_000)].concat(), 3_000),
        ("flac", flac(12_345), 12_345),
        ("mp4", mp4(61_500), 61_500),
        ("webm", webm(9_876.5), 9_877),
    ];
    for (what, file, ms) in cases {
        let measured = measure(&file);
        assert_eq!((measured.ms, measured.basis), (ms, Basis::Counted), "{what}");
        assert!(measured.most_ms >= ms + 1_000, "{what}");
    }
}

#[test]
fn what_is_not_known_is_estimated_by_its_size_and_bounded_well_above() {
    for file in [&b""[..], b"x", &[7; 100_000], b"RIFF\0\0\0\0WAVEfmt ", b"\0\0\0\x10ftypM4A \0\0\0\0"] {
        let measured = measure(file);
        assert_eq!(measured.basis, Basis::Estimated);
        assert!(measured.ms >= 1 && measured.most_ms > measured.ms * 2, "{measured:?}");
    }
    assert_eq!(measure(&[7; 80_000]).ms, 10_000);
}

#[test]
fn a_head_that_claims_hardly_any_time_for_much_data_is_not_believed() {
    let mut file = mp4(1);
    file.resize(1_000_000, 0);
    assert_eq!(measure(&file).ms, 4_000);
}

#[test]
fn bare_samples_are_measured_when_they_were_asked_for() {
    let mut clock = Clock::new(Some("pcm"));
    clock.feed(&[0; 12_000]);
    clock.feed(&[0; 12_000]);
    assert_eq!(clock.ms(), Some(500));
    assert_eq!(Clock::new(None).ms(), None);
}

fn files() -> Vec<Vec<u8>> {
    vec![wav(8_000, 1, 8, 5_000, 5_000), mp3(20), adts(20), opus(700), vorbis(300), flac(100)]
}

proptest! {
    #[test]
    fn no_split_of_the_bytes_changes_the_length(which in 0usize..6, cuts in prop::collection::vec(1usize..700, 1..40)) {
        let file = files().swap_remove(which);
        let mut whole = Clock::new(None);
        whole.feed(&file);
        let mut clock = Clock::new(None);
        let mut rest = file.as_slice();
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            clock.feed(now);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(clock.ms(), whole.ms());
        prop_assert!(clock.ms().is_some());
    }

    #[test]
    fn no_bytes_make_it_panic(which in 0usize..8, noise in prop::collection::vec(any::<u8>(), 0..400), at in 0usize..60) {
        let mut all = files();
        all.extend([mp4(5), webm(5.0)]);
        let mut file = all.swap_remove(which);
        let at = at.min(file.len());
        file.truncate(at + 200);
        file.splice(at..at, noise.iter().copied());
        let _ = measure(&file);
        let _ = measure(&noise);
    }
}

#[test]
fn what_only_looks_like_audio_is_given_up() {
    for start in [&b"ID3\x04\0\0\0\0\0\0"[..], b"OggSOggSOggS"] {
        let mut file = start.to_vec();
        file.resize(1_000_000, if start.starts_with(b"ID3") { 0xFF } else { b'O' });
        assert_eq!(measure(&file).basis, Basis::Estimated);
    }
}

#[test]
fn a_length_that_is_only_claimed_is_bounded_by_what_the_bytes_could_hold() {
    // The header states one second; the content may last an hour and more.
    let claims = |file: Vec<u8>| {
        let mut file = file;
        file.resize(2_500_000, 0x5A);
        file
    };
    let compressed = {
        let mut file = wav(8_000, 1, 16, 16_000, 0);
        let at = file.windows(4).position(|window| window == b"fmt ").unwrap() + 8;
        file[at] = 0x55;
        file
    };
    for file in [mp4(1_000), opus(1_000), flac(1_000), compressed] {
        let measured = measure(&claims(file));
        assert_eq!(measured.slow_ms, 4_000_000, "{measured:?}");
        assert_eq!(measured.most_ms, 4_010_000);
        assert!(measured.ms < measured.slow_ms);
    }
    for file in [mp3(400), adts(400), wav(8_000, 1, 16, 160_000, 160_000)] {
        let measured = measure(&file);
        assert_eq!(measured.slow_ms, measured.ms, "{measured:?}");
    }
}
