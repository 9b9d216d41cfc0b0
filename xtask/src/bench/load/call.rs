//! One command and what is made of its answer.

use std::time::{Duration, Instant};

use anyhow::Context;
use tandem_proto::sales::command::v1::CreateTransactionResponse;
use tandem_proto::sales::command::v1::sales_command_service_client::SalesCommandServiceClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use super::sale::Planned;
use super::{Args, Tally};

/// Every call has a deadline, as it should in production; one that is reached voids the run.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A local service answers at once or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What each caller holds.
pub type Client = SalesCommandServiceClient<Channel>;

/// Opens so many connections.
pub async fn connect(args: &Args, connections: u32) -> anyhow::Result<Vec<Client>> {
    let endpoint = Endpoint::from_shared(format!("http://{}", args.address))?;
    let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true);
    let mut clients = Vec::new();
    for _ in 0..connections.max(1) {
        let channel = endpoint.connect().await;
        let channel = channel.with_context(|| format!("no command service answers at {}", args.address))?;
        clients.push(Client::new(channel));
    }
    Ok(clients)
}

/// Sends a command; its latency counts from `since`.
pub async fn send(client: &mut Client, planned: &mut Planned, since: Instant) -> Answer {
    let mut request = Request::new(std::mem::take(&mut planned.request));
    request.set_timeout(CALL_TIMEOUT);
    let response = client.create_transaction(request).await;
    Answer { response, took: since.elapsed() }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    response: Result<Response<CreateTransactionResponse>, Status>,
    took: Duration,
}

impl Answer {
    /// Judges the answer by what had to come.
    pub fn enter(self, planned: &Planned, tally: &mut Tally) {
        match self.response {
            Ok(_) if planned.refused => tally.fault("a sale that had to be refused was acknowledged".to_owned()),
            Ok(response) => {
                let sale = response.into_inner().transaction.unwrap_or_default();
                if sale.total_amount.as_ref() != Some(&planned.total) || sale.transaction_id.is_empty() {
                    tally.fault(format!("a wrong answer: {:?} for {:?}", sale.total_amount, planned.total));
                }
                tally.acknowledge(self.took);
            }
            // A busy service that turns a command away says nothing of whether the database would have taken it.
            Err(status) if planned.refused && !is_passing(status.code()) => tally.refused += 1,
            Err(status) => tally.fault(format!("{:?}: {}", status.code(), status.message())),
        }
    }
}

fn is_passing(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Cancelled)
}

#[cfg(test)]
mod tests {
    use super::super::sale::Requests;
    use super::*;

    fn planned(refused: bool) -> Planned {
        Requests::new(if refused { 100 } else { 0 }).next(&mut rand::rng())
    }

    fn judged(planned: &Planned, response: Result<CreateTransactionResponse, Status>) -> Tally {
        let mut tally = Tally::default();
        Answer { response: response.map(Response::new), took: Duration::from_millis(1) }.enter(planned, &mut tally);
        tally
    }

    fn right(planned: &Planned) -> CreateTransactionResponse {
        let mut sale = planned.request.transaction.clone().unwrap();
        (sale.total_amount, sale.transaction_id) = (Some(planned.total.clone()), "id".to_owned());
        CreateTransactionResponse { transaction: Some(sale), ..CreateTransactionResponse::default() }
    }

    #[test]
    fn a_right_answer_is_acknowledged_and_another_total_is_a_fault() {
        let planned = planned(false);
        let tally = judged(&planned, Ok(right(&planned)));
        assert_eq!((tally.acknowledged, tally.faults.len()), (1, 0));
        let mut wrong = right(&planned);
        wrong.transaction.as_mut().unwrap().total_amount.as_mut().unwrap().units += 1;
        assert_eq!(judged(&planned, Ok(wrong)).faults.len(), 1);
    }

    #[test]
    fn only_what_was_planted_may_be_refused_and_only_by_a_verdict() {
        let (good, bad) = (planned(false), planned(true));
        assert_eq!(judged(&good, Err(Status::internal("no"))).faults.len(), 1);
        assert_eq!(judged(&bad, Ok(right(&bad))).faults.len(), 1);
        assert_eq!(judged(&bad, Err(Status::resource_exhausted("full"))).faults.len(), 1);
        let tally = judged(&bad, Err(Status::internal("no")));
        assert_eq!((tally.refused, tally.faults.len(), tally.acknowledged), (1, 0, 0));
    }
}
