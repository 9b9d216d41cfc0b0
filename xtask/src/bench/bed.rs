//! Everything that is measured: a durable pair, the command service, and connections to look at both databases.

use std::num::NonZeroU32;
use std::path::PathBuf;

use anyhow::Context;
use sqlx::{Connection, PgConnection};

use super::load::{self, Generator, STORE_THAT_IS_REFUSED};
use super::programs::Programs;
use super::service_process::ServiceProcess;
use crate::places::create_directory;
use crate::postgres::{Login, READY_LIMIT, TestOptions, TestPair, wait_until_ready};
use crate::service::Service;

/// Settings of both databases, whoever works on them: with the defaults, which are for a machine of 1 GB, the servers
/// would be busy writing pages out that they need again at once.
const DATABASE_SETTINGS: [(&str, &str); 2] = [("shared_buffers", "1GB"), ("max_wal_size", "4GB")];

/// How the databases are set, for the report.
pub const DATABASES: &str = "fsync on, synchronous_commit on, one logical replica, shared_buffers 1GB, max_wal_size 4GB; others as `up` has them";

/// A pair with a command service. Dropping it stops everything and removes the directory.
#[derive(Debug)]
pub struct Bed {
    // Stands before the pair, so that the service ends before its database does.
    /// The service that is measured.
    pub service: ServiceProcess,
    /// As administrator, to look and to count.
    pub primary: PgConnection,
    /// As administrator, to look and to count.
    pub replica: PgConnection,
    /// The load generator.
    pub generator: Generator,
    /// For files; the pair's leash ends whatever works here when this process is gone.
    pub directory: PathBuf,
    /// The databases: `fsync` on, replication on.
    pub pair: TestPair,
}

impl Bed {
    /// Starts everything; `service_settings` are environment variables of the command service.
    ///
    /// # Errors
    ///
    /// Something does not start.
    pub async fn start(programs: &Programs, service_settings: &[(String, String)]) -> anyhow::Result<Bed> {
        Bed::with_further_replicas(0, programs, service_settings).await
    }

    /// The same with so many replicas beside the first.
    ///
    /// # Errors
    ///
    /// Something does not start.
    pub async fn with_further_replicas(
        further_replicas: u8,
        programs: &Programs,
        service_settings: &[(String, String)],
    ) -> anyhow::Result<Bed> {
        let settings = DATABASE_SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let options = TestOptions {
            durable: true,
            primary_settings: settings.clone(),
            replica_settings: settings,
            further_replicas,
        };
        let pair = TestPair::bare(options).await?;
        for instance in pair.services() {
            pair.migrate(&programs.services, instance).await?;
        }
        for (_, replica) in pair.replicas() {
            wait_until_ready(replica, READY_LIMIT).await?;
        }
        let directory = pair.directory().join("bench");
        create_directory(&directory, 0o755)?;
        let mut primary = PgConnection::connect(&pair.url(Login::PrimaryAdmin)).await?;
        let replica = PgConnection::connect(&pair.url(Login::ReplicaAdmin)).await?;
        plant(&mut primary).await?;
        let service =
            ServiceProcess::start(Service::Command, &pair, &programs.services, &directory, service_settings).await?;
        let generator = Generator { program: programs.generator.clone(), directory: directory.clone() };
        Ok(Bed { service, primary, replica, generator, directory, pair })
    }

    /// Starts the query service of the first replica.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub async fn start_query_service(
        &self,
        programs: &Programs,
        settings: &[(String, String)],
    ) -> anyhow::Result<ServiceProcess> {
        ServiceProcess::start(Service::Query, &self.pair, &programs.services, &self.directory, settings).await
    }

    /// Lets callers create sales as fast as they can, from a generator of one thread over two connections.
    ///
    /// # Errors
    ///
    /// The generator can't be run.
    pub async fn write(&self, callers: NonZeroU32, seconds: NonZeroU32) -> anyhow::Result<load::Tally> {
        let one = NonZeroU32::MIN;
        let address = self.service.address;
        let connections = one.saturating_add(1);
        let args = load::Args { address, callers, connections, threads: one, seconds, refused_percent: 0, rate: None };
        self.generator.run(&args).await
    }

    /// Has both databases look at their tables: what was planned on empty ones stays as slow as it was.
    pub async fn analyze(&mut self) -> anyhow::Result<()> {
        for connection in [&mut self.primary, &mut self.replica] {
            sqlx::query("analyze").execute(connection).await.context("the tables can't be analyzed")?;
        }
        Ok(())
    }

    /// Writes out what is dirty, so that a round does not pay for the one before.
    pub async fn checkpoint(&mut self) -> anyhow::Result<()> {
        for connection in [&mut self.primary, &mut self.replica] {
            sqlx::query("checkpoint").execute(connection).await.context("there can be no checkpoint")?;
        }
        Ok(())
    }
}

/// Adds a constraint that no service knows of, so that only the database can refuse what breaks it.
async fn plant(primary: &mut PgConnection) -> anyhow::Result<()> {
    let statement = format!(
        "alter table sales.sales_transaction \
         add constraint bench_refuses_store check (store_id <> {STORE_THAT_IS_REFUSED})"
    );
    sqlx::query(sqlx::AssertSqlSafe(statement)).execute(primary).await.context("the constraint can't be planted")?;
    Ok(())
}
