//! A store in a directory of this machine.
//!
//! A blob is a file with the blob's name; a folder is a directory. What the store needs for itself lives in two
//! directories whose names no blob can have: [`PARTIAL`] holds files that are still being written, [`LEASES`] the files
//! whose locks are leases. Unlike in Azure, no blob can be called `a` beside a blob `a/b`; nothing here writes such
//! names. Leases use `flock`, which the system releases when their holder dies; on a network file system they hold as
//! far as its locks do.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "this module is the file system's door")]

mod walk;

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind as Cause, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use tempfile::{NamedTempFile, PersistError};

use self::walk::Walk;
use super::{Content, Create, Entry, Lease, Store, busy, check_name};
use crate::error::{Error, ErrorKind, Result};

/// Holds files that are still being written. `+` stands in no blob name.
const PARTIAL: &str = ".+partial";

/// Holds one empty file for each lease ever taken. They are never removed, or two holders could lock two files.
const LEASES: &str = ".+leases";

/// The age from which a partial file is a leftover of a writer that was killed: no write takes that long.
const LEFTOVER: Duration = Duration::from_secs(24 * 60 * 60);

/// How often a write tries again when its folder vanishes under it because another blob in it was the last and is
/// deleted at that moment.
const TRIES: usize = 10;

/// How much of a blob is written at once, in bytes.
const AT_ONCE: usize = 128 * 1024;

/// Blobs in a directory. A clone is another handle on the same directory.
#[derive(Clone, Debug)]
pub struct LocalStore {
    directory: Arc<Directory>,
}

impl LocalStore {
    /// Opens the store in `directory`. Where that is missing nothing is stored: the first blob makes it, with access for
    /// its owner only, because what is stored are secrets. Removes what writers left behind that were killed more than a
    /// day ago, as far as this user may: who only reads needs no right to write.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when this is not a directory, `Forbidden` without the right to look at it.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self> {
        let opened = std::path::absolute(directory.as_ref()).and_then(Directory::open);
        match opened {
            Ok(directory) => Ok(Self { directory: Arc::new(directory) }),
            Err(error) => Err(refusal("open the store in", &directory.as_ref().display().to_string(), error)),
        }
    }

    /// Runs file work where it may block. It runs to its end also when the caller is gone.
    async fn run<T: Send + 'static>(
        &self,
        doing: &'static str,
        name: &str,
        work: impl FnOnce(&Directory, &str) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        check_name(name)?;
        let (directory, owned) = (self.directory.clone(), name.to_owned());
        let target = format!("the blob {name} in {}", self.directory.root.display());
        blocking(doing, target, move || work(&directory, &owned)).await.map_err(|error| error.at(name))
    }
}

#[async_trait]
impl Store for LocalStore {
    async fn create(&self, name: &str, content: Content) -> Result<Create> {
        self.run("write", name, move |directory, name| directory.create(name, &content)).await
    }

    async fn replace(&self, name: &str, content: Content) -> Result<()> {
        let done = self.run("replace", name, move |directory, name| {
            directory.unless_leased(name, || directory.replace(name, &content))
        });
        done.await?.ok_or_else(|| busy(name))
    }

    async fn read(&self, name: &str) -> Result<Bytes> {
        self.read_part(name, 0..u64::MAX).await
    }

    async fn read_part(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        self.run(READ, name, move |directory, name| directory.read(name, range)).await
    }

