//! Open loop: commands are meant to be sent at random times at a given rate, and measured from then.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rand::RngExt;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::LocalSet;

use super::call::{Client, connect, send};
use super::sale::Requests;
use super::{Args, Tally};

/// Sends commands at the rate until the time is over. One thread sends them all; another one keeps the time.
pub fn generate(args: &Args, rate: f64) -> anyhow::Result<Tally> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let clients = runtime.block_on(connect(args, args.connections.get()))?;
    let start = Instant::now();
    // Unbounded in name only: the rate and the time bound it, and a bound would hide that commands wait.
    let (due, times) = mpsc::unbounded_channel();
    let end = start + args.duration();
    let clock = thread::Builder::new().name("clock".to_owned()).spawn(move || keep_time(start, end, rate, &due))?;
    let mut tally = LocalSet::new().block_on(&runtime, work(args, &clients, times));
    tally.seconds = start.elapsed().as_secs_f64();
    clock.join().ok().context("the clock panicked")?;
    Ok(tally)
}

/// Says when each command is due. The runtime's timers go by the millisecond, which is as long as a call takes; a
/// thread's sleep is exact to some ten microseconds.
fn keep_time(start: Instant, end: Instant, rate: f64, due: &mpsc::UnboundedSender<Instant>) {
    let mut rng = rand::rng();
    let mut next = start;
    loop {
        next += gap(rate, rng.random());
        if next >= end {
            return;
        }
        if let Some(ahead) = next.checked_duration_since(Instant::now()) {
            thread::sleep(ahead);
        }
        if due.send(next).is_err() {
            return;
        }
    }
}

/// Callers that know nothing of each other leave exponential gaps; `drawn` is from 0 up to 1.
fn gap(rate: f64, drawn: f64) -> Duration {
    Duration::from_secs_f64(-(1.0 - drawn).ln() / rate)
}

async fn work(args: &Args, clients: &[Client], mut times: mpsc::UnboundedReceiver<Instant>) -> Tally {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let requests = Requests::new(args.refused_percent);
    let callers = args.callers.get();
    let places = Arc::new(Semaphore::new(callers as usize));
    let mut sent = 0;
    while let Some(since) = times.recv().await {
        // Commands that wait here for a place have been due since; their latency says so.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
        let mut client = clients[sent % clients.len()].clone();
        sent += 1;
        let mut planned = requests.next(&mut rand::rng());
        let tally = Rc::clone(&tally);
        tokio::task::spawn_local(async move {
            let answer = send(&mut client, &mut planned, since).await;
            answer.enter(&planned, &mut tally.borrow_mut());
            drop(place);
        });
    }
    // All places are free again when all commands are answered.
    let answered = places.acquire_many(callers).await;
    drop(answered);
    tally.take()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_as_long_on_average_as_the_rate_says() {
        let mut rng = rand::rng();
        let all: Duration = (0..100_000).map(|_| gap(1_000.0, rng.random())).sum();
        assert!((95.0..105.0).contains(&all.as_secs_f64()), "{all:?}");
        assert_eq!(gap(10.0, 0.0), Duration::ZERO);
    }

    #[test]
    fn the_clock_says_as_many_times_as_the_rate_and_none_too_early() {
        let (due, mut times) = mpsc::unbounded_channel();
        let start = Instant::now();
        keep_time(start, start + Duration::from_millis(200), 2_000.0, &due);
        drop(due);
        let mut said = 0;
        while let Some(time) = times.blocking_recv() {
            assert!(time <= start + Duration::from_millis(200));
            said += 1;
        }
        assert!((250..550).contains(&said), "{said}");
    }
}
