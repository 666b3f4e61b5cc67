use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::codec::Capped;

fn encoded(value: impl Encode) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.encode(&mut bytes);
    bytes
}

/// Reads a value that fills `bytes`.
fn decoded<'a, T: Decode<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    let (value, rest) = decode_prefix(bytes)?;
    assert!(rest.is_empty(), "{rest:?} follow it");
    Ok(value)
}

/// The form that another implementation of bincode's encoding gives a value.
macro_rules! elsewhere {
    ($value:expr) => {
        bincode::config::serialize($value, bincode::config::Configuration::default().with_varint_encoding()).unwrap()
    };
}

proptest! {
    #[test]
    fn another_implementation_writes_and_reads_the_same_bytes(
        integers in any::<(u16, u32, u64, i64)>(),
        small in any::<(u8, bool, Option<u64>, [u8; 24])>(),
        text in ".{0,300}",
        data in vec(any::<u8>(), 0..300),
        entries in vec(any::<([u8; 16], u64)>(), 0..300),
    ) {
        prop_assert_eq!(encoded(integers), elsewhere!(&integers));
        prop_assert_eq!(encoded(small), elsewhere!(&small));
        prop_assert_eq!(encoded(text.as_str()), elsewhere!(&text));
        prop_assert_eq!(encoded(data.as_slice()), elsewhere!(&data));
        prop_assert_eq!(encoded(&entries), elsewhere!(&entries));
        prop_assert_eq!(decoded(&elsewhere!(&integers)), Ok(integers));
        prop_assert_eq!(decoded(&elsewhere!(&small)), Ok(small));
        let (text_bytes, data_bytes) = (elsewhere!(&text), elsewhere!(&data));
        prop_assert_eq!(decoded(&text_bytes), Ok(text.as_str()));
        prop_assert_eq!(decoded(&data_bytes), Ok(data.as_slice()));
        prop_assert_eq!(decoded(&elsewhere!(&entries)), Ok(entries));
    }
}

/// The examples of bincode's specification, and each width's first and last value.
#[test]
fn integers_have_the_forms_of_the_specification() {
    let forms: [(u64, &[u8]); 8] = [
        (0, &[0]),
        (250, &[250]),
        (251, &[251, 251, 0]),
        (65_535, &[251, 255, 255]),
        (65_536, &[252, 0, 0, 1, 0]),
        (4_294_967_295, &[252, 255, 255, 255, 255]),
        (4_294_967_296, &[253, 0, 0, 0, 0, 1, 0, 0, 0]),
        (u64::MAX, &[253, 255, 255, 255, 255, 255, 255, 255, 255]),
    ];
    for (value, form) in forms {
        assert_eq!(encoded(value), form);
        assert_eq!(decoded::<u64>(form), Ok(value));
    }
    for (value, folded) in [(0, 0), (-1, 1), (1, 2), (-2, 3), (i64::MAX, u64::MAX - 1), (i64::MIN, u64::MAX)] {
        assert_eq!(encoded(value), encoded(folded), "{value}");
        assert_eq!(decoded::<i64>(&encoded(folded)), Ok(value));
    }
    assert_eq!((encoded(251_u8), encoded(254_u8)), (vec![251], vec![254]), "a byte is never an announcement");
}

/// Writers in other languages may send them, and the first version's decoder took them.
#[test]
fn longer_forms_of_an_integer_decode() {
    for form in [&[7][..], &[251, 7, 0], &[252, 7, 0, 0, 0], &[253, 7, 0, 0, 0, 0, 0, 0, 0]] {
        assert_eq!(decoded::<u64>(form), Ok(7));
    }
    assert_eq!((decoded::<u32>(&[252, 7, 0, 0, 0]), decoded::<u16>(&[251, 7, 0])), (Ok(7), Ok(7)));
}

#[test]
fn an_integer_wider_than_its_field_is_an_error() {
    let widths: [(u8, &[u8]); 5] = [
        (252, &[252, 7, 0, 0, 0]),
        (253, &[253, 7, 0, 0, 0, 0, 0, 0, 0]),
        (254, &[254; 17]),
        (255, &[255]),
        (251, &[]),
    ];
    for (byte, form) in &widths[..4] {
        assert_eq!(decode_prefix::<u16>(form).unwrap_err(), DecodeError::Integer(*byte));
    }
    for (byte, form) in &widths[1..4] {
        assert_eq!(decode_prefix::<u32>(form).unwrap_err(), DecodeError::Integer(*byte));
    }
    for (byte, form) in &widths[2..4] {
        assert_eq!(decode_prefix::<u64>(form).unwrap_err(), DecodeError::Integer(*byte));
        assert_eq!(decode_prefix::<i64>(form).unwrap_err(), DecodeError::Integer(*byte));
    }
}

