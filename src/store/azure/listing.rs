//! Listings: one request for each page, so that a page that fails is asked for again without gap or repetition.
//!
//! The SDK cannot list folders, and fails on a whole page when a property has a value that is new to it. So the pages
//! are asked for through the SDK and read here.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::http::pager::PagerOptions;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Request};
use azure_core::time::{OffsetDateTime, rfc7231};
use azure_core::xml;
use azure_storage_blob::models::BlobContainerClientListBlobsOptions;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;

use super::refusal::{Deed, explain};
use super::{AzureStore, Cause, deadline, with_retries};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Entry, check_name, is_listed};

impl AzureStore {
    /// `after` is left to us: that the service skips to a name is too new for Azurite, which ignores it silently.
    pub(super) fn list_blobs(&self, prefix: &str, after: Option<&str>) -> BoxStream<'_, Result<Entry>> {
        let (wanted, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.rows(prefix, false)
            .try_filter_map(move |row| {
                let entry = match row {
                    Row::Blob { properties: Properties { resource: Some(resource), .. }, .. }
                        if resource == "directory" =>
                    {
                        None
                    }
                    Row::Blob { name, properties: Properties { created, size, .. } } => {
                        is_listed(&name, &wanted, after.as_deref()).then_some(Entry { name, size, created })
                    }
                    Row::BlobPrefix { .. } => None,
                };
                async move { Ok(entry) }
            })
            .boxed()
    }

    pub(super) fn list_folders(&self, prefix: &str) -> BoxStream<'_, Result<String>> {
        let above = prefix.to_owned();
        let mut last = None;
        self.rows(prefix, true)
            .try_filter_map(move |row| {
                let folder = match row {
                    Row::BlobPrefix { name } => {
                        name.strip_prefix(&above).map(|below| below.trim_end_matches('/').to_owned())
                    }
                    Row::Blob { .. } => None,
                };
                // A folder whose blobs lie on two pages may be named on both.
                let new = folder.filter(|folder| check_name(folder).is_ok() && last.as_ref() != Some(folder));
                last = new.clone().or(last.take());
                async move { Ok(new) }
            })
            .boxed()
    }

    fn rows(&self, prefix: &str, by_folder: bool) -> BoxStream<'_, Result<Row>> {
        let prefix = prefix.to_owned();
        stream::try_unfold(Some(None), move |marker: Option<Option<String>>| {
            let prefix = prefix.clone();
            async move {
                let Some(marker) = marker else { return Ok(None) };
                let page = with_retries(deadline(), || self.page(&prefix, by_folder, marker.clone())).await;
                let page = page.map_err(|error| explain(error, Deed::List, &prefix, &self.described))?;
                let next = page.next_marker.filter(|marker| !marker.is_empty());
                if next.is_some() && next == marker {
                    let message = format!(
                        "Could not list the blobs {prefix}* in {}. The listing does not go on: its next page is the same \
                         one again. Check that this is a storage account's blob endpoint.",
                        self.described
                    );
                    return Err(Error::new(ErrorKind::Refused, message).at(prefix));
                }
                let next = next.map(Some);
                Ok(Some((stream::iter(page.blobs.rows.into_iter().map(Ok)), next)))
            }
        })
        .try_flatten()
        .boxed()
    }

    async fn page(&self, prefix: &str, by_folder: bool, marker: Option<String>) -> azure_core::Result<Page> {
        let mut context = Context::new();
        if by_folder {
            context.insert(Delimited);
        }
        let options = BlobContainerClientListBlobsOptions {
            marker,
            maxresults: Some(self.page.get().into()),
            method_options: PagerOptions { context, ..Default::default() },
            prefix: (!prefix.is_empty()).then(|| prefix.to_owned()),
            ..Default::default()
        };
        let page = self.container.list_blobs(Some(options))?.into_pages().try_next().await?;
        let page = page.ok_or_else(|| azure_core::Error::with_message(Cause::Io, "The listing had no page."))?;
        // The SDK's error would hold the whole page.
        xml::from_xml(page.body())
            .map_err(|_| azure_core::Error::with_message(Cause::DataConversion, "The listing has an unknown form."))
    }
}

/// Marks a request for a page by folder.
struct Delimited;

/// Asks for folders where a request is marked so.
#[derive(Debug)]
pub(super) struct ByFolder;

#[async_trait]
impl Policy for ByFolder {
    async fn send(&self, context: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        if context.value::<Delimited>().is_some() {
            request.url_mut().query_pairs_mut().append_pair("delimiter", "/");
        }
        next[0].send(context, request, &next[1..]).await
    }
}

#[derive(Deserialize)]
struct Page {
    #[serde(rename = "Blobs", default)]
    blobs: Rows,
    #[serde(rename = "NextMarker")]
    next_marker: Option<String>,
}

#[derive(Default, Deserialize)]
struct Rows {
    /// Blobs and folders in the order of their names, mixed.
    #[serde(rename = "$value", default)]
    rows: Vec<Row>,
}

#[derive(Deserialize)]
enum Row {
    Blob {
        #[serde(rename = "Name")]
        name: String,
        #[serde(rename = "Properties")]
        properties: Properties,
    },
    BlobPrefix {
        #[serde(rename = "Name")]
        name: String,
    },
}

#[derive(Deserialize)]
struct Properties {
    #[serde(rename = "Creation-Time", with = "rfc7231")]
    created: OffsetDateTime,
    #[serde(rename = "Content-Length")]
    size: u64,
    /// `directory` for the folders that accounts with a hierarchical namespace list among the blobs.
    #[serde(rename = "ResourceType")]
    resource: Option<String>,
}
