//! What others ask of a peer's task.

use std::time::Duration;

use tokio::sync::oneshot;

use super::PeerTask;
use crate::config::PeerMode;
use crate::health::ErrorCategory;
use crate::machine::Phase;
use crate::protocol::MAX_WAIT;
use crate::state::StateError;
use crate::sync::feed::lock;

pub(in crate::sync) type Done = oneshot::Sender<Result<(), StateError>>;

pub(in crate::sync) enum Command {
    Pause(Done),
    Resume(Done),
    Reset(Done),
    Wake(Done),
    /// It asked us something.
    Heard,
    AskAgain(Done),
    /// The configuration was read again: this is the interval now, and whether open connections must be opened again.
    Reload(Duration, bool, Done),
}

impl PeerTask {
    pub(super) async fn command(&mut self, command: Command) {
        // What the store keeps may have been changed beside this task.
        self.stale = true;
        let (done, result) = match command {
            Command::Pause(done) => {
                self.halt();
                self.status.mode = PeerMode::Paused;
                self.machine.pause();
                (done, Ok(()))
            }
            Command::Resume(done) => {
                self.status.mode = PeerMode::Sync;
                self.machine.resume();
                (done, Ok(()))
            }
            Command::Reset(done) => {
                self.halt();
                self.link = None;
                let result = self.state.reset_peer(&self.peer.name).await;
                self.machine.reset();
                (done, result)
            }
            Command::Heard => return self.machine.heard(self.now()),
            Command::Wake(done) => {
                self.machine.wake();
                (done, Ok(()))
            }
            Command::Reload(interval, reconnect, done) => {
                self.machine.set_interval(interval.min(MAX_WAIT));
                // What could not be dialled as it was configured may be possible now.
                let unusable = self.machine.health().last_error == Some(ErrorCategory::Configuration);
                if reconnect || unusable && self.machine.phase() == Phase::Halted {
                    self.halt();
                    self.link = None;
                    self.machine.reconnect();
                }
                (done, Ok(()))
            }
            Command::AskAgain(done) => {
                self.close_feed();
                self.machine.ask_again(self.now());
                (done, Ok(()))
            }
        };
        self.act().await;
        self.publish().await;
        // The caller may have given up waiting.
        let _ = done.send(result);
    }

    /// Pulls only while there is space for it.
    pub(super) fn space(&mut self) {
        if *self.low.borrow_and_update() {
            self.halt();
            self.machine.hold();
        } else {
            self.machine.release();
        }
    }

    fn halt(&mut self) {
        self.in_flight = None;
        self.overdue.over();
        self.timer = None;
        self.close_feed();
    }

    /// Ends what the peer may still be sending.
    pub(super) fn close_feed(&mut self) {
        self.feed = None;
        self.refreshing = None;
        *lock(&self.advertised) = Default::default();
    }
}