    fn list(&self, prefix: &str, after: Option<&str>) -> BoxStream<'_, Result<Entry>> {
        let walk = Walk::new(&self.directory.root, prefix, after);
        let (directory, target) = (self.directory.clone(), self.describe());
        stream::try_unfold(walk, move |mut walk| {
            let (directory, target) = (directory.clone(), target.clone());
            async move {
                let next = move || {
                    let batch = if directory.is_yet_to_be_made() { Vec::new() } else { walk.next_batch()? };
                    Ok((batch, walk))
                };
                let (batch, walk) = blocking("list", target, next).await?;
                Ok::<_, Error>((!batch.is_empty()).then(|| (stream::iter(batch.into_iter().map(Ok)), walk)))
            }
        })
        .try_flatten()
        .boxed()
    }

    fn folders(&self, prefix: &str) -> BoxStream<'_, Result<String>> {
        let (directory, prefix) = (self.directory.clone(), prefix.to_owned());
        let folders = move || {
            if directory.is_yet_to_be_made() { Ok(Vec::new()) } else { walk::folders(&directory.root, &prefix) }
        };
        stream::once(blocking("list", self.describe(), folders))
            .map_ok(|folders| stream::iter(folders.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let done = self.run("delete", name, |directory, name| directory.unless_leased(name, || directory.delete(name)));
        done.await?.ok_or_else(|| busy(name))
    }

    async fn lease(&self, name: &str) -> Result<Box<dyn Lease>> {
        let lock = self.run("lease", name, Directory::lock).await?.ok_or_else(|| busy(name))?;
        self.create(name, Bytes::new().into()).await?;
        Ok(Box::new(LocalLease { _lock: lock }))
    }

    fn describe(&self) -> String {
        match url::Url::from_directory_path(&self.directory.root) {
            Ok(url) => url.into(),
            Err(()) => self.directory.root.display().to_string(),
        }
    }
}

/// The system releases the lock with the file, whatever becomes of the holder.
#[derive(Debug)]
struct LocalLease {
    _lock: File,
}

#[async_trait]
impl Lease for LocalLease {
    fn is_held(&self) -> bool {
        true
    }

    async fn release(self: Box<Self>) {
        drop(self);
    }
}

/// The blocking half of the store.
#[derive(Debug)]
struct Directory {
    root: PathBuf,
    /// Directories whose own entry is known to be on the disk, which spares syncing it with every blob.
    settled: Mutex<HashSet<PathBuf>>,
    /// Whether the root was ever there. From then on it must be, or a disk that is gone would look like an empty store.
    was_there: AtomicBool,
}

impl Directory {
    fn open(root: PathBuf) -> io::Result<Self> {
        let was_there = match fs::metadata(&root) {
            Ok(found) if !found.is_dir() => return Err(Cause::NotADirectory.into()),
            Err(error) if error.kind() != Cause::NotFound => return Err(error),
            found => AtomicBool::new(found.is_ok()),
        };
        for entry in fs::read_dir(root.join(PARTIAL)).into_iter().flatten().flatten() {
            let written = entry.metadata().and_then(|metadata| metadata.modified());
            let age = written.ok().and_then(|written| SystemTime::now().duration_since(written).ok());
            if age.is_some_and(|age| age > LEFTOVER) {
                // They do no harm, and the next who may write has them removed.
                let _ = fs::remove_file(entry.path());
            }
        }
        if was_there.load(Ordering::Relaxed) {
            fs::read_dir(&root)?;
        }
        Ok(Self { root, settled: Mutex::default(), was_there })
    }

    /// Nothing was ever stored here.
    fn is_yet_to_be_made(&self) -> bool {
        match fs::metadata(&self.root) {
            Err(error) if error.kind() == Cause::NotFound => !self.was_there.load(Ordering::Relaxed),
            _ => {
                self.was_there.store(true, Ordering::Relaxed);
                false
            }
        }
    }

    fn create(&self, name: &str, content: &Content) -> io::Result<Create> {
        let path = self.root.join(name);
        let placed = match fs::symlink_metadata(&path) {
            Ok(_) => Err(Cause::AlreadyExists.into()),
            Err(_) => self.place(&path, content, |file, path| file.persist_noclobber(path)),
        };
        match placed {
            Ok(()) => Ok(Create::Created),
            Err(error) if error.kind() == Cause::AlreadyExists => {
                if path.is_dir() {
                    return Err(Cause::IsADirectory.into());
                }
                // Its writer may not have come to this yet, and our caller relies on the blob from now on.
                sync_folder_of(&path)?;
                Ok(Create::Exists)
            }
            Err(error) => Err(error),
        }
    }

