//! A store in a container of Azure Blob Storage.
//!
//! A blob is written with one Put Blob, never in blocks: with one request there is one condition, one right and nothing
//! half done. The container must be there; the identity of a backup has no right to make one.

#![allow(clippy::disallowed_types, reason = "this module is Blob Storage's door")]

mod body;
mod lease;
mod listing;
mod refusal;
mod retry;

use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::TokenCredential;
use azure_core::error::ErrorKind as Cause;
use azure_core::http::{ClientOptions, RetryOptions, Transport, headers::Headers};
use azure_storage_blob::models::{
    BlobClientAcquireLeaseOptions, BlobClientDownloadOptions, BlobClientUploadOptions, HttpRange,
};
use azure_storage_blob::{BlobContainerClient, BlobContainerClientOptions};
use bytes::Bytes;
use futures::stream::BoxStream;
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use self::lease::AzureLease;
pub use self::lease::all_given_back;
use self::refusal::{Answer, Deed, explain};
use self::retry::{deadline, with_retries};
use super::{Content, Create, Entry, LEASE, Lease, Store, check_name};
use crate::error::{Error, ErrorKind, Result};
use crate::model::counted;

/// A blob container.
pub struct AzureStore {
    container: BlobContainerClient,
    /// The container's URL, for messages.
    described: String,
    page: NonZero<u16>,
}

/// Rows asked for in one request of a listing: the most the service gives (Azure, List Blobs).
const PAGE: NonZero<u16> = NonZero::new(5000).unwrap();

/// Parts of a blob that move at once. None is written in parts or read in more than one. Without a number, the SDK asks the
/// system for that of its processors, some twenty system calls for each blob.
const PARALLEL: NonZero<usize> = NonZero::<usize>::MIN;

impl AzureStore {
    /// The store in the container at this URL, such as `https://contoso.blob.core.windows.net/backups`. Asks nothing of
    /// the service. The transport decides about connections and proxies; it must not decompress answers.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the URL does not name a container over HTTPS, or has a query: a shared access signature is a
    /// secret, and this store uses an identity instead.
    pub fn new(container: &Url, credential: Arc<dyn TokenCredential>, transport: Transport) -> Result<Self> {
        let mut plain = container.clone();
        plain.set_query(None);
        plain.set_fragment(None);
        let described = plain.as_str().trim_end_matches('/').to_owned();
        let named = container.path_segments().is_some_and(|mut path| path.any(|segment| !segment.is_empty()));
        let has_secret = container.query().is_some() || container.password().is_some();
        if container.scheme() != "https" || !named || has_secret || !container.username().is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "The container's URL must look like https://ACCOUNT.blob.core.windows.net/CONTAINER, with nothing behind \
                 the container's name.",
            ));
        }
        let options = BlobContainerClientOptions {
            client_options: ClientOptions {
                transport: Some(transport),
                retry: RetryOptions::none(),
                per_call_policies: vec![Arc::new(listing::ByFolder)],
                ..Default::default()
            },
            ..Default::default()
        };
        let client = Url::parse(&described)
            .map_err(azure_core::Error::from)
            .and_then(|url| BlobContainerClient::new(url, Some(credential), Some(options)));
        match client {
            Ok(container) => Ok(Self { container, described, page: PAGE }),
            Err(error) => {
                Err(Error::new(ErrorKind::InvalidInput, format!("Could not use the container {described}."))
                    .because(error))
            }
        }
    }

    /// Asks for so many rows in one request of a listing instead of 5000.
    #[must_use]
    pub fn with_page(mut self, rows: NonZero<u16>) -> Self {
        self.page = rows.min(PAGE);
        self
    }

    /// Writes a blob with one Put Blob.
    async fn put(
        &self,
        deadline: Instant,
        name: &str,
        content: Content,
        options: BlobClientUploadOptions<'_>,
    ) -> azure_core::Result<()> {
        let blob = self.container.blob_client(name);
        let content_type = if name.ends_with(".json") { "application/json" } else { "application/octet-stream" };
        let options = BlobClientUploadOptions {
            blob_content_type: Some(content_type.to_owned()),
            // What is smaller than a part goes out as one Put Blob.
            partition_size: Some(NonZero::<u64>::MAX),
            parallel: Some(PARALLEL),
            ..options
        };
        with_retries(deadline, || blob.upload(body::of(&content).into(), Some(options.clone()))).await.map(drop)
    }

    async fn create_by(&self, deadline: Instant, name: &str, content: Content) -> Result<Create> {
        let Err(error) = self.put(deadline, name, content, BlobClientUploadOptions::default().if_not_exists()).await
        else {
            return Ok(Create::Created);
        };
        match Answer::of(&error) {
            Some(answer) if answer.says_it_exists() => Ok(Create::Exists),
            // An identity that may add but not change blobs may be refused before the condition is looked at.
            Some(answer) if answer.code == "AuthorizationPermissionMismatch" && self.is_there(deadline, name).await => {
                Ok(Create::Exists)
            }
            _ => Err(explain(error, Deed::Create, name, &self.described)),
        }
    }

    /// Whether the blob can be seen. Unsure counts as no.
    async fn is_there(&self, deadline: Instant, name: &str) -> bool {
        let blob = self.container.blob_client(name);
        with_retries(deadline, || blob.get_properties(None)).await.is_ok()
    }

    /// Reads what is in the range, or all.
    async fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<Bytes> {
        check_name(name)?;
        let blob = self.container.blob_client(name);
        let reading = with_retries(deadline(), || async {
            let asked = range.as_ref().map(|range| HttpRange::new(range.start, range.end - range.start));
            let options = BlobClientDownloadOptions { range: asked, parallel: Some(PARALLEL), ..Default::default() };
            let found = blob.download(Some(options)).await?;
            let promised = promised_length(&found.headers, range.as_ref());
            let bytes = found.body.collect().await?;
            if promised == Some(bytes.len() as u64) {
                return Ok(bytes);
            }
            Err(azure_core::Error::with_message(
                Cause::Io,
                format!("The answer ended after {} instead of {promised:?}.", counted(bytes.len() as u64, "byte")),
            ))
        });
        match reading.await {
            Ok(bytes) => Ok(bytes),
            Err(error) if Answer::of(&error).is_some_and(|answer| answer.says_it_ends_earlier()) => Ok(Bytes::new()),
            Err(error) => Err(explain(error, Deed::Read, name, &self.described)),
        }
    }
}

