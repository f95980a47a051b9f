//! Records of operations with very many items: written and read whole, and seldom.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use keyvault_backup::{
    error::Result,
    model::{ItemId, Kind, Timestamp},
    operation::{Attempts, Done, attempt},
    report::{ItemReport, Outcome, Problem, Progress, Status},
    repository::{
        Repository,
        operation::{Operation, OperationKind},
    },
    rows::Rows,
    store::{Content, Create, Entry, Lease, Store, local::LocalStore, memory::MemoryStore},
};
use serde_json::json;
use uuid::Uuid;

use crate::{local_azure::LocalAzure, world::BEGINNING};

/// A store that counts what is read, and in which a blob is replaced behind the first part that is read of it.
#[derive(Debug, Default)]
struct Watched {
    inner: MemoryStore,
    bytes: AtomicU64,
    parts: AtomicU64,
    replacement: Option<Bytes>,
    /// How long it takes to replace a blob.
    slow: Duration,
}

#[async_trait]
impl Store for Watched {
    async fn create(&self, name: &str, content: Content) -> Result<Create> {
        self.inner.create(name, content).await
    }
    async fn replace(&self, name: &str, content: Content) -> Result<()> {
        tokio::time::sleep(self.slow).await;
        self.inner.replace(name, content).await
    }
    async fn read(&self, name: &str) -> Result<Bytes> {
        let read = self.inner.read(name).await?;
        self.bytes.fetch_add(read.len() as u64, Relaxed);
        Ok(read)
    }
    async fn read_part(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let read = self.inner.read_part(name, range).await?;
        self.bytes.fetch_add(read.len() as u64, Relaxed);
        if let Some(replacement) = self.replacement.clone().filter(|_| self.parts.fetch_add(1, Relaxed) == 0) {
            self.inner.replace(name, replacement.into()).await?;
        }
        Ok(read)
    }
    fn list(&self, prefix: &str, after: Option<&str>) -> BoxStream<'_, Result<Entry>> {
        self.inner.list(prefix, after)
    }
    fn folders(&self, prefix: &str) -> BoxStream<'_, Result<String>> {
        self.inner.folders(prefix)
    }
    async fn delete(&self, name: &str) -> Result<()> {
        self.inner.delete(name).await
    }
    async fn lease(&self, name: &str) -> Result<Box<dyn Lease>> {
        self.inner.lease(name).await
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
}

fn repository(state: &Arc<Watched>) -> Repository {
    Repository::new(Arc::new(MemoryStore::default()), state.clone())
}

/// A restore that ended with so many items, whose record says so in a request of that length.
fn restored(items: usize, request: usize) -> Operation {
    let request = json!({ "items": ["secrets/".to_owned() + &"x".repeat(request)] });
    let vault = "contoso-prod".parse().unwrap();
    let id = Uuid::from_u128(1);
    let mut operation = Operation::new(id, OperationKind::Restore, vault, request, Timestamp::from_unix(BEGINNING));
    operation.status = Status::Failed;
    operation.items = Rows::of((0..items).map(|number| ItemReport {
        item: ItemId { kind: Kind::Secrets, name: format!("secret-{number:06}").parse().unwrap() },
        outcome: if number % 2 == 0 { Outcome::Restored } else { Outcome::Failed },
        version: Some("8f3a5d1c2b4e4f60a7c9d0e1f2a3b4c5".into()),
        problem: (number % 2 == 1).then(|| Problem {
            code: "Refused".into(),
            message: "What was said:\n  \"items\": [".into(),
            target: None,
        }),
    }))
    .unwrap();
    operation
}

fn without_items(operation: &Operation) -> Operation {
    Operation { items: Rows::default(), ..operation.clone() }
}

#[tokio::test]
async fn a_record_with_very_many_items_is_read_as_it_was_written_and_listed_by_its_beginning() {
    // Few items, many, and so long a request that the items begin late.
    for (items, request, listed_by) in
        [(0, 10, 32_768), (10, 10, 32_768), (20_000, 10, 32_768), (20_000, 50_000, u64::MAX)]
    {
        let state = Arc::new(Watched::default());
        let (repository, operation) = (repository(&state), restored(items, request));
        assert!(repository.create_operation(&operation).await.unwrap().is_none());
        assert!(repository.operation(operation.id).await.unwrap() == operation, "{items} {request}");
        let written = state.bytes.swap(0, Relaxed);
        assert!(items < 20_000 || written > 3_000_000, "{written}");
        let (listed, _) = repository.operations(None, 10).await.unwrap();
        assert_eq!(listed, [without_items(&operation)]);
        assert!(state.bytes.load(Relaxed) <= listed_by);
    }
}