    fn replace(&self, name: &str, content: &Content) -> io::Result<()> {
        self.place(&self.root.join(name), content, |file, path| file.persist(path))
    }

    fn read(&self, name: &str, range: Range<u64>) -> io::Result<Bytes> {
        let read = File::open(self.root.join(name)).and_then(|mut file| {
            let there = file.metadata()?.len().min(range.end).saturating_sub(range.start);
            let mut bytes = Vec::with_capacity(usize::try_from(there).unwrap_or_default());
            file.seek(SeekFrom::Start(range.start))?;
            file.take(range.end.saturating_sub(range.start)).read_to_end(&mut bytes)?;
            Ok(bytes.into())
        });
        match read {
            Err(error) if matches!(error.kind(), Cause::IsADirectory | Cause::NotADirectory) => {
                Err(Cause::NotFound.into())
            }
            read => read,
        }
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        let path = self.root.join(name);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(_) if !path.is_file() => return Ok(()),
            Err(error) => return Err(error),
        }
        absent_is_fine(sync_folder_of(&path))?;
        let folders = path.ancestors().skip(1).take_while(|folder| *folder != self.root);
        for folder in folders {
            self.settled().remove(folder);
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Writes a file that is complete and on the disk before it bears its name.
    fn place(
        &self,
        path: &Path,
        content: &Content,
        place: impl Fn(NamedTempFile, &Path) -> Result<File, PersistError>,
    ) -> io::Result<()> {
        let partial = self.root.join(PARTIAL);
        self.make_folder(&partial)?;
        let mut file = NamedTempFile::new_in(partial)?;
        write(&mut file, content)?;
        file.as_file().sync_all()?;
        for _ in 0..TRIES {
            let error = match self.make_folder(folder_of(path)) {
                Ok(()) => match place(file, path) {
                    Ok(_) => return absent_is_fine(sync_folder_of(path)),
                    Err(failed) => {
                        file = failed.file;
                        failed.error
                    }
                },
                Err(error) => error,
            };
            if error.kind() != Cause::NotFound {
                return Err(error);
            }
        }
        Err(io::Error::new(Cause::NotFound, "its folder is removed again and again"))
    }

    /// Makes a folder and those above it, and sees to it that they outlive a crash.
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        // What stands above the root is not ours, and we may not be allowed to open it.
        let ours = path != self.root && path.starts_with(&self.root);
        if path.is_dir() && (!ours || self.settled().contains(path)) {
            return Ok(());
        }
        self.make_folder(folder_of(path))?;
        match private_folder().create(path) {
            Err(error) if error.kind() != Cause::AlreadyExists => return Err(error),
            Err(_) if fs::symlink_metadata(path)?.is_file() => return Err(Cause::NotADirectory.into()),
            _ => {}
        }
        sync_folder_of(path)?;
        self.settled().insert(path.to_owned());
        Ok(())
    }

    /// The lock that is the lease on a name, or `None` when somebody else has it.
    fn lock(&self, name: &str) -> io::Result<Option<File>> {
        let path = self.root.join(LEASES).join(name);
        self.make_folder(folder_of(&path))?;
        let file = private_file().create(true).truncate(false).open(path)?;
        taken(file.try_lock()).map(|taken| taken.then_some(file))
    }

    /// Does what is not allowed on a leased blob, or answers `None`.
    fn unless_leased<T>(&self, name: &str, work: impl FnOnce() -> io::Result<T>) -> io::Result<Option<T>> {
        let _lock = match private_file().open(self.root.join(LEASES).join(name)) {
            Ok(file) => match taken(file.try_lock_shared())? {
                true => Some(file),
                false => return Ok(None),
            },
            Err(error) if is_absence(&error) => None,
            Err(error) => return Err(error),
        };
        work().map(Some)
    }

