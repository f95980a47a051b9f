//! `keyvault-backup drill`.

use clap::Args;

use super::print::{End, Printer};
use crate::{
    config::connect::Connections,
    error::{Error, ErrorKind, Result},
};

#[derive(Debug, Args)]
pub(super) struct Drill {
    /// Names or URIs of vaults.
    vaults: Vec<String>,
}

impl Drill {
    pub(super) async fn run(self, _connections: &Connections, _printer: &Printer) -> Result<End> {
        Err(Error::new(ErrorKind::Internal, format!("This command has no code for {:?}.", self.vaults)))
    }
}
