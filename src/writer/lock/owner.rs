//! Who holds a lock, and whether that process still runs.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// More than an owner takes.
const MAX_OWNER_BYTES: u64 = 4096;

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    pub(super) host: String,
    /// Differs from machine to machine, and from start to start.
    pub(super) boot_id: String,
    /// Process ids mean something only within one.
    pub(super) pid_namespace: String,
    pub(super) pid: u32,
    /// When the process started, in ticks since the start of the machine: another one may get its number.
    pub(super) started: Option<u64>,
    /// When the lock was taken, in seconds since 1970.
    pub(super) time: u64,
}

/// Whether an owner still runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnerState {
    Alive,
    Gone,
    /// It runs, or ran, on another host.
    Unknown,
}

impl Owner {
    /// This process.
    pub(super) fn me() -> Self {
        let line = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let pid = std::process::id();
        Self {
            host: line("/proc/sys/kernel/hostname"),
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            pid_namespace: namespace.to_string_lossy().into_owned(),
            pid,
            started: started(pid),
            time: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
        }
    }

    pub(super) fn read(file: &mut File) -> Option<Self> {
        let mut bytes = Vec::new();
        file.take(MAX_OWNER_BYTES).read_to_end(&mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    pub(super) fn write(&self, file: &mut File) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        file.write_all(&line)?;
        // Other hosts are to see it now, where the filesystem lets them.
        let _ = file.sync_all();
        Ok(())
    }

    pub(super) fn state(&self, me: &Self) -> OwnerState {
        let is_same_start = !me.boot_id.is_empty() && self.boot_id == me.boot_id;
        let is_named = !me.host.is_empty() && !me.host.starts_with("localhost");
        if is_same_start && self.pid_namespace == me.pid_namespace {
            // Only a process that was seen to start at another time is another one.
            let is_same = match (self.started, started(self.pid)) {
                (Some(then), Some(now)) => then == now,
                _ => Path::new(&format!("/proc/{}", self.pid)).exists(),
            };
            return if is_same {
                OwnerState::Alive
            } else {
                OwnerState::Gone
            };
        }
        match is_same_start || self.boot_id.is_empty() || !is_named || self.host != me.host {
            true => OwnerState::Unknown,
            // The machine was started again.
            false => OwnerState::Gone,
        }
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let minutes = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_secs().saturating_sub(self.time) / 60);
        write!(
            f,
            "process {} on host {}, for {minutes} minutes",
            self.pid, self.host
        )
    }
}

/// When a process started, in ticks since the start of the machine.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, in parentheses, may hold anything; the 22nd is the time.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}
