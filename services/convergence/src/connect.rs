//! One read-only connection to each side, every use of it bounded by the deadline of the check.

use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::time::Instant;

use crate::error::{CheckError, Side};

/// The end of the time that the caller allowed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    timeout: Duration,
    at: Instant,
}

impl Deadline {
    pub(crate) fn after(timeout: Duration) -> Self {
        Self { timeout, at: Instant::now() + timeout }
    }

    pub(crate) fn timeout(self) -> Duration {
        self.timeout
    }

    pub(crate) fn passed(self) -> bool {
        Instant::now() >= self.at
    }

    /// Waits for `future`, and at most until the deadline.
    pub(crate) async fn bound<T>(
        self,
        doing: impl FnOnce() -> String,
        future: impl Future<Output = Result<T, CheckError>>,
    ) -> Result<T, CheckError> {
        match tokio::time::timeout_at(self.at, future).await {
            Ok(result) => result,
            Err(_) => Err(CheckError::TimedOut { timeout: self.timeout, doing: doing() }),
        }
    }
}

/// A connection that knows which side it leads to.
pub(crate) struct Database {
    pub(crate) side: Side,
    pub(crate) connection: PgConnection,
}

impl Database {
    /// Connects with `default_transaction_read_only`, so that the check can't write to a table by mistake.
    pub(crate) async fn connect(side: Side, url: &str, deadline: Deadline) -> Result<Self, CheckError> {
        // The server gives up with us: a dropped connection alone leaves the statement running.
        let statement_timeout = format!("{}ms", deadline.timeout.as_millis().max(1));
        let options = PgConnectOptions::from_str(url)
            .map_err(|source| CheckError::Url { side, source })?
            .application_name("tandem-verify")
            .options([
                ("default_transaction_read_only", "on"),
                ("search_path", "pg_catalog"),
                ("statement_timeout", statement_timeout.as_str()),
            ])
            .disable_statement_logging();
        let connecting =
            async { PgConnection::connect_with(&options).await.map_err(|source| CheckError::Connect { side, source }) };
        let connection = deadline.bound(|| format!("connecting to the {side}"), connecting).await?;
        Ok(Self { side, connection })
    }

    /// Names a failed statement.
    pub(crate) fn failed(&self, doing: &str) -> impl FnOnce(sqlx::Error) -> CheckError + use<> {
        let (side, doing) = (self.side, doing.to_owned());
        move |source| CheckError::Query { side, doing, source }
    }
}