#[async_trait]
impl Store for AzureStore {
    async fn create(&self, name: &str, content: Content) -> Result<Create> {
        check_name(name)?;
        self.create_by(deadline(), name, content).await
    }

    async fn replace(&self, name: &str, content: Content) -> Result<()> {
        check_name(name)?;
        self.put(deadline(), name, content, BlobClientUploadOptions::default())
            .await
            .map_err(|error| explain(error, Deed::Replace, name, &self.described))
    }

    async fn read(&self, name: &str) -> Result<Bytes> {
        self.get(name, None).await
    }

    async fn read_part(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let length = range.end.saturating_sub(range.start);
        // A range cannot be empty, and to a range of one byte of an empty blob Azurite gives an answer that cannot be read.
        let bytes = self.get(name, Some(range.start..range.start.saturating_add(length.max(2)))).await?;
        let end = usize::try_from(length).map_or(bytes.len(), |length| length.min(bytes.len()));
        Ok(bytes.slice(..end))
    }

    fn list(&self, prefix: &str, after: Option<&str>) -> BoxStream<'_, Result<Entry>> {
        self.list_blobs(prefix, after)
    }

    fn folders(&self, prefix: &str) -> BoxStream<'_, Result<String>> {
        self.list_folders(prefix)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        check_name(name)?;
        let blob = self.container.blob_client(name);
        match with_retries(deadline(), || blob.delete(None)).await {
            Err(error) if !Answer::of(&error).is_some_and(|answer| answer.says_there_is_no_blob()) => {
                Err(explain(error, Deed::Delete, name, &self.described))
            }
            _ => Ok(()),
        }
    }

    async fn lease(&self, name: &str) -> Result<Box<dyn Lease>> {
        check_name(name)?;
        let blob = self.container.blob_client(name);
        let id = Uuid::new_v4().to_string();
        let seconds = i32::try_from(LEASE.as_secs()).unwrap_or(60);
        // The id is ours, so that acquiring again after a lost answer finds the lease to be ours already.
        let options = BlobClientAcquireLeaseOptions { proposed_lease_id: Some(id.clone()), ..Default::default() };
        let deadline = deadline();
        let mut asked = Instant::now();
        let mut made = false;
        loop {
            let acquired = with_retries(deadline, || {
                asked = Instant::now();
                blob.acquire_lease(seconds, Some(options.clone()))
            });
            let Err(error) = acquired.await else {
                return Ok(Box::new(AzureLease::keep(blob, id, asked)));
            };
            if made || !Answer::of(&error).is_some_and(|answer| answer.says_there_is_no_blob()) {
                return Err(explain(error, Deed::Lease, name, &self.described));
            }
            self.create_by(deadline, name, Bytes::new().into()).await?;
            made = true;
        }
    }

    fn describe(&self) -> String {
        self.described.clone()
    }
}

impl std::fmt::Debug for AzureStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AzureStore").field("container", &self.described).finish_non_exhaustive()
    }
}

/// How many bytes the first answer of a download promises in all: the SDK fetches the parts behind it without saying
/// whether they are complete.
fn promised_length(headers: &Headers, asked: Option<&Range<u64>>) -> Option<u64> {
    let whole = match headers.get_optional_str(&"content-range".into()) {
        Some(range) => range.rsplit_once('/')?.1,
        None => headers.get_optional_str(&"content-length".into())?,
    };
    let whole: u64 = whole.trim().parse().ok()?;
    Some(asked.map_or(whole, |asked| asked.end.min(whole).saturating_sub(asked.start)))
}
