//! A router's process in a history of several: its tasks, with those that they start, stand still, go on
//! and die together.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use p2p_shared::net::transport::Transport;

use crate::mesh::MemberAddress;

thread_local! {
    /// The process whose task runs now.
    static CURRENT: RefCell<Option<Process>> = const { RefCell::new(None) };
}

/// A connection to another router that is being made.
pub(crate) type Dialled = Pin<Box<dyn Future<Output = io::Result<Transport>> + Send>>;
/// Connects the process to the main port of another router.
pub(super) type Dial = Arc<dyn Fn(&MemberAddress) -> Dialled + Send + Sync>;

/// A process; clones share it.
#[derive(Clone)]
pub(crate) struct Process(Arc<(Mutex<Inside>, Dial)>);

struct Inside {
    state: ProcessState,
    /// Of each task that waits.
    wakers: BTreeMap<u64, Waker>,
    tasks: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProcessState {
    Runs,
    Stopped,
    Dead,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Process")
    }
}

/// A task of the process that runs now, if there is one.
pub(crate) fn of_current<F: Future<Output = ()> + Send + 'static>(task: F) -> TaskOf<F> {
    let process = CURRENT.with_borrow(Clone::clone);
    TaskOf::new(process, task)
}

/// Returns true in a task of a process.
pub(crate) fn is_simulated() -> bool {
    CURRENT.with_borrow(Option::is_some)
}

/// Connects the process that runs now. `None` outside of the simulation.
pub(crate) fn dial(to: &MemberAddress) -> Option<Dialled> {
    let process = CURRENT.with_borrow(Clone::clone)?;
    Some((process.0.1)(to))
}

impl Process {
    pub(super) fn new(dial: Dial) -> Self {
        let inside = Inside {
            state: ProcessState::Runs,
            wakers: BTreeMap::new(),
            tasks: 0,
        };
        Self(Arc::new((Mutex::new(inside), dial)))
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.0.lock().unwrap()
    }

    /// Runs a task of this process.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(TaskOf::new(Some(self.clone()), task));
    }

    /// Does something in this process.
    pub(super) fn enter<T>(&self, act: impl FnOnce() -> T) -> T {
        let before = CURRENT.replace(Some(self.clone()));
        let done = act();
        CURRENT.set(before);
        done
    }

    /// Stops the process as SIGSTOP does, or lets it go on.
    pub(super) fn set_stopped(&self, is_stopped: bool) {
        self.set(match is_stopped {
            true => ProcessState::Stopped,
            false => ProcessState::Runs,
        });
    }

    /// Kills the process, as SIGKILL does.
    pub(super) fn kill(&self) {
        self.set(ProcessState::Dead);
    }

    fn set(&self, state: ProcessState) {
        let mut inside = self.lock();
        if inside.state != ProcessState::Dead {
            inside.state = state;
        }
        let wakers = std::mem::take(&mut inside.wakers);
        drop(inside);
        wakers.into_values().for_each(Waker::wake);
    }
}

/// A task that belongs to a process.
pub(crate) struct TaskOf<F> {
    process: Option<Process>,
    number: u64,
    task: Option<Pin<Box<F>>>,
}

impl<F> TaskOf<F> {
    fn new(process: Option<Process>, task: F) -> Self {
        let number = process.as_ref().map_or(0, |process| {
            let mut inside = process.lock();
            inside.tasks += 1;
            inside.tasks
        });
        Self {
            process,
            number,
            task: Some(Box::pin(task)),
        }
    }
}

impl<F> Drop for TaskOf<F> {
    fn drop(&mut self) {
        let Some(process) = self.process.take() else {
            return;
        };
        process.lock().wakers.remove(&self.number);
        process.enter(|| self.task = None);
    }
}

impl<F: Future<Output = ()>> Future for TaskOf<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let Some(task) = &mut this.task else {
            return Poll::Ready(());
        };
        let Some(process) = this.process.clone() else {
            return task.as_mut().poll(cx);
        };
        let state = {
            let mut inside = process.lock();
            inside.wakers.insert(this.number, cx.waker().clone());
            inside.state
        };
        let polled = match state {
            ProcessState::Stopped => Poll::Pending,
            ProcessState::Runs => process.enter(|| task.as_mut().poll(cx)),
            ProcessState::Dead => Poll::Ready(()),
        };
        if polled.is_ready() {
            process.lock().wakers.remove(&this.number);
            process.enter(|| this.task = None);
        }
        polled
    }
}
