//! What is needed of the engine and the kernel for network namespaces that containers join: a program that only waits,
//! the files that belong to a namespace, and the traces that a container leaves in it.

use std::path::Path;

use bollard::query_parameters::{CreateImageOptions, DownloadFromContainerOptions};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;

use super::client::{Client, translate};
use super::error::Error;
use super::wait_program;

/// The files of a namespace, by the names that they have in `/etc`.
pub const NETWORK_FILES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

/// `/etc` of a container with nothing but the engine's own files is smaller.
const ETC_MAX_BYTES: usize = 1 << 20;

/// The repository of the image that holds the program.
const REPOSITORY: &str = "dopq-holder";

/// The processes of this machine.
const PROC: &str = "/proc";

/// What containers have done in a network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traces {
    /// Open sockets of every kind, also abstract ones and those that are not bound.
    pub sockets: u64,
    /// IP packets sent since the namespace was made, over any interface.
    pub sent: u64,
}

/// The content of [`NETWORK_FILES`], in their order.
pub type NetworkFiles = [Bytes; NETWORK_FILES.len()];

/// The image whose program `/wait` does nothing until it is killed.
#[must_use]
pub fn holder_image() -> String {
    let digest = blake3::hash(&wait_program::program()).to_hex();
    let (short, _) = digest.split_at(16);
    format!("{REPOSITORY}:{short}")
}

impl Client {
    /// Gives the engine [`holder_image`].
    ///
    /// # Errors
    /// Any.
    pub async fn add_holder_image(&self) -> Result<(), Error> {
        const CALL: &str = "import image";
        let archive = archive().map_err(|error| Error::Other {
            call: CALL,
            message: error.to_string(),
        })?;
        let docker = self.docker(CALL).await?;
        let image = holder_image();
        let (repo, tag) = image.split_once(':').unwrap_or((&image, "latest"));
        let options = CreateImageOptions {
            from_src: Some("-".to_owned()),
            repo: Some(repo.to_owned()),
            tag: Some(tag.to_owned()),
            ..CreateImageOptions::default()
        };
        let body = bollard::body_full(archive);
        let mut answers = docker.create_image(Some(options), Some(body), None);
        let all = async {
            while let Some(answer) = answers.next().await {
                answer.map_err(|error| translate(CALL, error))?;
            }
            Ok(())
        };
        let after = self.call_deadline();
        let done = tokio::time::timeout(after, all).await;
        done.unwrap_or(Err(Error::Deadline { call: CALL, after }))
    }

    /// The network files that the engine made for a running container.
    ///
    /// # Errors
    /// Any.
    pub async fn network_files(&self, id: &str) -> Result<NetworkFiles, Error> {
        const CALL: &str = "read /etc";
        let docker = self.docker(CALL).await?;
        let options = DownloadFromContainerOptions {
            path: "/etc".to_owned(),
        };
        let mut pieces = docker.download_from_container(id, Some(options));
        let all = async {
            let mut archive = BytesMut::new();
            while let Some(piece) = pieces.next().await {
                archive.extend_from_slice(&piece.map_err(|error| translate(CALL, error))?);
                if archive.len() > ETC_MAX_BYTES {
                    return Err(unreadable("it is too large".to_owned()));
                }
            }
            files(&archive)
        };
        let after = self.call_deadline();
        let read = tokio::time::timeout(after, all).await;
        read.unwrap_or(Err(Error::Deadline { call: CALL, after }))
    }
}

/// The traces in the namespace of the process `pid`. `None` when it is not the program `/wait NAME`, or cannot be looked
/// at.
pub(super) fn traces(pid: u32, name: &str) -> Option<Traces> {
    traces_in(&Path::new(PROC).join(pid.to_string()), name)
}

