//! What lies on this machine before anything is asked of others: folders, records, the key of names.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::Options;
use crate::docker::{HostFolder, NameKey};
use crate::error::Error;
use crate::records::{Loaded, Records};

/// The folder of all /checkpoint folders.
const CHECKPOINTS: &str = "checkpoints";

/// What lies on this machine before anything is asked of others.
pub(crate) struct Prepared {
    pub(crate) records: Records,
    pub(crate) loaded: Loaded,
    pub(crate) outdir: HostFolder,
    pub(crate) checkpoints: HostFolder,
    pub(crate) imgdir: Option<HostFolder>,
    pub(crate) names: NameKey,
}

impl Prepared {
    pub(crate) fn loaded(&self) -> Loaded {
        self.loaded.clone()
    }
}

/// Makes the worker's folders and opens its records.
///
/// # Errors
/// [`Error`] if the worker cannot start here.
pub(crate) fn prepare(options: &Options) -> Result<Prepared, Error> {
    let folder = |path: &Path| {
        std::fs::create_dir_all(path).map_err(|source| Error::Folder {
            path: path.to_owned(),
            source,
        })
    };
    let data_dir =
        std::path::absolute(&options.settings.data_dir).map_err(|source| Error::Folder {
            path: options.settings.data_dir.clone(),
            source,
        })?;
    folder(&data_dir)?;
    // Orders hold tokens, and bundles and logs are their users' own.
    restrict(&data_dir, 0o711)?;
    for private in ["attempts", "bundles", CHECKPOINTS] {
        folder(&data_dir.join(private))?;
        restrict(&data_dir.join(private), 0o700)?;
    }
    for file in &options.settings.docker.files {
        file.check().map_err(Error::SharedFile)?;
    }
    let outdir = match &options.settings.outdir {
        Some(outdir) => outdir.clone(),
        None => data_dir.join("out"),
    };
    folder(&outdir)?;
    let mount = |path: &Path| HostFolder::resolve(path).map_err(Error::Mount);
    let path = data_dir.join("records.redb");
    let records = Records::open(&path).map_err(Error::Records)?;
    restrict(&path, 0o600)?;
    let loaded = records.load(&random()?).map_err(Error::Records)?;
    Ok(Prepared {
        records,
        loaded,
        names: name_key(&data_dir.join("names.key"))?,
        outdir: mount(&outdir)?,
        checkpoints: mount(&data_dir.join(CHECKPOINTS))?,
        imgdir: options.settings.imgdir.as_deref().map(mount).transpose()?,
    })
}

/// The key of the names at the engine, made at the first start.
fn name_key(path: &Path) -> Result<NameKey, Error> {
    let failed = |source| Error::Folder {
        path: path.to_owned(),
        source,
    };
    match std::fs::read(path) {
        Ok(bytes) => {
            let key = bytes.try_into().map_err(|_| io::ErrorKind::InvalidData);
            Ok(NameKey::new(key.map_err(|kind| failed(kind.into()))?))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key = [0; 32];
            getrandom::fill(&mut key).map_err(Error::Random)?;
            // A key that was written in part, or that others could read for a moment, must not be used.
            let unfinished = path.with_extension("new");
            write_key(&unfinished, &key).map_err(failed)?;
            std::fs::rename(&unfinished, path).map_err(failed)?;
            Ok(NameKey::new(key))
        }
        Err(error) => Err(failed(error)),
    }
}

/// Writes a file that only this account can read, and waits until it is on the disk.
fn write_key(path: &Path, key: &[u8]) -> io::Result<()> {
    let mut file = File::options();
    let file = file.write(true).create(true).truncate(true).mode(0o600);
    let mut file = file.open(path)?;
    // It may be there already, with other permissions.
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    file.write_all(key)?;
    file.sync_all()
}

fn restrict(path: &Path, mode: u32) -> Result<(), Error> {
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions).map_err(|source| Error::Folder {
        path: path.to_owned(),
        source,
    })
}

/// A name that nothing else has.
pub(crate) fn random() -> Result<String, Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    Ok(hex::encode(bytes))
}