    fn settled(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn blocking<T: Send + 'static>(
    doing: &'static str,
    target: String,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| refusal(doing, &target, error)),
        Err(error) => {
            Err(Error::new(ErrorKind::Internal, format!("The work to {doing} {target} was cut off.")).because(error))
        }
    }
}

fn taken(lock: Result<(), TryLockError>) -> io::Result<bool> {
    match lock {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn write(file: &mut impl Write, content: &Content) -> io::Result<()> {
    (0..content.len()).step_by(AT_ONCE).try_for_each(|at| {
        let part = content.read(at..at + AT_ONCE as u64).map_err(io::Error::other)?;
        file.write_all(&part)
    })
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), Cause::NotFound | Cause::NotADirectory)
}

fn absent_is_fine(done: io::Result<()>) -> io::Result<()> {
    done.or_else(|error| if is_absence(&error) { Ok(()) } else { Err(error) })
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Writes the entry of this path to the disk. Only on Unix can a directory be synced, and only there is it needed.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder_of(path))?.sync_all() } else { Ok(()) }
}

fn private_folder() -> DirBuilder {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// What is done when a sector that cannot be read is damage of one blob.
const READ: &str = "read";

/// What the system answers to reading such a sector: EIO; on Windows ERROR_CRC.
const UNREADABLE: i32 = if cfg!(windows) { 23 } else { 5 };

/// The one table from what the system answers to what the caller can do.
fn refusal(doing: &str, target: &str, error: io::Error) -> Error {
    let (kind, advice) = match error.kind() {
        // What is on it is lost, wherever else the disk is sound.
        _ if doing == READ && error.raw_os_error() == Some(UNREADABLE) => {
            (ErrorKind::Corrupt, "The disk cannot read it: copy what it still reads to another one.")
        }
        Cause::NotFound => (ErrorKind::NotFound, "It does not exist."),
        Cause::PermissionDenied | Cause::ReadOnlyFilesystem => (
            ErrorKind::Forbidden,
            "This user may not: check the owner and mode of the directory, and whether the disk is mounted read-only.",
        ),
        Cause::StorageFull | Cause::QuotaExceeded => {
            (ErrorKind::Refused, "The disk is full: make space, then run this again.")
        }
        Cause::FileTooLarge => (
            ErrorKind::Refused,
            "No file may be so long: raise the limit (ulimit -f) or make space on a disk that has none, then run this again.",
        ),
        Cause::AlreadyExists | Cause::NotADirectory | Cause::IsADirectory => {
            (ErrorKind::InvalidInput, "A file stands where a directory is needed, or the reverse: choose another path.")
        }
        Cause::InvalidFilename => (ErrorKind::InvalidInput, "The file system does not take such a long name."),
        _ => (ErrorKind::Unavailable, "Check the disk, then run this again."),
    };
    Error::new(kind, format!("Could not {doing} {target}. {advice}")).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_that_cannot_be_read_is_damage_and_one_that_cannot_be_written_is_none() {
        for (doing, kind) in
            [("read", ErrorKind::Corrupt), ("list", ErrorKind::Unavailable), ("write", ErrorKind::Unavailable)]
        {
            assert_eq!(refusal(doing, "the blob a", io::Error::from_raw_os_error(UNREADABLE)).kind(), kind, "{doing}");
        }
    }

    #[test]
    fn what_the_system_refuses_is_explained() {
        for (cause, kind, said) in [
            (Cause::StorageFull, ErrorKind::Refused, "disk is full"),
            (Cause::PermissionDenied, ErrorKind::Forbidden, "owner and mode"),
            (Cause::NotFound, ErrorKind::NotFound, "does not exist"),
            (Cause::Other, ErrorKind::Unavailable, "Check the disk"),
        ] {
            let error = refusal("write", "the blob a in /backups", cause.into());
            assert_eq!(error.kind(), kind);
            assert!(error.message().starts_with("Could not write the blob a in /backups. "), "{error}");
            assert!(error.message().contains(said), "{error}");
        }
    }
}
