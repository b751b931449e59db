//! When a certificate ends. Reads just that much of X.509 (RFC 5280, section 4.1); who trusts it is decided elsewhere.

use chrono::{DateTime, NaiveDateTime, Utc};

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, the version.
const VERSION: u8 = 0xa0;

/// The end of the validity of a certificate in DER; nothing if it is none.
pub(super) fn not_after(der: &[u8]) -> Option<DateTime<Utc>> {
    let certificate = value_of(SEQUENCE, der)?.0;
    let mut rest = value_of(SEQUENCE, certificate)?.0;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (_, _, after) = element(value_of(SEQUENCE, rest)?.0)?;
    let (tag, value, _) = element(after)?;
    let text = std::str::from_utf8(value).ok()?;
    let text = match tag {
        // Years from 1950 to 2049.
        UTC_TIME if text.starts_with(|c: char| ('5'..='9').contains(&c)) => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = NaiveDateTime::parse_from_str(&text, "%Y%m%d%H%M%SZ").ok()?;
    Some(time.and_utc())
}

/// The content of the first element, which has this tag, and what follows it.
fn value_of(expected: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (tag, value, rest) = element(bytes)?;
    (tag == expected).then_some((value, rest))
}

/// Tag and content of the first element, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, bytes) = bytes.split_first()?;
    let (&first, bytes) = bytes.split_first()?;
    let (length, bytes) = if first < 0x80 {
        (usize::from(first), bytes)
    } else {
        let (digits, bytes) = bytes.split_at_checked(usize::from(first & 0x7f))?;
        if digits.len() > 3 {
            return None;
        }
        let length = digits
            .iter()
            .fold(0, |length, digit| length << 8 | usize::from(*digit));
        (length, bytes)
    };
    let (value, rest) = bytes.split_at_checked(length)?;
    Some((tag, value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `openssl req -x509 -newkey ed25519 -nodes -subj /CN=dopq -days 1500 -outform der`, and the same with 11000.
    const SHORT: &str = "\
        308201323081e5a0030201020214048318fb455eceff08a5e746606ed543213d79ab300506032b6570300f310d300b060355\
        04030c04646f7071301e170d3236313133303232323631355a170d3331303130383232323631355a300f310d300b06035504\
        030c04646f7071302a300506032b65700321007a6a88fb6ac8d52ddc4c090287a33d98a2fbfad4d2b01dedada16236d162db\
        a3a3533051301d0603551d0e04160414ccb692e3bfd48d6c09c11b900bb5dffb470f4614301f0603551d23041830168014cc\
        b692e3bfd48d6c09c11b900bb5dffb470f4614300f0603551d130101ff040530030101ff300506032b6570034100ee08ae11\
        58a7b65e0c8106e6684c91b3c6a4b7c60743951477c13d758b038c5bc26e5eb366aeba54c16fce4a58c82351ef784cf1fb7b\
        6ad0530b3f8170b6e40e";
    const LONG: &str = "\
        308201343081e7a00302010202146191752179a6880c5a50e422b08fd1df42d73d66300506032b6570300f310d300b060355\
        04030c04646f70713020170d3236313133303232323631355a180f32303537303131313232323631355a300f310d300b0603\
        5504030c04646f7071302a300506032b6570032100f21b1ef4dc8c7074ec20524c2c91e605bfb7f5b918730280161728eb37\
        ef19e3a3533051301d0603551d0e041604145d79ac84f34ecc772665664b2c48a3941388f091301f0603551d230418301680\
        145d79ac84f34ecc772665664b2c48a3941388f091300f0603551d130101ff040530030101ff300506032b6570034100a186\
        a406327e449fddc0596763bf8d69d91b744053a929c66f637c278ce82784daaa379b6219591249a2a68e763cd8ff9a0105cc\
        60b4df8b3eea29221f9c900f";

    #[test]
    fn both_forms_of_time_are_read() {
        let end = |text: &str| not_after(&hex::decode(text).unwrap()).map(|end| end.to_rfc3339());
        assert_eq!(end(SHORT).as_deref(), Some("2031-01-08T22:26:15+00:00"));
        assert_eq!(end(LONG).as_deref(), Some("2057-01-11T22:26:15+00:00"));
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let whole = hex::decode(SHORT).unwrap();
        for length in 0..whole.len() {
            // Cut anywhere it gives nothing, and never panics.
            assert_eq!(not_after(&whole[..length]), None);
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x80;
            not_after(&changed);
        }
        assert_eq!(not_after(&[SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
