//! Identifiers: what names a job, an attempt, a user, a worker, a GPU, a bundle and a leadership.
//!
//! Every identifier is a type of its own that only its parser can build from text, so that a name
//! which reaches the core is already well formed. Generating ids is left to the owners of counters.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name of a user, group, worker or GPU, in bytes.
pub const NAME_MAX_BYTES: usize = 128;

/// Text that is not the identifier it was read as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}: {rule}")]
pub struct ParseIdError {
    /// What was expected, for example `job id`.
    pub what: &'static str,
    /// The offending text.
    pub text: String,
    /// The rule that the text broke.
    pub rule: &'static str,
}

/// Stores and sends identifiers as their text. Reading checks it as their parser does.
macro_rules! serde_as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

serde_as_text!(
    JobKey, AttemptId, Digest, UserName, GroupName, WorkerId, GpuId, VolumeName
);

/// One accepted request to run a bundle, counted up per cluster from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits_only = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits_only && number > 0 => Ok(Self(number)),
            _ => Err(ParseIdError {
                what: "job id",
                text: text.to_owned(),
                rule: "a job id is a whole number above 0, such as 1423",
            }),
        }
    }
}

/// A job as people name it: by its id, or a task by its array's id and its index in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobName {
    /// `1423`.
    Job(JobId),
    /// `1423_7`.
    Task {
        /// The array.
        array: JobId,
        /// The task's index.
        index: u32,
    },
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(id) => id.fmt(f),
            Self::Task { array, index } => write!(f, "{array}_{index}"),
        }
    }
}

impl FromStr for JobName {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fault = || ParseIdError {
            what: "job id",
            text: text.to_owned(),
            rule: "a job id is a whole number above 0, such as 1423, and a task's is 1423_7",
        };
        let Some((array, index)) = text.split_once('_') else {
            return text.parse().map(Self::Job).map_err(|_| fault());
        };
        let array = array.parse().map_err(|_| fault())?;
        let digits_only = !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit());
        match index.parse() {
            Ok(index) if digits_only => Ok(Self::Task { array, index }),
            _ => Err(fault()),
        }
    }
}

/// 128 random bits, drawn when a job is accepted. They tell it from every other job, also from one that had the same
/// id in a store whose data was lost. Written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobKey(pub [u8; 16]);

impl JobKey {
    /// The first 12 hexadecimal digits, for names that people read.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(self.0.split_at(6).0)
    }
}

impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobKey({self})")
    }
}

impl FromStr for JobKey {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match lower_hex(text) {
            Some(bytes) => Ok(Self(bytes)),
            None => Err(ParseIdError {
                what: "job key",
                text: text.to_owned(),
                rule: "a job key is 32 lower-case hexadecimal digits",
            }),
        }
    }
}

/// One try at running a job, as in `1423.2-` and the job's key. The key makes it unique beyond one life of the store:
/// whatever is kept under an attempt's id (an order, a token, a container, a log, results) is that of this job alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// The job that is tried.
    pub job: JobId,
    /// Which try, from 1. It is the fencing token: it only ever grows.
    pub number: u32,
    /// The job's key.
    pub key: JobKey,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}-{}", self.job, self.number, self.key)
    }
}

impl FromStr for AttemptId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fault = || ParseIdError {
            what: "attempt id",
            text: text.to_owned(),
            rule: "an attempt id is a job id, a try and the job's key, such as \
                   1423.2-00112233445566778899aabbccddeeff",
        };
        let (tried, key) = text.split_once('-').ok_or_else(fault)?;
        let (job, number) = tried.split_once('.').ok_or_else(fault)?;
        let job = job.parse().map_err(|_| fault())?;
        let number: JobId = number.parse().map_err(|_| fault())?;
        let number = u32::try_from(number.0).map_err(|_| fault())?;
        let key = key.parse().map_err(|_| fault())?;
        Ok(Self { job, number, key })
    }
}

/// The leadership number: grows each time a master takes the lead, and fences every commit and order.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The BLAKE3 digest of a bundle's bytes, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The first 12 hexadecimal digits, for names that people read.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(self.0.split_at(6).0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match lower_hex(text) {
            Some(bytes) => Ok(Self(bytes)),
            None => Err(ParseIdError {
                what: "digest",
                text: text.to_owned(),
                rule: "a digest is 64 lower-case hexadecimal digits",
            }),
        }
    }
}

/// Bytes from just as many pairs of lower-case hexadecimal digits.
fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let is_lower = text.bytes().all(|b| !b.is_ascii_uppercase());
    let decoded = hex::decode_to_slice(text, &mut bytes);
    (is_lower && decoded.is_ok()).then_some(bytes)
}