#[test]
fn flags_and_texts_are_checked() {
    assert_eq!(decoded::<bool>(&[2]), Err(DecodeError::Flag(2)));
    assert_eq!(decoded::<Option<u8>>(&[2, 0]), Err(DecodeError::Flag(2)));
    assert_eq!(decoded::<Option<&str>>(&[1, 1, b'x']), Ok(Some("x")));
    assert_eq!(decoded::<&str>(&[2, 0xc3, 0x28]), Err(DecodeError::Text));
    assert_eq!(decoded::<String>(&[1, 0xff]), Err(DecodeError::Text));
}

#[test]
fn a_claim_beyond_the_bytes_or_the_bound_is_an_error() {
    let beyond = |claim: u64, rest: &[u8]| [&encoded(claim)[..], rest].concat();
    for claim in [2, 251, 65_536, 1 << 32, u64::MAX] {
        let bytes = beyond(claim, &[7]);
        assert_eq!(decode_prefix::<&[u8]>(&bytes).unwrap_err(), DecodeError::Ended);
        assert_eq!(decode_prefix::<&str>(&bytes).unwrap_err(), DecodeError::Ended);
        assert_eq!(decode_prefix::<String>(&bytes).unwrap_err(), DecodeError::Ended);
        assert_eq!(decode_prefix::<Vec<u64>>(&bytes).unwrap_err(), DecodeError::Ended);
        assert_eq!(decode_prefix::<Vec<[u8; 24]>>(&bytes).unwrap_err(), DecodeError::Ended);
    }
    assert_eq!(decode_prefix::<Vec<(u8, u8)>>(&[2, 7, 7, 7]).map(drop), Err(DecodeError::Ended));
    let most = decoded::<Capped<u8, 3>>(&[3, 7, 7, 7]).unwrap();
    assert_eq!(most.0, [7; 3]);
    let over = decoded::<Capped<u8, 3>>(&[4, 7, 7, 7, 7]).map(|list| list.0);
    assert_eq!(over, Err(DecodeError::Length { claimed: 4, most: 3 }));
}

fields! {
    #[derive(Debug, PartialEq)]
    struct Borrowed<'a> {
        id: [u8; 3],
        name: &'a str,
        rest: &'a [u8],
    }
}

choices! {
    #[derive(Debug, PartialEq)]
    enum Choice {
        0 => Nothing,
        2 => Pair { left: u16, right: Option<bool> },
    }
}

#[test]
fn structs_are_their_fields_and_choices_their_number_first() {
    let value = Borrowed { id: [1, 2, 3], name: "é", rest: &[9] };
    assert_eq!(encoded(&value), [1, 2, 3, 2, 0xc3, 0xa9, 1, 9]);
    assert_eq!(decoded::<Borrowed<'_>>(&encoded(&value)), Ok(value));
    assert_eq!(<Borrowed<'_> as Decode>::LEAST, 5);
    let value = Choice::Pair { left: 300, right: Some(true) };
    assert_eq!(encoded(&value), [2, 251, 44, 1, 1, 1]);
    assert_eq!(decoded::<Choice>(&encoded(&value)), Ok(value));
    assert_eq!(decoded::<Choice>(&encoded(Choice::Nothing)), Ok(Choice::Nothing));
    for unknown in [1, 3, 300] {
        assert_eq!(decode_prefix::<Choice>(&encoded(unknown)).unwrap_err(), DecodeError::Choice(unknown));
    }
}

/// A value of every form that the formats use.
type Everything = ((u8, u16, u32, u64, i64), (bool, Option<String>, Vec<(u64, [u8; 4])>), Vec<Option<u64>>);

fn everything() -> impl Strategy<Value = Everything> {
    let list = vec(any::<(u64, [u8; 4])>(), 0..8);
    (any::<(u8, u16, u32, u64, i64)>(), (any::<bool>(), any::<Option<String>>(), list), vec(any::<Option<u64>>(), 0..8))
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_and_no_shorter_bytes_do(value in everything()) {
        let bytes = encoded(&value);
        prop_assert_eq!(decoded::<Everything>(&bytes), Ok(value));
        for end in 0..bytes.len() {
            prop_assert!(decode_prefix::<Everything>(&bytes[..end]).is_err(), "cut at {}", end);
        }
    }

    /// No bytes make the decoder panic. What decodes has no shorter form than the encoder's.
    #[test]
    fn any_bytes_are_an_error_or_a_value(bytes: Vec<u8>) {
        if let Ok((value, rest)) = decode_prefix::<Everything>(&bytes) {
            let again = encoded(&value);
            prop_assert!(again.len() + rest.len() <= bytes.len());
            prop_assert_eq!(decoded::<Everything>(&again), Ok(value));
        }
    }
}
