//! The JSON documents of the state container that say what is being done: records of operations, plans of restores, notes
//! of drills. They may hold a row for each item of a vault, and are written and read without holding all of that in
//! memory (docs/decisions/0028-long-lists.md).

use std::{
    io::{self, BufReader, BufWriter},
    sync::Arc,
};

use bytes::Bytes;
use futures::TryStreamExt as _;
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{
    HEAD, Repository, manifest, names,
    operation::{OPERATION_VERSION, Operation, OperationKind},
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::VaultName,
    rows::Rows,
    spool::Spool,
    store::{Content, Create},
};

/// How much of a record is asked for at once, in bytes.
const PART: u64 = 1024 * 1024;

/// How much is read of a temporary file at once, in bytes.
const PIECE: usize = 64 * 1024;

/// Where the items of an operation's record begin, as it is written.
const ITEMS: &[u8] = b",\n  \"items\": [";

impl Repository {
    /// Records a new operation; the record that is there already when the id is known.
    pub async fn create_operation(&self, operation: &Operation) -> Result<Option<Operation>> {
        // First, so that no record is unfinished without anybody knowing.
        self.mark_unfinished(operation.id).await?;
        let known = match self.create_record(&names::operation(operation.id), operation).await? {
            Create::Created => None,
            Create::Exists => Some(self.operation(operation.id).await?),
        };
        // Also for a known record: whoever wrote it may have been stopped before this.
        let created_at = known.as_ref().unwrap_or(operation).created_at;
        self.state.create(&names::by_time(created_at, operation.id), Bytes::new().into()).await?;
        if known.as_ref().is_some_and(|known| known.status.is_final()) {
            self.unmark_unfinished(operation.id).await;
        }
        Ok(known)
    }

    /// Writes an operation's record anew.
    pub async fn save_operation(&self, operation: &Operation) -> Result<()> {
        self.replace_record(&names::operation(operation.id), operation).await?;
        if operation.status.is_final() {
            self.unmark_unfinished(operation.id).await;
        }
        Ok(())
    }

    /// The record of an operation. `NotFound` when there is none.
    pub async fn operation(&self, id: Uuid) -> Result<Operation> {
        let name = names::operation(id);
        let found: Result<Operation> = self.read_record(&name).await;
        readable(&name, found.map_err(|error| unknown(id, error))?)
    }

    /// The same without its items, which may be many more than all the rest.
    async fn operation_without_items(&self, id: Uuid) -> Result<Operation> {
        let name = names::operation(id);
        let start = self.state.read_part(&name, 0..HEAD).await.map_err(|error| unknown(id, error))?;
        // Records are written with one field on a line, the items last. Where that is not so, all is read.
        let operation = match manifest::find(&start, ITEMS) {
            Some(end) => decode(&name, &[&start[..end], b"}"].concat())?,
            None if (start.len() as u64) < HEAD => decode(&name, &start)?,
            None => self.operation(id).await?,
        };
        readable(&name, Operation { items: Rows::default(), ..operation })
    }

    /// Keeps an ended operation as the last of its kind on its vault, without its items.
    pub async fn save_last_operation(&self, operation: &Operation) -> Result<()> {
        let operation = Operation { items: Rows::default(), ..operation.clone() };
        self.replace_record(&names::last_operation(&operation.vault, operation.kind), &operation).await
    }

    /// The last operation of that kind on that vault that ended, without its items.
    pub async fn last_operation(&self, vault: &VaultName, kind: OperationKind) -> Result<Option<Operation>> {
        self.record_if_there(&names::last_operation(vault, kind)).await
    }

    /// Operations, newest first, without their items, and what to pass as `after` to go on.
    pub async fn operations(&self, after: Option<&str>, count: usize) -> Result<(Vec<Operation>, Option<String>)> {
        let after = after.map(|after| format!("{}{after}", names::BY_TIME));
        let mut rows = self.state.list(names::BY_TIME, after.as_deref());
        let (mut operations, mut last) = (Vec::new(), None);
        while let Some(row) = rows.try_next().await? {
            if operations.len() == count {
                return Ok((operations, last));
            }
            if let Some(id) = names::parse_by_time(&row.name) {
                match self.operation_without_items(id).await {
                    Ok(operation) => operations.push(operation),
                    // The index outlives a record that was tidied away.
                    Err(error) if error.kind() == ErrorKind::NotFound => (),
                    Err(error) => return Err(error),
                }
            }
            last = row.name.strip_prefix(names::BY_TIME).map(str::to_owned);
        }
        Ok((operations, None))
    }

    /// Keeps the plan of a restore, so that every attempt follows it; the plan that was kept first when there is one.
    pub async fn keep_plan<T: Serialize + DeserializeOwned>(&self, operation: Uuid, plan: &T) -> Result<Option<T>> {
        let name = names::plan(operation);
        // Nobody reads it but this program, and most of a pretty one is spaces.
        let text = encode(&name, |text| serde_json::to_writer(text, plan))?;
        match self.state.create(&name, text).await? {
            Create::Created => Ok(None),
            Create::Exists => self.read_record(&name).await.map(Some),
        }
    }

