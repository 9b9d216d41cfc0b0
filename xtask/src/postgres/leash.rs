//! Ends and removes what a test has started, whatever happens to the test.
//!
//! A destructor does not run on Ctrl-C, nor on `kill -9`. The kernel does close the process's end of a pipe
//! then: at the other end waits a small shell, out of reach of the terminal's signals, that cleans up.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a destructor waits for the shell. It goes on by itself if it takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often a destructor looks whether the shell has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Waits for the end of its input, stops the servers below `$1` at once, kills what is left there after
/// 6 s, and removes the directory. `ls` on `/proc` finds processes by their working directory, so that
/// children of a server that was killed are found too; without `/proc` the recorded ids alone count.
const SCRIPT: &str = r#"
trap '' HUP INT TERM QUIT
read -r _
root=$1
cd /
servers=$(for file in "$root"/*/data/postmaster.pid; do [ -f "$file" ] && head -n 1 "$file"; done)
inside() {
    if [ -d /proc/self ]; then
        ls -l /proc/[0-9]*/cwd 2>/dev/null | grep -F -- "-> $root/" | sed 's:.*/proc/\([0-9]*\)/cwd.*:\1:'
    else
        for pid in $servers; do kill -0 "$pid" 2>/dev/null && echo "$pid"; done
    fi
}
for pid in $servers; do
    if inside | grep -qx "$pid"; then kill -QUIT "$pid"; fi
done
tries=0
while [ -n "$(inside)" ] && [ "$tries" -lt 60 ]; do
    [ "$tries" -ge 5 ] && sleep 0.1 || sleep 0.02
    tries=$((tries + 1))
done
for pid in $(inside); do kill -KILL "$pid"; done
tries=0
while [ -e "$root" ] && [ "$tries" -lt 50 ]; do
    rm -rf -- "$root" && break
    for pid in $(inside); do kill -KILL "$pid"; done
    sleep 0.1
    tries=$((tries + 1))
done
"#;

/// Cleans up a directory and the servers in it when it is dropped or its process ends, in whatever way.
#[derive(Debug)]
pub struct Leash {
    shell: Child,
}

impl Leash {
    /// Ties a directory to this process. The directory must be told without symbolic links.
    pub fn tie(directory: &Path) -> io::Result<Leash> {
        let shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "sh"])
            .arg(directory)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A process group of its own: Ctrl-C on the terminal hits the test, not its leash.
            .process_group(0)
            .spawn()?;
        Ok(Leash { shell })
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.shell.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}
