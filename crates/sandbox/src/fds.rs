//! File descriptors across processes: passing them over a socket, and the two places where the operating
//! system's interface cannot be had without `unsafe`.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

/// Sends three descriptors (standard input, output and error) with one byte over a Unix socket.
pub(crate) fn send_three(socket: impl AsFd, fds: [BorrowedFd<'_>; 3]) -> std::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(std::io::Error::other("no room for the descriptors"));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(b"f")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives what [`send_three`] sent.
pub(crate) fn receive_three(socket: impl AsFd) -> std::io::Result<[OwnedFd; 3]> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0u8; 1];
    rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    fds.try_into().map_err(|_| std::io::Error::other("the caller sent no descriptors"))
}

/// Takes ownership of a descriptor that was inherited by number.
#[expect(unsafe_code, reason = "an inherited descriptor has no owner yet in this process")]
pub(crate) fn take_inherited(number: RawFd) -> OwnedFd {
    // SAFETY: the launcher's outer half hands this number to its inner half, which calls this once.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Makes the command start in a session of its own, with its standard input as the controlling terminal.
#[expect(unsafe_code, reason = "the session must be made between fork and exec")]
pub(crate) fn with_controlling_terminal(command: &mut Command) {
    // SAFETY: both calls are plain system calls, allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            rustix::process::ioctl_tiocsctty(std::io::stdin())?;
            Ok(())
        });
    }
}
