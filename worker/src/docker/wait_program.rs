//! A static program for Linux that waits until it is killed: the smallest process that keeps a container running.
//!
//! It is written here as machine code, because a worker carries no compiler and an engine may reach no registry.

/// Where the program is loaded.
const ADDRESS: u64 = 0x40_0000;
/// The lengths of the file's and of the segment's header.
const HEADERS: [u16; 2] = [64, 56];
/// `EM_X86_64` and `EM_AARCH64`, as the ELF format numbers them.
const MACHINES: [u16; 2] = [62, 183];

/// `pause()` again and again.
const X86_64: &[u8] = &[
    0xb8, 0x22, 0x00, 0x00, 0x00, // mov eax, 34
    0x0f, 0x05, // syscall
    0xeb, 0xf7, // jmp to the begin
];

/// `ppoll(NULL, 0, NULL, NULL, 0)` again and again; this architecture has no `pause`.
const AARCH64: &[u8] = &[
    0x00, 0x00, 0x80, 0xd2, // mov x0, 0
    0x01, 0x00, 0x80, 0xd2, // mov x1, 0
    0x02, 0x00, 0x80, 0xd2, // mov x2, 0
    0x03, 0x00, 0x80, 0xd2, // mov x3, 0
    0x04, 0x00, 0x80, 0xd2, // mov x4, 0
    0x28, 0x09, 0x80, 0xd2, // mov x8, 73
    0x01, 0x00, 0x00, 0xd4, // svc 0
    0xf9, 0xff, 0xff, 0x17, // b to the begin
];

/// The program, as an ELF file for this machine's architecture.
pub(super) fn program() -> Vec<u8> {
    let [x86_64, aarch64] = MACHINES;
    if cfg!(target_arch = "aarch64") {
        file(aarch64, AARCH64)
    } else {
        file(x86_64, X86_64)
    }
}

fn file(machine: u16, code: &[u8]) -> Vec<u8> {
    let [header, segment] = HEADERS;
    let begin = u64::from(header) + u64::from(segment);
    let length = begin + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let put = |file: &mut Vec<u8>, bytes: &[u8]| file.extend_from_slice(bytes);
    // An executable of version 1, its entry, its segments' place, and no sections.
    put(&mut file, &2_u16.to_le_bytes());
    put(&mut file, &machine.to_le_bytes());
    put(&mut file, &1_u32.to_le_bytes());
    put(&mut file, &(ADDRESS + begin).to_le_bytes());
    put(&mut file, &u64::from(header).to_le_bytes());
    put(&mut file, &[0; 12]);
    for number in [header, segment, 1, 0, 0, 0] {
        put(&mut file, &number.to_le_bytes());
    }
    // One segment that is loaded, read and run: the whole file.
    put(&mut file, &1_u32.to_le_bytes());
    put(&mut file, &5_u32.to_le_bytes());
    for number in [0, ADDRESS, ADDRESS, length, length, 0x1_0000] {
        put(&mut file, &number.to_le_bytes());
    }
    put(&mut file, code);
    file
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_runs_until_it_is_killed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("wait");
        let mut file = std::fs::File::create(&path).expect("made");
        file.write_all(&program()).expect("written");
        file.set_permissions(std::fs::Permissions::from_mode(0o500))
            .expect("set");
        drop(file);
        let mut child = Command::new(&path).arg("name").spawn().expect("runs");
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(child.try_wait().expect("asked"), None);
        child.kill().expect("killed");
        assert_eq!(child.wait().expect("ended").signal(), Some(9));
    }

    #[test]
    fn each_architectures_code_follows_its_headers() {
        for (machine, code) in MACHINES.into_iter().zip([X86_64, AARCH64]) {
            let file = file(machine, code);
            let begin = usize::from(HEADERS[0] + HEADERS[1]);
            assert_eq!(file.len(), begin + code.len());
            assert_eq!(file.split_at(begin).1, code);
            assert_eq!(file[18..20], machine.to_le_bytes());
        }
    }
}
