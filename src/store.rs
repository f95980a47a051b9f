//! Bytes under names: where backups live.
//!
//! A [`Store`] is one container. There are three: Azure Blob Storage ([`azure`]), a local directory ([`local`]) and
//! memory for tests ([`memory`]). One contract suite runs against all of them.
//!
//! Names are relative paths of segments joined by `/`. A segment holds `0-9 A-Z a-z - _ . ~` only and does not end with
//! a dot: on the service, dot segments are aliases of another name and would overwrite it silently, and final dots get
//! lost (Azure, Naming and Referencing Containers, Blobs, and Metadata).

pub mod azure;
pub mod local;
pub mod memory;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use time::OffsetDateTime;

use crate::error::{Error, ErrorKind, Result};
use crate::spool::Spool;

/// One container of blobs.
///
/// Every method may be called again after a failure, also when the failed call did take effect: that is what makes
/// operations resumable. All errors name the blob. Kinds that every method can return: `Unauthenticated`, `Forbidden`,
/// `Throttled`, `Unavailable`; transient ones have been retried within [`DEADLINE`] already.
#[async_trait]
pub trait Store: std::fmt::Debug + Send + Sync {
    /// Writes a new blob, atomically and durably, and never replaces one.
    ///
    /// Nobody ever sees a part of it; when this returns `Ok(Created)` it survives a crash of this machine. When a blob
    /// of that name is there already, nothing is changed and the answer is `Ok(Exists)`, also when it is our own blob
    /// from a call whose answer was lost: the caller compares where that matters. Uses one Put Blob with
    /// `If-None-Match: *`, which needs no more than the right to add.
    async fn create(&self, name: &str, content: Content) -> Result<Create>;

    /// Writes a blob whether it is there or not. Only for state (operation records): never used for backups, so that
    /// their container can be locked. Atomic and durable like [`Store::create`]. `Busy` while it is leased.
    async fn replace(&self, name: &str, content: Content) -> Result<()>;

    /// The whole blob. `NotFound` when there is none. A body that ends early is an error, never a short answer.
    async fn read(&self, name: &str) -> Result<Bytes>;

    /// The bytes of the blob that are in `range`: fewer when it ends earlier, none when it ends before the range begins.
    /// `NotFound` when there is no blob. Two parts are of one content only where blobs are never replaced.
    async fn read_part(&self, name: &str, range: Range<u64>) -> Result<Bytes>;

    /// All blobs whose name starts with `prefix`, in the order of their names (byte order), from the first name that
    /// is greater than `after` when that is given. A listing that fails midway ends with an error, never silently.
    /// What bears a name that [`check_name`] refuses is not ours and is left out.
    fn list(&self, prefix: &str, after: Option<&str>) -> BoxStream<'_, Result<Entry>>;

    /// The distinct first segments below `prefix` (which ends with `/` or is empty): "folders". They come in the order
    /// of the blobs in them, so that `a-b` stands before `a`, as `a-b/` stands before `a/`. A folder without a blob
    /// does not exist.
    fn folders(&self, prefix: &str) -> BoxStream<'_, Result<String>>;

    /// Deletes a blob. `Ok` when it is not there: deleting twice is deleting. `Busy` while it is leased.
    async fn delete(&self, name: &str) -> Result<()>;

    /// Takes the lease on `name` (an empty blob that is made when missing), or says that somebody is in the way with
    /// [`ErrorKind::Busy`]. Two leases on one name never exist at once. The lease lasts until it is released, or ends
    /// by itself at most [`LEASE`] after its holder died.
    async fn lease(&self, name: &str) -> Result<Box<dyn Lease>>;

    /// What a person calls this store, for messages: a URL without any query.
    fn describe(&self) -> String;
}

/// The right to be the only one at work on something.
#[async_trait]
pub trait Lease: std::fmt::Debug + Send + Sync {
    /// Whether the lease is still ours. Kept alive in the background; false once it was lost, for example because the
    /// storage could not be reached for longer than [`LEASE`]. Work under a lost lease must stop.
    fn is_held(&self) -> bool;

    /// Gives the lease back. Dropping does the same without waiting, as far as possible.
    async fn release(self: Box<Self>);
}

/// What is written into a blob.
#[derive(Clone)]
pub enum Content {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes that may be many; they are sent as they are read.
    Spool(Arc<Spool>),
}

impl Content {
    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Spool(spool) => spool.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in `range`; fewer when it ends earlier. Errors as of [`Spool::read`].
    pub fn read(&self, range: Range<u64>) -> Result<Bytes> {
        match self {
            Self::Bytes(bytes) => Ok(slice(bytes, range)),
            Self::Spool(spool) => spool.read(range).map(Bytes::from),
        }
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Bytes(text.into())
    }
}

impl From<&'static str> for Content {
    fn from(text: &'static str) -> Self {
        Self::Bytes(text.into())
    }
}

impl From<Arc<Spool>> for Content {
    fn from(spool: Arc<Spool>) -> Self {
        Self::Spool(spool)
    }
}

/// Says how much is written, never what.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.len())
    }
}

/// What [`Store::create`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// The blob is new.
    Created,
    /// A blob of that name was there and is unchanged.
    Exists,
}

/// A row of [`Store::list`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The whole name, with the prefix.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// When the blob was created.
    pub created: OffsetDateTime,
}

/// How long a lease outlives its holder. Blob leases last 15 to 60 seconds (Azure, Lease Blob); 30 keeps a redelivered
/// message, which the host shows again after 30 seconds, from waiting long.
pub const LEASE: Duration = Duration::from_secs(30);

/// How long one call may take in all, retries included, before it fails. Each page of a listing counts as a call.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Refuses a name that a store could take for another one.
pub fn check_name(name: &str) -> Result<()> {
    let sound = |segment: &str| {
        !segment.is_empty()
            && !segment.ends_with('.')
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
    };
    if name.len() <= 1024 && name.split('/').all(sound) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidInput,
        format!(
            "The blob name {name:?} is not one this program writes: use letters, digits, - _ . ~ between slashes, and no \
             dot at the end."
        ),
    ))
}

/// Whether a listing of `prefix` from behind `after` holds this name.
fn is_listed(name: &str, prefix: &str, after: Option<&str>) -> bool {
    name.starts_with(prefix) && after.is_none_or(|after| name > after) && check_name(name).is_ok()
}

fn slice(bytes: &Bytes, range: Range<u64>) -> Bytes {
    let within = |at| usize::try_from(at).map_or(bytes.len(), |at| at.min(bytes.len()));
    bytes.slice(within(range.start)..within(range.end.max(range.start)))
}

/// What is said to the one who comes second to a leased blob.
fn busy(name: &str) -> Error {
    Error::new(
        ErrorKind::Busy,
        format!(
            "Somebody else holds the lease on {name}. Try again when that run has ended; the lease of a run that died \
             ends by itself within {} seconds.",
            LEASE.as_secs()
        ),
    )
    .at(name)
}