/// Makes a cheap-to-clone text identifier with one rule for its characters.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $min:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match check_name(text, $min) {
                    Ok(()) => Ok(Self(Arc::from(text))),
                    Err(rule) => Err(ParseIdError { what: $what, text: text.to_owned(), rule }),
                }
            }
        }
    };
}

name!(
    /// A person, as the identity that a token or a share's folder proves.
    UserName, "user name", 1
);
name!(
    /// Users who have one share of the cluster together.
    GroupName, "group name", 1
);
name!(
    /// The agent on one GPU machine; also the last part of its queue's name.
    WorkerId, "worker name", 1
);
name!(
    /// A GPU's UUID, as NVML reports it, for example `GPU-8a4b…`.
    GpuId, "GPU id", 1
);
name!(
    /// A folder that machines offer to jobs; also its name below `/volumes` in the container.
    VolumeName, "volume name", 1
);

impl VolumeName {
    /// The name by which machines tell that they have a `/workspace` for every user. Every job sees it there; one that
    /// asks for it by this name runs nowhere else.
    #[must_use]
    pub fn workspace() -> Self {
        Self(Arc::from("workspace"))
    }
}

/// Names stand in file paths, queue names, Redis keys and Docker labels, so they keep to what all of
/// those take unescaped, and never begin with a character that a shell or a path treats specially.
fn check_name(text: &str, min_chars: usize) -> Result<(), &'static str> {
    if text.len() < min_chars {
        return Err("it is empty");
    }
    if text.len() > NAME_MAX_BYTES {
        return Err("the maximum is 128 bytes");
    }
    if !text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._-@+".contains(&b))
    {
        return Err("only letters, digits and . _ - @ + are allowed");
    }
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) || text.contains("..") {
        return Err("it must start with a letter or digit and not contain '..'");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_back_as_written() {
        let key = "00112233445566778899aabbccddeeff";
        for text in ["1423.2", "1.1", "18446744073709551615.4294967295"] {
            let text = format!("{text}-{key}");
            let id: AttemptId = text.parse().expect(&text);
            assert_eq!(id.to_string(), text);
        }
        for text in [
            "",
            "1",
            "0.1",
            "1.0",
            "+1.1",
            "1.1.1",
            "1. 1",
            "18446744073709551616.1",
            "a.b",
        ] {
            assert!(text.parse::<AttemptId>().is_err(), "{text:?}");
            let text = format!("{text}-{key}");
            assert!(text.parse::<AttemptId>().is_err(), "{text:?}");
        }
        for key in ["", "0011", &key.to_uppercase(), &format!("{key}0")] {
            assert!(key.parse::<JobKey>().is_err(), "{key:?}");
            let text = format!("1.1-{key}");
            assert!(text.parse::<AttemptId>().is_err(), "{text:?}");
        }
        assert!("1.1".parse::<AttemptId>().is_err(), "without a key");
    }

    #[test]
    fn a_job_key_is_stored_as_text() {
        let key = JobKey([0xab; 16]);
        let json = serde_json::to_string(&key).expect("JSON");
        assert_eq!(json, format!("{:?}", "ab".repeat(16)));
        assert_eq!(serde_json::from_str::<JobKey>(&json).expect("read"), key);
    }

    #[test]
    fn jobs_and_tasks_are_named() {
        let task = JobName::Task {
            array: JobId(1423),
            index: 7,
        };
        for (text, name) in [("1423_7", task), ("1423", JobName::Job(JobId(1423)))] {
            assert_eq!(text.parse(), Ok(name));
            assert_eq!(name.to_string(), text);
        }
        for text in [
            "",
            "0",
            "_7",
            "1423_",
            "0_1",
            "1_+2",
            "1_4294967296",
            "1_2_3",
            "1.2",
        ] {
            assert!(text.parse::<JobName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_refuse_what_a_path_or_a_key_would_misread() {
        for text in ["anna", "gpu-01.lab", "a@b.org", "GPU-8a4b"] {
            let name: UserName = text.parse().expect(text);
            assert_eq!(name.as_str(), text);
            let json = serde_json::to_string(&name).expect("JSON");
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<UserName>(&json).expect(text), name);
        }
        for text in [
            "",
            "a/b",
            "..",
            "a..b",
            ".a",
            "-a",
            "a b",
            "a:b",
            "a\u{e9}",
            "a\n",
            &"x".repeat(129),
        ] {
            assert!(text.parse::<UserName>().is_err(), "{text:?}");
            let json = serde_json::to_string(text).expect("JSON");
            assert!(serde_json::from_str::<UserName>(&json).is_err(), "{json}");
        }
    }

    #[test]
    fn digests_are_lower_case_hexadecimal() {
        let text = "ab".repeat(32);
        assert_eq!(text.parse::<Digest>().expect("valid").to_string(), text);
        assert!(text.to_uppercase().parse::<Digest>().is_err());
        assert!("ab".parse::<Digest>().is_err());
    }
}
