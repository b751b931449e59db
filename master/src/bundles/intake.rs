//! The only way into the bundle store: spool, digest, validate, store.

use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dopq_common::bundle::archive::{self, Inspected, UNREADABLE};
use dopq_common::bundle::{Fault, Limits, config};
use dopq_common::id::{Digest, UserName};
use dopq_common::job::{BundleRef, JobSpec};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::objects::private_folder;
use super::{Bundles, Error, IntakeError, Spooled, Stored, image};
use crate::judging::{Judging, Overrun};
use crate::quota::Quota;

/// Validation reads in pieces of this size.
const BUFFER_BYTES: usize = 1 << 18;
/// The longest reading of a configuration; it takes milliseconds.
const CONFIG_DEADLINE: Duration = Duration::from_secs(5);
/// The longest reading of a small archive.
const ARCHIVE_DEADLINE: Duration = Duration::from_secs(60);
/// How fast a large one must at least be read. It is many times slower than one core inflates.
const ARCHIVE_BYTES_PER_SECOND: u64 = 2 << 20;

/// Accepts bundles; cheap to clone.
#[derive(Debug, Clone)]
pub struct Intake {
    bundles: Bundles,
    spool: Arc<PathBuf>,
    limits: Arc<Limits>,
    quota: Quota,
    archives: Judging,
    texts: Judging,
}

/// A valid bundle.
#[derive(Debug)]
pub struct Judged {
    /// Digest and size.
    pub bundle: BundleRef,
    /// The text of its configuration.
    pub config: String,
    /// The job's specification.
    pub spec: JobSpec,
    /// Its bytes.
    spooled: Spooled,
    /// Whether the store had it.
    stored: bool,
}

/// A bundle that is in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// Digest and size.
    pub bundle: BundleRef,
    /// The text of its configuration.
    pub config: String,
    /// The job's specification.
    pub spec: JobSpec,
}

impl Intake {
    /// An intake that spools in `spool`. Creates the folder if it is missing; it must be private to this process.
    ///
    /// # Errors
    /// [`Error::Folder`].
    pub fn new(bundles: Bundles, spool: &Path, limits: Limits) -> Result<Self, Error> {
        private_folder(spool)?;
        Ok(Self {
            bundles,
            spool: Arc::new(spool.to_owned()),
            limits: Arc::new(limits),
            quota: Quota::default(),
            archives: Judging::default(),
            texts: Judging::default(),
        })
    }

    /// The same with a limit on what each user keeps.
    #[must_use]
    pub fn with_quota(self, quota: Quota) -> Self {
        Self { quota, ..self }
    }

    /// What each user keeps, and may keep.
    #[must_use]
    pub const fn quota(&self) -> &Quota {
        &self.quota
    }

    /// The store.
    #[must_use]
    pub fn bundles(&self) -> &Bundles {
        &self.bundles
    }

    /// The spool's folder.
    #[must_use]
    pub fn spool_folder(&self) -> &Path {
        &self.spool
    }

    /// Starts to receive a bundle: write its bytes, then [`Intake::accept`] it.
    ///
    /// # Errors
    /// [`IntakeError::Full`], [`IntakeError::Spool`].
    pub async fn spool(&self) -> Result<Spooled, IntakeError> {
        Spooled::create(&self.spool, self.limits.compressed_bytes)
            .await
            .map_err(IntakeError::of)
    }

    /// Makes a bundle of an image archive and its configuration: `beside`, or the one in it.
    ///
    /// # Errors
    /// [`IntakeError`].
    pub(crate) async fn wrap_image(
        &self,
        mut archive: Spooled,
        beside: Option<String>,
        owner: Option<&UserName>,
    ) -> Result<Spooled, IntakeError> {
        let size_bytes = archive.size_bytes();
        let mut file = archive.reader().await.map_err(IntakeError::of)?;
        let (spool, limits) = (Arc::clone(&self.spool), Arc::clone(&self.limits));
        let wrap = move || -> io::Result<_> {
            let mut to = tempfile::tempfile_in(&*spool)?;
            Ok(
                match image::wrap(&mut file, beside, &mut to, limits.expanded_bytes)? {
                    Ok(()) => Ok(Spooled::of(to, limits.compressed_bytes)?),
                    Err(fault) => Err(IntakeError::Invalid(vec![fault])),
                },
            )
        };
        let deadline =
            ARCHIVE_DEADLINE + Duration::from_secs(size_bytes / ARCHIVE_BYTES_PER_SECOND);
        let wrapped = self.archives.run_for(owner, deadline, wrap).await;
        let wrapped = wrapped.map_err(IntakeError::overrun)?;
        wrapped.map_err(IntakeError::of)?
    }

    /// Validates and stores a bundle of `owner`; it is durable when this returns. Does not validate a stored bundle
    /// again.
    ///
    /// # Errors
    /// [`IntakeError`].
    pub async fn accept(
        &self,
        spooled: Spooled,
        announced: Option<Digest>,
        owner: &UserName,
    ) -> Result<Taken, IntakeError> {
        let judged = self.judge(spooled, announced, Some(owner)).await?;
        self.keep(judged).await
    }

