//! L1: from a commit until its sale can be read, with the token and by looking at the replica itself.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sqlx::{Connection, PgConnection};
use tandem_proto::sales::command::v1::sales_command_service_client::SalesCommandServiceClient;
use tandem_proto::sales::query::v1::read_consistency::Requirement;
use tandem_proto::sales::query::v1::sales_query_service_client::SalesQueryServiceClient;
use tandem_proto::sales::query::v1::{GetTransactionRequest, ReadConsistency};
use tonic::Request;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use super::super::Latencies;
use super::super::answers::Void;
use super::super::comparison::{Aim, Comparison, Measured};
use super::super::load::{self, CALL_TIMEOUT, Requests};
use super::super::statistics::{Spread, median, rounded};
use super::rounds::Shop;
use crate::postgres::Login;

/// Times as long as the row itself takes.
const TARGET: f64 = 2.0;

/// Between looks at the replica.
const BETWEEN_LOOKS: Duration = Duration::from_micros(200);

/// A row that is not there after this is lost.
const LIMIT: Duration = Duration::from_secs(30);

/// The generator writes a little longer than it is looked at: it starts and connects first.
const BEGINNING: Duration = Duration::from_millis(1_500);

/// Seconds that others write while a round of so many commits goes on: until it is over, and it takes less.
const BUSY_SECONDS: NonZeroU32 = NonZeroU32::new(10).expect("not zero");

/// Milliseconds of one round, medians and all.
#[derive(Default)]
struct Samples {
    medians: Vec<f64>,
    all: Latencies,
}

/// Both ways, over all rounds.
#[derive(Default)]
struct Both {
    ours: Samples,
    peer: Samples,
}

struct Prober {
    commands: SalesCommandServiceClient<Channel>,
    queries: SalesQueryServiceClient<Channel>,
    replica: PgConnection,
    requests: Requests,
}

/// Measures alone and beside callers who write.
///
/// # Errors
///
/// [`Void`] where a sale is not there; others where it can't be measured.
pub async fn measure(
    shop: &mut Shop,
    writers: NonZeroU32,
    commits: NonZeroU32,
    rounds: u32,
) -> anyhow::Result<Option<Comparison>> {
    let mut prober = Prober::connect(shop).await?;
    let (mut idle, mut busy) = (Both::default(), Both::default());
    prober.round(commits, &mut Both::default()).await?;
    let one = NonZeroU32::MIN;
    let writing = load::Args {
        address: shop.bed.service.address,
        callers: writers,
        connections: one.saturating_add(1),
        threads: one,
        seconds: BUSY_SECONDS,
        refused_percent: 0,
        rate: None,
    };
    for _ in 0..rounds {
        prober.round(commits, &mut idle).await?;
        let probe = async {
            tokio::time::sleep(BEGINNING).await;
            prober.round(commits, &mut busy).await
        };
        // What they still write when the round is over is nobody's concern: dropping the generator ends it.
        tokio::select! {
            probed = probe => probed?,
            written = shop.bed.generator.run(&writing) => {
                written?;
                anyhow::bail!("the writers ended before the round did: ask for fewer commits");
            }
        }
    }
    Ok(row(&idle, &busy, writers))
}

/// The worse of both counts.
fn row(idle: &Both, busy: &Both, writers: NonZeroU32) -> Option<Comparison> {
    let (idle_ratios, busy_ratios) = (idle.ratios(), busy.ratios());
    let worse = if median(&busy_ratios)? > median(&idle_ratios)? { (busy, &busy_ratios) } else { (idle, &idle_ratios) };
    let side = |name: &str, of: &dyn Fn(&Both) -> &Samples| {
        let mut side = Measured::new(name, "ms", &of(worse.0).medians);
        for (parts, both) in [(["idle_p50_ms", "idle_p99_ms"], idle), (["busy_p50_ms", "busy_p99_ms"], busy)] {
            for (part, share) in parts.into_iter().zip([0.5, 0.99]) {
                side.parts.extend(of(both).all.milliseconds_at(share).map(|value| (part, value)));
            }
        }
        side
    };
    let ours = side("GetTransaction with the token", &|both| &both.ours);
    let peer = side("the row by SQL", &|both| &both.peer);
    let told = |ratios: &[f64]| serde_json::to_value(Spread::of(ratios)).unwrap_or_default();
    let comparison = Comparison::new("L1", Aim::AtMost, TARGET, worse.1, ours, Some(peer))?;
    let comparison = comparison.with("writers_beside", writers.get());
    Some(comparison.with("ratio_idle", told(&idle_ratios)).with("ratio_busy", told(&busy_ratios)))
}

