//! Owns that what a program knows stays in it: its key is in its memory and maybe in its
//! environment, and both can be read from outside unless the kernel is told otherwise.

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// No core dump of this process, and its memory, environment and open files closed to other
/// processes of the same user, such as the commands that an inner runs (prctl(2),
/// `PR_SET_DUMPABLE`). What it executes is as open as ever. To be called before a key is read.
pub fn close() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        // There is no log yet, and an old kernel is no reason not to drive.
        eprintln!("warning: this process can't be kept from making core dumps ({error})");
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn the_kernel_keeps_this_process_to_itself() {
        close();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