fn traces_in(process: &Path, name: &str) -> Option<Traces> {
    let command = std::fs::read(process.join("cmdline")).ok()?;
    if command.split(|b| *b == 0).nth(1) != Some(name.as_bytes()) {
        return None;
    }
    let read = |file: &str| std::fs::read_to_string(process.join("net").join(file));
    // Without IPv6 there is no such file.
    let sent_v6 = read("snmp6").map_or(Some(0), |text| word_after(&text, "Ip6OutRequests"));
    Some(Traces {
        sockets: word_after(&read("sockstat").ok()?, "used")?,
        sent: packets_sent(&read("snmp").ok()?)?.checked_add(sent_v6?)?,
    })
}

fn word_after(text: &str, word: &str) -> Option<u64> {
    let mut words = text.split_ascii_whitespace();
    words.find(|found| *found == word)?;
    words.next()?.parse().ok()
}

/// The kernel writes a line of names and one of numbers.
fn packets_sent(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter(|line| line.starts_with("Ip: "));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let mut pairs = names.split(' ').zip(numbers.split(' '));
    pairs
        .find(|(name, _)| *name == "OutRequests")?
        .1
        .parse()
        .ok()
}

fn archive() -> std::io::Result<Bytes> {
    let program = wait_program::program();
    let mut header = tar::Header::new_ustar();
    header.set_size(program.len() as u64);
    header.set_mode(0o555);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, "wait", &*program)?;
    Ok(archive.into_inner()?.into())
}

fn files(archive: &[u8]) -> Result<NetworkFiles, Error> {
    let mut found = NetworkFiles::default();
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().map_err(|error| broken(&error))?;
    for entry in entries {
        let mut entry = entry.map_err(|error| broken(&error))?;
        let path = entry.path().map_err(|error| broken(&error))?;
        let at = NETWORK_FILES
            .iter()
            .position(|name| *path == *Path::new("etc").join(name));
        let Some(slot) = at.and_then(|at| found.get_mut(at)) else {
            continue;
        };
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).map_err(|error| broken(&error))?;
        *slot = content.into();
    }
    Ok(found)
}

fn broken(error: &std::io::Error) -> Error {
    unreadable(error.to_string())
}

fn unreadable(message: String) -> Error {
    Error::Other {
        call: "read /etc",
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKSTAT: &str = "sockets: used 18\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 0\n";
    const SNMP: &str = "Ip: Forwarding InReceives OutRequests OutDiscards\nIp: 1 27 26 0\n\
        Icmp: InMsgs\nIcmp: 0\n";

    #[test]
    fn traces_are_those_of_the_named_process_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let process = folder.path();
        std::fs::create_dir(process.join("net")).expect("made");
        let write =
            |file: &str, text: &str| std::fs::write(process.join(file), text).expect("written");
        write("cmdline", "/wait\0mine\0");
        write("net/sockstat", SOCKSTAT);
        assert_eq!(traces_in(process, "mine"), None, "not all can be read");
        write("net/snmp", SNMP);
        let found = Traces {
            sockets: 18,
            sent: 26,
        };
        assert_eq!(traces_in(process, "mine"), Some(found));
        write("net/snmp6", "Ip6InReceives  \t3\nIp6OutRequests  \t4\n");
        let found = Traces { sent: 30, ..found };
        assert_eq!(traces_in(process, "mine"), Some(found));
        assert_eq!(traces_in(process, "other"), None);
        assert_eq!(traces_in(&process.join("absent"), "mine"), None);
    }

    #[test]
    fn the_engines_files_are_taken_out_of_its_archive() {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, text) in [
            ("etc/hosts", "127.0.0.1 localhost"),
            ("etc/mtab", "x"),
            ("etc/resolv.conf", "nameserver 127.0.0.11"),
            ("etc/sub/hostname", "not this one"),
        ] {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            archive
                .append_data(&mut header, path, text.as_bytes())
                .expect("added");
        }
        let archive = archive.into_inner().expect("an archive");
        let [hosts, hostname, resolv] = files(&archive).expect("read");
        assert_eq!(hosts, "127.0.0.1 localhost");
        assert_eq!(hostname, "");
        assert_eq!(resolv, "nameserver 127.0.0.11");
        assert!(files(&[7; 2048]).is_err());
    }
}
