//! What to tell an administrator about a step that the kernel refuses.

use std::fs;
use std::io;

use super::error::name_errno;

/// One clause that says which step was refused, with which errno, and what can be done about it.
pub(super) fn refusal(step: &str, error: &io::Error) -> String {
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    format!(
        "{step} was refused with {}: {}",
        name_errno(error),
        remedy(step, error, disabled.trim())
    )
}

fn remedy(step: &str, error: &io::Error, disabled: &str) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) if step.starts_with("process_vm_readv") => {
            "choose backend pread, or allow the system call in the seccomp profile or sandbox".to_owned()
        }
        Some(libc::EPERM | libc::EACCES) if matches!(disabled, "1" | "2") => {
            "set kernel.io_uring_disabled to 0".to_owned()
        }
        Some(libc::EPERM | libc::EACCES) => {
            "allow the io_uring system calls in the seccomp profile of the container".to_owned()
        }
        Some(libc::ENOSYS) => {
            "use Linux 5.6 or newer and allow the io_uring system calls in the seccomp profile or sandbox"
                .to_owned()
        }
        Some(libc::ENOMEM) => format!(
            "raise RLIMIT_MEMLOCK, now {}, or grant CAP_IPC_LOCK",
            memlock_limit()
        ),
        Some(libc::EMFILE | libc::ENFILE) => "raise the limit on open files".to_owned(),
        _ => "choose another backend".to_owned(),
    }
}

/// Whether the process may lock so many bytes, as far as can be told beforehand: others of its user's share the limit.
pub(super) fn may_lock(bytes: u64) -> bool {
    /// `CAP_IPC_LOCK` in the kernel's `include/uapi/linux/capability.h`: the limit does not count.
    const IPC_LOCK: u64 = 1 << 14;
    let file = |name| fs::read_to_string(name).unwrap_or_default();
    let status = file("/proc/thread-self/status");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    // In a user namespace it is the right to nothing.
    let is_real = file("/proc/self/uid_map")
        .split_whitespace()
        .eq(["0", "0", "4294967295"]);
    if is_real && effective.is_some_and(|effective| effective & IPC_LOCK != 0) {
        return true;
    }
    let limit = memlock_limit();
    let soft = limit.strip_suffix(" bytes").unwrap_or_default();
    soft == "unlimited" || soft.parse::<u64>().is_ok_and(|soft| soft >= bytes)
}

/// The limit on locked memory, as the kernel prints it.
fn memlock_limit() -> String {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"));
    line.and_then(|line| line.split_whitespace().next())
        .map_or("unknown".to_owned(), |soft| format!("{soft} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::error::errno;

    #[test]
    fn every_refusal_names_its_errno_and_a_remedy() {
        let cases = [
            (libc::EPERM, "0", "seccomp"),
            (libc::EPERM, "2", "kernel.io_uring_disabled"),
            (libc::ENOSYS, "", "Linux 5.6"),
            (libc::ENOMEM, "", "RLIMIT_MEMLOCK"),
            (libc::EMFILE, "", "open files"),
            (libc::EOPNOTSUPP, "", "another backend"),
        ];
        for (code, disabled, word) in cases {
            let text = remedy("io_uring_setup", &errno(-code).unwrap_err(), disabled);
            assert!(text.contains(word), "{code}: {text}");
        }
        let text = remedy("process_vm_readv", &errno(-libc::EPERM).unwrap_err(), "2");
        assert!(text.starts_with("choose backend pread"), "{text}");
        let text = refusal("io_uring_setup", &errno(-libc::ENOSYS).unwrap_err());
        assert!(
            text.starts_with("io_uring_setup was refused with ENOSYS (errno 38): use Linux"),
            "{text}"
        );
    }

    #[test]
    fn the_limit_is_read_as_a_number_or_unlimited() {
        let limit = memlock_limit();
        let soft = limit.strip_suffix(" bytes").unwrap();
        assert!(soft == "unlimited" || soft.parse::<u64>().is_ok(), "{limit}");
    }
}
