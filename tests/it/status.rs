//! Coverage as people and programs meet it: `keyvault-backup status` and `GET api/backups`.
