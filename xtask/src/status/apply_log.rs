//! Why a replica could not apply changes, as its log has it: PostgreSQL keeps the reason nowhere else.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// So much of a log's end is looked through: a worker that fails does so every few seconds.
const TAIL_BYTES: u64 = 256 * 1024;

/// What every failure to apply a change says in its last line.
const APPLYING: &str = "CONTEXT:  processing remote data for replication origin";

/// The last failure that the log of the server with this data directory tells of; none where it tells of none, or can't
/// be read.
pub(super) fn last_failure(data_directory: &Path) -> Option<String> {
    let mut file = File::open(data_directory.parent()?.join("postgres.log")).ok()?;
    let size = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL_BYTES))).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    failure_in(&String::from_utf8_lossy(&bytes))
}

/// Lines of one process stand together but for what others say in between: `2026-… [4711] ERROR:  …`.
fn failure_in(log: &str) -> Option<String> {
    let lines: Vec<&str> = log.lines().collect();
    let end = lines.iter().rposition(|line| line.contains(APPLYING))?;
    let process = lines[end].split_once('[')?.1.split_once(']')?.0;
    let of_process = format!("[{process}] ");
    let said = |line: &&str| line.split_once(&of_process).map(|(_, said)| said.trim().to_owned());
    let begin = lines[..end].iter().rposition(|line| line.contains(&of_process) && line.contains("ERROR:  "))?;
    Some(lines[begin..=end].iter().filter_map(said).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::failure_in;

    #[test]
    fn the_last_failure_is_told_with_what_belongs_to_it_and_nothing_else() {
        let log = "\
2026-11-25 10:00:00.000 UTC [7] ERROR:  an older one
2026-11-25 10:00:00.000 UTC [7] CONTEXT:  processing remote data for replication origin \"pg_1\"
2026-11-25 10:00:01.000 UTC [8] ERROR:  duplicate key value violates unique constraint \"sale_pkey\"
2026-11-25 10:00:01.000 UTC [8] DETAIL:  Key (id)=(1) already exists.
2026-11-25 10:00:01.000 UTC [9] LOG:  checkpoint starting: time
2026-11-25 10:00:01.000 UTC [8] CONTEXT:  processing remote data for replication origin \"pg_1\" in transaction 752
2026-11-25 10:00:02.000 UTC [3] LOG:  background worker \"logical replication worker\" (PID 8) exited with exit code 1
";
        let told = "ERROR:  duplicate key value violates unique constraint \"sale_pkey\"\n\
            DETAIL:  Key (id)=(1) already exists.\n\
            CONTEXT:  processing remote data for replication origin \"pg_1\" in transaction 752";
        assert_eq!(failure_in(log).as_deref(), Some(told));
        assert_eq!(failure_in("2026-11-25 10:00:01.000 UTC [9] LOG:  nothing of that kind"), None);
    }
}
