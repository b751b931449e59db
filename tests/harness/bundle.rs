//! Bundles to submit: images of one static busybox, so that nothing is pulled.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A Dockerfile whose image runs busybox applets by name.
pub const DOCKERFILE: &str = "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nENV PATH=/bin\n";

/// A folder with a Dockerfile, a configuration and a busybox.
#[derive(Debug)]
pub struct Bundle {
    folder: TempDir,
}

impl Bundle {
    /// A bundle for `user` that runs `script` with busybox's shell.
    ///
    /// # Panics
    /// When the folder cannot be written.
    #[must_use]
    pub fn script(user: &str, name: &str, script: &str) -> Self {
        let bundle = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        let busybox = ["/bin/busybox", "/usr/bin/busybox"]
            .iter()
            .find(|path| Path::new(path).exists())
            .expect("busybox-static is installed");
        fs::copy(busybox, bundle.path().join("busybox")).expect("a busybox");
        bundle.file("Dockerfile", DOCKERFILE.as_bytes());
        bundle.file("run.sh", script.as_bytes());
        bundle.file(
            "Dockerfile",
            format!("{DOCKERFILE}COPY run.sh /run.sh\nCMD [\"/bin/sh\", \"/run.sh\"]\n").as_bytes(),
        );
        bundle.config(&json!({
            "name": name,
            "executor_name": user,
            "required_memory": "64m",
            "num_gpus": 1,
        }));
        bundle
    }

    /// Replaces the whole configuration.
    pub fn config(&self, config: &Value) {
        self.file("container_config.json", config.to_string().as_bytes());
    }

    /// Sets one field of the configuration.
    ///
    /// # Panics
    /// When the configuration cannot be read.
    #[must_use]
    pub fn with(self, field: &str, value: Value) -> Self {
        let text = fs::read(self.path().join("container_config.json")).expect("a configuration");
        let mut config: Value = serde_json::from_slice(&text).expect("JSON");
        config[field] = value;
        self.config(&config);
        self
    }

    /// Writes a file of the bundle.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn file(&self, name: &str, content: &[u8]) {
        fs::write(self.path().join(name), content).expect("a bundle's file");
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Zips the folder to `target`.
    ///
    /// # Panics
    /// When the zip cannot be written.
    pub fn zip_to(&self, target: &Path) -> PathBuf {
        let mut zip = zip::ZipWriter::new(fs::File::create(target).expect("a zip"));
        let mut names: Vec<_> = fs::read_dir(self.path())
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        for name in names {
            let name = name.to_string_lossy();
            zip.start_file(&*name, zip::write::SimpleFileOptions::default())
                .expect("an entry");
            let content = fs::read(self.path().join(&*name)).expect("a file");
            zip.write_all(&content).expect("content");
        }
        zip.finish().expect("a whole zip");
        target.to_owned()
    }
}