    /// Validates a bundle without storing it. Of each owner one is read at a time, and one of all that are unknown.
    ///
    /// # Errors
    /// [`IntakeError`].
    pub async fn judge(
        &self,
        mut spooled: Spooled,
        announced: Option<Digest>,
        owner: Option<&UserName>,
    ) -> Result<Judged, IntakeError> {
        let found = spooled.digest();
        if let Some(announced) = announced
            && announced != found
        {
            return Err(IntakeError::Digest { announced, found });
        }
        let bundle = BundleRef {
            digest: found,
            size_bytes: spooled.size_bytes(),
        };
        if let Some(Stored { config, .. }) = self
            .bundles
            .find(&found)
            .await
            .map_err(IntakeError::Store)?
        {
            let (_, spec) = self.read_config(config.clone(), Map::new()).await?;
            return Ok(Judged {
                bundle,
                config,
                spec,
                spooled,
                stored: true,
            });
        }
        let file = spooled.reader().await.map_err(IntakeError::of)?;
        let inspected = self.inspect(file, bundle.size_bytes, owner).await?;
        Ok(Judged {
            bundle,
            config: inspected.config,
            spec: inspected.spec,
            spooled,
            stored: false,
        })
    }

    /// Notes that `user` has a stored bundle's content, may use it, and keeps it.
    ///
    /// # Errors
    /// [`IntakeError::Store`].
    pub async fn grant(&self, bundle: BundleRef, user: &UserName) -> Result<(), IntakeError> {
        let granted = self.bundles.grant(&bundle.digest, user).await;
        if granted.map_err(IntakeError::Store)? {
            self.quota.uploaded(user, bundle.size_bytes);
        }
        Ok(())
    }

    /// Reads a configuration with a client's overrides, and returns the accepted document and the job's specification.
    ///
    /// # Errors
    /// [`IntakeError::Invalid`], [`IntakeError::Busy`].
    pub async fn read_config(
        &self,
        config: String,
        overrides: Map<String, Value>,
    ) -> Result<(String, JobSpec), IntakeError> {
        let read = move || {
            let config = config::merge(&config, &overrides)?;
            let spec = config::parse(&config)?;
            Ok((config, spec))
        };
        let read = self.texts.run(CONFIG_DEADLINE, read).await;
        read.map_err(IntakeError::overrun)?
            .map_err(IntakeError::Invalid)
    }

    /// Inflating and checking needs the CPU and would block other tasks.
    async fn inspect(
        &self,
        mut file: std::fs::File,
        size_bytes: u64,
        owner: Option<&UserName>,
    ) -> Result<Inspected, IntakeError> {
        let limits = Arc::clone(&self.limits);
        let deadline =
            ARCHIVE_DEADLINE + Duration::from_secs(size_bytes / ARCHIVE_BYTES_PER_SECOND);
        let inspect = move || {
            file.rewind()?;
            let reader = Deadlined {
                inner: BufReader::with_capacity(BUFFER_BYTES, file),
                until: Instant::now() + deadline,
            };
            Ok(archive::inspect(reader, size_bytes, &limits))
        };
        let started = Instant::now();
        let inspected: io::Result<_> = self
            .archives
            .run_for(owner, 2 * deadline, inspect)
            .await
            .map_err(IntakeError::overrun)?;
        match inspected.map_err(IntakeError::of)? {
            Ok(inspected) => Ok(inspected),
            Err(_) if started.elapsed() > deadline => {
                Err(IntakeError::overrun(Overrun::Slow(deadline)))
            }
            Err(faults) => Err(invalid(faults)),
        }
    }

    /// Stores a validated bundle unless it is stored; it is durable when this returns.
    ///
    /// # Errors
    /// [`IntakeError::Store`].
    pub async fn keep(&self, judged: Judged) -> Result<Taken, IntakeError> {
        let Judged {
            bundle,
            config,
            spec,
            mut spooled,
            stored,
        } = judged;
        let _using = self.bundles.using(bundle.digest).await;
        // It may have been removed meanwhile.
        let found = match stored {
            true => self.bundles.find(&bundle.digest).await,
            false => Ok(None),
        };
        if found.map_err(IntakeError::Store)?.is_none() {
            self.bundles
                .put(&mut spooled, bundle, &config)
                .await
                .map_err(IntakeError::Store)?;
        }
        Ok(Taken {
            bundle,
            config,
            spec,
        })
    }
}

/// A file that fails to be read after its time, so that its reader stops.
struct Deadlined<R> {
    inner: R,
    until: Instant,
}

impl<R> Deadlined<R> {
    fn check(&self) -> io::Result<()> {
        if Instant::now() > self.until {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl<R: Read> Read for Deadlined<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.read(buffer)
    }
}

impl<R: Seek> Seek for Deadlined<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.check()?;
        self.inner.seek(to)
    }
}

/// The bundle's faults, or the spool's error if the local disk failed.
fn invalid(faults: Vec<Fault>) -> IntakeError {
    match faults.iter().find(|fault| fault.rule == UNREADABLE) {
        Some(fault) => IntakeError::Spool(std::io::Error::other(fault.message.clone())),
        None => IntakeError::Invalid(faults),
    }
}
