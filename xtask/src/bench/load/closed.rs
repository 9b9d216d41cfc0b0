//! Closed loop: each caller sends its next command when the last is answered.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use anyhow::anyhow;
use tokio::task::LocalSet;

use super::call::{Client, connect, send};
use super::sale::Requests;
use super::{Args, Tally, share};

/// Has all callers work until the time is over.
pub fn generate(args: &Args) -> anyhow::Result<Tally> {
    let threads = args.threads.get().min(args.callers.get());
    let barrier = Barrier::new(threads as usize);
    let parts: Vec<anyhow::Result<Tally>> = thread::scope(|scope| {
        let start = |number| {
            scope.spawn({
                let barrier = &barrier;
                move || part(args, threads, number, barrier)
            })
        };
        let started: Vec<_> = (0..threads).map(start).collect();
        started.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked")))).collect()
    });
    let mut tally = Tally::default();
    for part in parts {
        tally.add_beside(part?);
    }
    Ok(tally)
}

/// The callers of one thread.
fn part(args: &Args, threads: u32, number: u32, barrier: &Barrier) -> anyhow::Result<Tally> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    // Reached whatever happens: the other threads wait there.
    let connected = runtime.map(|runtime| {
        let clients = runtime.block_on(connect(args, share(args.connections.get(), threads, number)));
        (runtime, clients)
    });
    barrier.wait();
    let (runtime, clients) = connected?;
    let clients = clients?;
    Ok(LocalSet::new().block_on(&runtime, work(args, share(args.callers.get(), threads, number), &clients)))
}

async fn work(args: &Args, callers: u32, clients: &[Client]) -> Tally {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let requests = Rc::new(Requests::new(args.refused_percent));
    let start = Instant::now();
    let end = start + args.duration();
    let callers: Vec<_> = (0..callers as usize)
        .map(|number| {
            let client = clients[number % clients.len()].clone();
            tokio::task::spawn_local(call_until(end, client, Rc::clone(&requests), Rc::clone(&tally)))
        })
        .collect();
    for caller in callers {
        if caller.await.is_err() {
            tally.borrow_mut().fault("a caller panicked".to_owned());
        }
    }
    tally.borrow_mut().seconds = start.elapsed().as_secs_f64();
    tally.take()
}

async fn call_until(end: Instant, mut client: Client, requests: Rc<Requests>, tally: Rc<RefCell<Tally>>) {
    while Instant::now() < end {
        let mut planned = requests.next(&mut rand::rng());
        let answer = send(&mut client, &mut planned, Instant::now()).await;
        answer.enter(&planned, &mut tally.borrow_mut());
    }
}
