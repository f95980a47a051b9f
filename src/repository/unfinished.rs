//! Which operations have not ended: an empty blob for each, so that whoever looks for abandoned ones need not read every
//! record there ever was.

use futures::TryStreamExt as _;
use uuid::Uuid;

use super::{Repository, names};
use crate::{error::Result, model::Timestamp};

impl Repository {
    /// The operations that have not ended, and since when they are known to be unfinished.
    pub async fn unfinished(&self) -> Result<Vec<(Uuid, Timestamp)>> {
        let entries: Vec<_> = self.state.list(names::UNFINISHED, None).try_collect().await?;
        let known =
            entries.iter().filter_map(|entry| Some((names::parse_unfinished(&entry.name)?, entry.created.into())));
        Ok(known.collect())
    }

    /// Marks an operation as not ended. Doing it twice is doing it once.
    pub async fn mark_unfinished(&self, id: Uuid) -> Result<()> {
        self.state.create(&names::unfinished(id), "".into()).await.map(drop)
    }

    /// Takes the mark away from an operation that has ended. A mark that stays does no harm: it is taken away by
    /// whoever looks next, so that a failure here fails nothing.
    pub async fn unmark_unfinished(&self, id: Uuid) {
        if let Err(error) = self.state.delete(&names::unfinished(id)).await {
            tracing::warn!(operation = %id, error = %error.chain(), "could not remove the mark of an ended operation");
        }
    }
}