    /// The plan that an earlier attempt kept.
    pub async fn kept_plan<T: DeserializeOwned>(&self, operation: Uuid) -> Result<Option<T>> {
        self.record_if_there(&names::plan(operation)).await
    }

    /// Keeps what a client asked for under an id of its own; what was kept first when there is something.
    pub async fn keep_request(&self, id: Uuid, request: Bytes) -> Result<Bytes> {
        let name = names::request(id);
        match self.state.create(&name, request.clone().into()).await? {
            Create::Created => Ok(request),
            Create::Exists => self.state.read(&name).await,
        }
    }

    /// Notes what a drill puts into the vault it restores into.
    pub async fn save_drill_note(&self, target: &VaultName, note: &impl Serialize) -> Result<()> {
        self.replace_record(&names::drill(target), note).await
    }

    /// The note of the last drill into that vault.
    pub async fn drill_note<T: DeserializeOwned>(&self, target: &VaultName) -> Result<Option<T>> {
        self.record_if_there(&names::drill(target)).await
    }

    async fn create_record(&self, name: &str, record: &impl Serialize) -> Result<Create> {
        self.state.create(name, encode(name, |text| serde_json::to_writer_pretty(text, record))?).await
    }

    async fn replace_record(&self, name: &str, record: &impl Serialize) -> Result<()> {
        self.state.replace(name, encode(name, |text| serde_json::to_writer_pretty(text, record))?).await
    }

    async fn record_if_there<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        match self.read_record(name).await {
            Ok(record) => Ok(Some(record)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a record, a long one in parts.
    async fn read_record<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        loop {
            let start = self.state.read_part(name, 0..PART).await?;
            if (start.len() as u64) < PART {
                return decode(name, &start);
            }
            let mut text = Spool::default();
            let mut part = start.clone();
            while !part.is_empty() {
                text.append(&part)?;
                part = self.state.read_part(name, text.len()..text.len() + PART).await?;
            }
            // Parts of two records make none. When it was written anew meanwhile, its beginning tells: the time is there.
            if self.state.read_part(name, 0..PART).await? == start {
                let text = BufReader::with_capacity(PIECE, Reader { text: &text, at: 0 });
                return serde_json::from_reader(text).map_err(|cause| damaged(name, cause));
            }
        }
    }
}

/// The text of a record.
fn encode(name: &str, write: impl FnOnce(&mut BufWriter<Spool>) -> serde_json::Result<()>) -> Result<Content> {
    let mut text = BufWriter::with_capacity(PIECE, Spool::default());
    write(&mut text)
        .map_err(io::Error::from)
        .and_then(|()| text.into_inner().map_err(|error| error.into_error()))
        .map(|text| Content::Spool(Arc::new(text)))
        .map_err(|cause| {
            let message = format!("Could not write the record {name}.");
            match of_spool(cause) {
                Ok(error) => Error::new(error.kind(), message).at(name).because(error),
                Err(cause) => Error::new(ErrorKind::Unavailable, message).at(name).because(cause),
            }
        })
}

/// The error of a [`Spool`] that was read or written as a file.
fn of_spool(cause: io::Error) -> Result<Error, io::Error> {
    cause.downcast::<Error>()
}

/// Reads a record that is in memory.
pub(super) fn decode<T: DeserializeOwned>(name: &str, text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|cause| damaged(name, cause))
}

fn damaged(name: &str, cause: serde_json::Error) -> Error {
    let cause = match of_spool(cause.into()) {
        // A temporary file is no part of the record.
        Ok(error) => return error,
        Err(cause) => cause,
    };
    let message = format!("The record {name} is damaged: it cannot be read. Start the operation again.");
    Error::new(ErrorKind::Corrupt, message).at(name).because(cause)
}

fn unknown(id: Uuid, error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => {
            let message = format!("There is no operation {id}. `keyvault-backup operations` lists the newest.");
            Error::new(ErrorKind::NotFound, message).at("id")
        }
        _ => error,
    }
}

/// Refuses a record of a newer format.
fn readable(name: &str, operation: Operation) -> Result<Operation> {
    if operation.format_version <= OPERATION_VERSION {
        return Ok(operation);
    }
    let message = format!(
        "The record {name} has format version {}; this release reads up to {OPERATION_VERSION}. Use a newer release of \
         keyvault-backup.",
        operation.format_version
    );
    Err(Error::new(ErrorKind::NewerFormat, message))
}

/// Reads a spool from its beginning.
struct Reader<'a> {
    text: &'a Spool,
    at: u64,
}

impl io::Read for Reader<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.text.read_into(self.at, bytes).map_err(io::Error::other)?;
        self.at += read as u64;
        Ok(read)
    }
}
