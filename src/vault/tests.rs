use super::*;
use proptest::prelude::*;
use uuid::Uuid;

fn ring(keys: &[(&str, u8)]) -> KeyRing {
    let list: Vec<String> =
        keys.iter().map(|(id, fill)| format!("{id}:{}", STANDARD.encode([*fill; 32]))).collect();
    KeyRing::parse(&list.join(",")).unwrap()
}

fn binding() -> Binding<'static> {
    Binding {
        table: "provider_key",
        org: Some(OrgId(Uuid::from_u128(1))),
        api_key: Some(ApiKeyId(Uuid::from_u128(2))),
        provider: "openai",
        origin: "https://example.com",
        record: "pk_1",
    }
}

fn refused(result: Result<Secret, VaultError>) -> bool {
    result.is_err()
}

#[test]
fn a_record_opens_under_its_own_binding_and_two_seals_differ() {
    let (ring, ambient) = (ring(&[("k1", 1)]), Ambient::system());
    let secret = Secret::new("sk-plain".into());
    let one = seal(&ring, &ambient, &binding(), &secret).unwrap();
    let two = seal(&ring, &ambient, &binding(), &secret).unwrap();
    assert_ne!(one, two);
    assert_eq!(open(&ring, &binding(), &one).unwrap().expose(), "sk-plain");
    assert!(!one.windows(8).any(|window| window == b"sk-plain"));
    assert_eq!(key_id_of(&one), Some("k1"));
}

#[test]
fn any_flipped_bit_and_any_cut_fails_to_open() {
    let (ring, ambient) = (ring(&[("k1", 1), ("k2", 2)]), Ambient::system());
    let record = seal(&ring, &ambient, &binding(), &Secret::new("sk-plain".into())).unwrap();
    for at in 0..record.len() {
        for bit in 0..8 {
            let mut changed = record.clone();
            changed[at] ^= 1 << bit;
            assert!(refused(open(&ring, &binding(), &changed)), "byte {at} bit {bit}");
        }
        assert!(refused(open(&ring, &binding(), &record[..at])), "cut at {at}");
    }
}

#[test]
fn a_record_moved_to_any_other_row_fails_to_open() {
    let (ring, ambient) = (ring(&[("k1", 1)]), Ambient::system());
    let record = seal(&ring, &ambient, &binding(), &Secret::new("sk-plain".into())).unwrap();
    let own = binding();
    let elsewhere = [
        Binding { table: "platform_key", ..own },
        Binding { org: Some(OrgId(Uuid::from_u128(9))), ..own },
        Binding { org: None, ..own },
        Binding { api_key: Some(ApiKeyId(Uuid::from_u128(9))), ..own },
        Binding { api_key: None, ..own },
        Binding { provider: "anthropic", ..own },
        Binding { origin: "", ..own },
        Binding { origin: "https://example.org", ..own },
        Binding { record: "pk_2", ..own },
        // The same bytes, split at another position.
        Binding { provider: "openaih", origin: "ttps://example.com", ..own },
    ];
    for other in elsewhere {
        assert!(refused(open(&ring, &other, &record)), "{other:?}");
    }
}

#[test]
fn after_a_rewrap_the_old_key_is_not_needed_and_the_binding_still_holds() {
    let ambient = Ambient::system();
    let old = ring(&[("old", 1)]);
    let record = seal(&old, &ambient, &binding(), &Secret::new("sk-plain".into())).unwrap();
    let rewrapped = rewrap(&ring(&[("new", 2), ("old", 1)]), &ambient, &record).unwrap();
    let new = ring(&[("new", 2)]);
    assert_eq!(key_id_of(&rewrapped), Some("new"));
    assert!(rewrapped.starts_with(&new.newest_header()) && !record.starts_with(&new.newest_header()));
    assert_eq!(open(&new, &binding(), &rewrapped).unwrap().expose(), "sk-plain");
    assert!(refused(open(&new, &Binding { record: "pk_2", ..binding() }, &rewrapped)));
    assert!(matches!(open(&new, &binding(), &record), Err(VaultError::UnknownKey)));
    assert!(refused(open(&ring(&[("old", 7)]), &binding(), &record)), "same id, other key");
}

#[test]
fn a_bad_key_list_is_refused_without_repeating_it() {
    let good = STANDARD.encode([1; 32]);
    for (list, error) in [
        (String::new(), KeyRingError::Empty),
        (" , ".into(), KeyRingError::Empty),
        (good.clone(), KeyRingError::Malformed(1)),
        (format!(":{good}"), KeyRingError::Malformed(1)),
        (format!("a:{good},b:{}", STANDARD.encode([1; 31])), KeyRingError::Malformed(2)),
        (format!("a b:{good}"), KeyRingError::Malformed(1)),
        (format!("a:{good},a:{good}"), KeyRingError::Duplicate(2)),
    ] {
        assert_eq!(KeyRing::parse(&list).err(), Some(error));
    }
}

proptest! {
    #[test]
    fn any_content_survives_sealing_and_rewrapping(content in proptest::collection::vec(any::<u8>(), 0..300)) {
        let ambient = Ambient::system();
        let both = ring(&[("new", 2), ("old", 1)]);
        let record = seal_bytes(&ring(&[("old", 1)]), &ambient, &binding(), &content).unwrap();
        let rewrapped = rewrap(&both, &ambient, &record).unwrap();
        prop_assert_eq!(&*open_bytes(&both, &binding(), &record).unwrap(), &content);
        prop_assert_eq!(&*open_bytes(&ring(&[("new", 2)]), &binding(), &rewrapped).unwrap(), &content);
    }

    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(open(&ring(&[("k", 1)]), &binding(), &bytes).is_err());
    }
}
