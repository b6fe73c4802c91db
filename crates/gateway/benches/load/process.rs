//! Processes and processors: who runs where, what it used.

use std::{
    fs,
    future::Future,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

/// Where upstream and load generator run.
pub(crate) const GENERATOR_CPU: usize = 0;
/// Where the gateway runs.
const GATEWAY_CPU: usize = 1;

/// Runs `work` on one processor.
pub(crate) fn on_cpu(cpu: usize, work: impl Future<Output = ()>) {
    pin(cpu);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work);
}

/// Runs `work` where the gateway runs, as it does.
pub(crate) fn on_gateway_cpu(work: impl Future<Output = ()>) {
    pin(GATEWAY_CPU);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
        .block_on(work);
}

/// Binds this process to `cpu`, if the machine has it.
fn pin(cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        eprintln!("not bound to processor {cpu}: {error}");
    }
}

/// A server between load and upstream, in a process of its own.
pub(crate) struct Between {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Between {
    /// Starts this program once more, as `role`.
    pub(crate) fn start(role: &str, upstream: SocketAddr) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([role, &upstream.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line.trim().parse().unwrap();
        Self { child, address }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Processor time of all threads of a process, in microseconds.
pub(crate) fn used_micros(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let nanos: u64 = tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|line| line.split(' ').next()?.parse::<u64>().ok())
        .sum();
    nanos / 1000
}

/// Resident memory of a process.
pub(crate) fn resident_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024
}
