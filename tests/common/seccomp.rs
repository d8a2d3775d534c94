//! Has the kernel refuse system calls of this process, for good: for children that a test starts for it.
#![allow(
    unsafe_code,
    dead_code,
    reason = "seccomp filters are made through libc; each test file uses a part of this"
)]

use std::io;

/// Which threads meet the refusal.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Threads {
    /// This one, and those that it starts.
    This,
    /// All.
    All,
}

/// Has these calls fail with `code`.
pub(crate) fn refuse_calls(calls: &[libc::c_long], code: i32, threads: Threads) {
    let statement = |code: u32, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let give = libc::BPF_RET | libc::BPF_K;
    // The number of the call is the first word of what a filter sees.
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)];
    for &call in calls {
        let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        program.push(libc::sock_filter {
            code: equal as u16,
            jt: 0,
            jf: 1,
            k: call as u32,
        });
        program.push(statement(give, libc::SECCOMP_RET_ERRNO | code as u32));
    }
    program.push(statement(give, libc::SECCOMP_RET_ALLOW));
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    let flags = match threads {
        Threads::This => 0,
        Threads::All => libc::SECCOMP_FILTER_FLAG_TSYNC,
    };
    // SAFETY: the filter and its program live through the calls, which copy them.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let set = libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const filter,
        );
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
    }
}