impl Both {
    fn ratios(&self) -> Vec<f64> {
        let pairs = self.ours.medians.iter().zip(&self.peer.medians);
        pairs.map(|(ours, peer)| rounded(ours / peer, 3)).collect()
    }
}

impl Prober {
    async fn connect(shop: &Shop) -> anyhow::Result<Prober> {
        let channel = async |address| {
            anyhow::Ok(Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true).connect().await?)
        };
        Ok(Prober {
            commands: SalesCommandServiceClient::new(channel(shop.bed.service.address).await?),
            queries: SalesQueryServiceClient::new(channel(shop.query.address).await?),
            replica: PgConnection::connect(&shop.bed.pair.url(Login::Query)).await?,
            requests: Requests::new(0),
        })
    }

    /// Both ways in turn.
    async fn round(&mut self, commits: NonZeroU32, both: &mut Both) -> anyhow::Result<()> {
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        for _ in 0..commits.get() {
            ours.push(self.with_token().await?);
            peer.push(self.by_row().await?);
        }
        for (samples, took) in [(&mut both.ours, ours), (&mut both.peer, peer)] {
            took.iter().for_each(|took| samples.all.record(*took));
            let milliseconds: Vec<f64> = took.iter().map(|took| took.as_secs_f64() * 1_000.0).collect();
            samples.medians.extend(median(&milliseconds));
        }
        Ok(())
    }

    /// Creates a sale; its id, its token, and when the answer was there.
    async fn create(&mut self) -> anyhow::Result<(String, String, Instant)> {
        let mut request = Request::new(self.requests.next(&mut rand::rng()).request);
        request.set_timeout(CALL_TIMEOUT);
        let answer = self.commands.create_transaction(request).await?.into_inner();
        let since = Instant::now();
        Ok((answer.transaction.unwrap_or_default().transaction_id, answer.consistency_token, since))
    }

    async fn with_token(&mut self) -> anyhow::Result<Duration> {
        let (transaction_id, token, since) = self.create().await?;
        let consistency = Some(ReadConsistency { requirement: Some(Requirement::AtLeastAsFreshAs(token)) });
        let asked = GetTransactionRequest { transaction_id: transaction_id.clone(), consistency };
        let mut request = Request::new(asked);
        request.set_timeout(CALL_TIMEOUT);
        let answer = self.queries.get_transaction(request).await;
        let took = since.elapsed();
        let answer = answer.map_err(|status| Void(format!("a read with a token: {status}")))?.into_inner();
        if answer.transaction.unwrap_or_default().transaction_id != transaction_id {
            return Err(Void("a read with a token had another sale".to_owned()).into());
        }
        Ok(took)
    }

    async fn by_row(&mut self) -> anyhow::Result<Duration> {
        let (transaction_id, _, since) = self.create().await?;
        let transaction_id: Uuid = transaction_id.parse().context("an id is a UUID")?;
        loop {
            let there: bool =
                sqlx::query_scalar("select exists (select from sales.sales_transaction where transaction_id = $1)")
                    .bind(transaction_id)
                    .fetch_one(&mut self.replica)
                    .await?;
            let took = since.elapsed();
            if there {
                return Ok(took);
            }
            ensure!(took < LIMIT, "a sale is not on the replica after {LIMIT:?}");
            // The runtime's own timer goes by whole milliseconds, and nothing else is to be done here meanwhile.
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }
}