#[tokio::test]
async fn a_record_that_is_written_anew_while_it_is_read_is_one_of_the_two() {
    let (old, mut new) = (restored(20_000, 10), restored(20_000, 10));
    new.updated_at = old.updated_at.plus(std::time::Duration::from_secs(2));
    new.items = Rows::of(old.items.iter().map(Result::unwrap).skip(10_000)).unwrap();
    for new in [new.clone(), without_items(&new)] {
        let replacement = serde_json::to_vec_pretty(&new).unwrap();
        let state = Arc::new(Watched { replacement: Some(replacement.into()), ..Watched::default() });
        let repository = repository(&state);
        repository.save_operation(&old).await.unwrap();
        assert!(repository.operation(old.id).await.unwrap() == new);
    }
}

#[tokio::test]
async fn while_work_goes_on_the_record_has_no_items_of_an_earlier_attempt() {
    let state = Arc::new(Watched::default());
    let (repository, operation) = (repository(&state), restored(20_000, 10));
    repository.create_operation(&operation).await.unwrap();
    let work = async {
        state.bytes.store(0, Relaxed);
        assert!(repository.operation(operation.id).await?.items.is_empty());
        assert!(state.bytes.load(Relaxed) < 2_000);
        let (message, items) = ("A sentence.".to_owned(), operation.items.clone());
        let (backup_id, counts, drill, problems) = (None, Default::default(), None, Vec::new());
        Ok(Done { status: Status::Succeeded, backup_id, counts, drill, message, problems, items })
    };
    let (progress, now) = (Progress::default(), Timestamp::from_unix(BEGINNING));
    let ended = attempt(&repository, operation.clone(), Attempts::Last, &progress, now, work).await.unwrap();
    assert!(ended.items == operation.items);
    assert!(repository.operation(operation.id).await.unwrap() == ended);
}

#[tokio::test(start_paused = true)]
async fn work_goes_on_while_its_record_is_being_written() {
    let state = Arc::new(Watched { slow: Duration::from_secs(40), ..Watched::default() });
    let (repository, operation) = (repository(&state), restored(0, 10));
    let progress = Progress::default();
    let work = async {
        let (mut last, mut longest) = (tokio::time::Instant::now(), Duration::ZERO);
        for _ in 0..1_000 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            progress.advance(1);
            longest = longest.max(last.elapsed());
            last = tokio::time::Instant::now();
        }
        assert!(longest < Duration::from_secs(1), "it stood still for {longest:?}");
        let (message, items) = ("A sentence.".to_owned(), Rows::default());
        let (backup_id, counts, drill, problems) = (None, Default::default(), None, Vec::new());
        Ok(Done { status: Status::Succeeded, backup_id, counts, drill, message, problems, items })
    };
    let now = Timestamp::from_unix(BEGINNING);
    let ended = attempt(&repository, operation, Attempts::Last, &progress, now, work).await.unwrap();
    assert!(repository.operation(ended.id).await.unwrap() == ended, "what was written last is the end");
}

#[tokio::test]
async fn a_record_that_is_read_while_there_is_no_room_for_temporary_files_is_not_called_damaged() {
    let azure = LocalAzure::with(&["contoso-prod"]).await;
    let state = LocalStore::open(azure.state()).unwrap();
    let repository = Repository::new(Arc::new(MemoryStore::default()), Arc::new(state));
    let operation = restored(2_000, 10);
    repository.create_operation(&operation).await.unwrap();
    let id = operation.id.to_string();
    let read = azure.run(&["operations", &id]).await;
    assert!(read.stdout.contains("secret-000001"), "{read:?}");
    // All of them are needed for this, and not all of them have room in memory.
    let all = ["operations", &id, "--output", "json"];
    assert_eq!(azure.run(&all).await.json()["items"].as_array().map(Vec::len), Some(2_000));
    let refused = azure.run_with(&[("TMPDIR", "/dev/null/nowhere")], &all).await;
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(refused.code != 0 && said.contains("Set TMPDIR to a folder") && !said.contains("damaged"), "{said}");
}
