//! Running the command where the kernel refuses system calls: io_uring, as in most containers, and others.
#![allow(unsafe_code, reason = "a filter is installed between fork and exec")]
#![allow(dead_code, reason = "each test file uses a part of this")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP,
    SECCOMP_MODE_FILTER, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, sock_filter, sock_fprog,
};

/// io_uring_setup, io_uring_enter and io_uring_register have these numbers on every architecture.
const IO_URING: [u32; 3] = [425, 426, 427];

/// Has every io_uring system call of the command fail with EPERM.
pub(crate) fn refuse_io_uring(command: &mut Command) {
    refuse(command, &IO_URING, libc::EPERM);
}

/// Has these system calls of the command fail with `code`.
pub(crate) fn refuse(command: &mut Command, calls: &[u32], code: i32) {
    let instruction = |code: u32, jt: u8, jf: u8, k: u32| sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    // The number of the system call is the first word of what a filter sees.
    let mut filter = vec![instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0)];
    for &call in calls {
        filter.push(instruction(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, call));
        filter.push(instruction(
            BPF_RET | BPF_K,
            0,
            0,
            SECCOMP_RET_ERRNO | code as u32,
        ));
    }
    filter.push(instruction(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW));
    let install = move || {
        let program = sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_mut_ptr(),
        };
        // SAFETY: it takes numbers alone.
        let refused = unsafe { libc::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0
            // SAFETY: the program points to `filter`, which outlives the call; the kernel copies it.
            || unsafe { libc::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &raw const program) } != 0;
        if refused {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes two system calls and touches only what it owns: it neither
    // allocates nor takes a lock.
    unsafe { command.pre_exec(install) };
}
