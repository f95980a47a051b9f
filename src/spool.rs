//! Bytes that may be many: the end of them in memory, all before it in a temporary file.
//!
//! The file has no name, so that it is gone with the process, however that ends. What is appended and read stays in the
//! system's cache as a rule, so this is done in place, without a thread of its own.

#![allow(clippy::disallowed_types, reason = "temporary files are this module's")]

use std::{
    fmt,
    fs::File,
    io::{self, ErrorKind as Cause, Read as _, Seek as _, SeekFrom, Write as _},
    ops::Range,
    sync::{Mutex, PoisonError},
};

use crate::error::{Error, ErrorKind, Result};

/// How much is in memory at most, in bytes: the manifest of a vault with some hundred items never meets a disk.
const IN_MEMORY: usize = 256 * 1024;

/// Bytes that are appended, and read anywhere.
#[derive(Default)]
pub struct Spool {
    /// Holds the first `in_file` bytes; made when it is needed.
    file: Option<Mutex<File>>,
    in_file: u64,
    /// What follows them.
    tail: Vec<u8>,
}

impl Spool {
    /// How many bytes it holds.
    pub fn len(&self) -> u64 {
        self.in_file + self.tail.len() as u64
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// `Refused` when the disk with the temporary files is full, `Forbidden` when none may be made there.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.tail.len() + bytes.len() > IN_MEMORY {
            self.move_to_file().map_err(|cause| refusal("write", cause))?;
        }
        self.tail.extend_from_slice(bytes);
        Ok(())
    }

    /// The bytes in `range`; fewer when it ends earlier.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the temporary file cannot be read.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let length = range.end.min(self.len()).saturating_sub(range.start);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.read_into(range.start, &mut bytes)?;
        Ok(bytes)
    }

    /// All bytes, in memory.
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        self.read(0..self.len())
    }

    /// Fills the buffer with the bytes from `at` on; how many there were. Errors as of [`Spool::read`].
    pub fn read_into(&self, at: u64, buffer: &mut [u8]) -> Result<usize> {
        let within = |length: u64| usize::try_from(length).unwrap_or(usize::MAX);
        let length = buffer.len().min(within(self.len().saturating_sub(at)));
        let (in_file, in_memory) = buffer[..length].split_at_mut(length.min(within(self.in_file.saturating_sub(at))));
        if let Some(file) = self.file.as_ref().filter(|_| !in_file.is_empty()) {
            // Whoever panicked under the lock has only moved the place, which is set each time.
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let read = file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(in_file));
            read.map_err(|cause| refusal("read", cause))?;
        }
        if !in_memory.is_empty() {
            let from = within(at.saturating_sub(self.in_file));
            in_memory.copy_from_slice(&self.tail[from..from + in_memory.len()]);
        }
        Ok(length)
    }

    fn move_to_file(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            file => file.insert(Mutex::new(tempfile::tempfile()?)),
        };
        let file = file.get_mut().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.in_file))?;
        file.write_all(&self.tail)?;
        self.in_file += self.tail.len() as u64;
        self.tail.clear();
        Ok(())
    }
}

/// For what writes itself as JSON.
impl io::Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says how much it holds, never what.
impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spool({} bytes)", self.len())
    }
}

/// The one table from what the system answers to what the caller can do.
fn refusal(doing: &str, cause: io::Error) -> Error {
    let (kind, advice) = match cause.kind() {
        Cause::StorageFull | Cause::QuotaExceeded | Cause::FileTooLarge => {
            (ErrorKind::Refused, "There is no space left: make some, or set TMPDIR to a folder on another disk")
        }
        Cause::PermissionDenied | Cause::ReadOnlyFilesystem | Cause::NotFound | Cause::NotADirectory => {
            (ErrorKind::Forbidden, "Set TMPDIR to a folder that is there and in which this user may write")
        }
        _ => (ErrorKind::Unavailable, "Check the disk, or set TMPDIR to a folder on another one"),
    };
    let folder = std::env::temp_dir();
    let message = format!("Could not {doing} a temporary file in {}. {advice}, then run this again.", folder.display());
    Error::new(kind, message).because(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_appended_is_read_back_from_anywhere_whether_it_is_in_memory_or_not() {
        let all: Vec<u8> = (0..IN_MEMORY * 3 + 17).map(|at| (at / 7) as u8).collect();
        for piece in [1_000, 99_991, IN_MEMORY - 1, IN_MEMORY, IN_MEMORY + 1, all.len()] {
            let mut spool = Spool::default();
            let mut appended = 0;
            for piece in all.chunks(piece) {
                spool.append(piece).unwrap();
                appended += piece.len();
                // Also while it is being written.
                let from = appended.saturating_sub(300_000);
                assert!(spool.read(from as u64..u64::MAX).unwrap() == all[from..appended]);
            }
            assert_eq!((spool.len(), spool.is_empty()), (all.len() as u64, false));
            assert!(spool.to_vec().unwrap() == all, "in pieces of {piece}");
            let len = all.len() as u64;
            for range in [0..0, 5..9, len - 3..len + 9, len..len + 1, len + 5..len + 9] {
                let within = |at: u64| at.min(len) as usize;
                let expected = &all[within(range.start)..within(range.end)];
                assert_eq!(spool.read(range.clone()).unwrap(), expected, "{range:?} in pieces of {piece}");
            }
        }
        assert!(Spool::default().to_vec().unwrap().is_empty());
    }

    #[test]
    fn what_the_system_refuses_says_which_folder_and_what_to_do() {
        for (cause, kind, said) in [
            (Cause::StorageFull, ErrorKind::Refused, "no space left"),
            (Cause::NotFound, ErrorKind::Forbidden, "Set TMPDIR to a folder that is there"),
            (Cause::PermissionDenied, ErrorKind::Forbidden, "this user may write"),
            (Cause::Other, ErrorKind::Unavailable, "Check the disk"),
        ] {
            let error = refusal("write", cause.into());
            assert_eq!(error.kind(), kind);
            assert!(error.message().contains(&*std::env::temp_dir().to_string_lossy()), "{error}");
            assert!(error.message().contains(said) && error.message().contains("TMPDIR"), "{error}");
        }
    }
}
