//! Everything of an iterator, on the device, a few stages ahead.

use std::collections::VecDeque;
use std::fmt;
use std::task::Poll;
use std::vec;

use super::config::{CopyStats, StagerConfig};
use super::device::Gpu;
use super::on_device::OnDevice;
use super::source::CopySource;
use super::stager::Stager;
use super::stream::Stream;
use crate::Error;

/// Why a [`Feed`] ends early.
#[derive(Debug, thiserror::Error)]
pub enum FeedError<E> {
    /// What is to be copied is not available.
    #[error(transparent)]
    Source(E),
    /// It could not be copied.
    #[error(transparent)]
    Gpu(Error),
}

impl<E: Into<Self>> From<FeedError<E>> for Error {
    fn from(error: FeedError<E>) -> Self {
        match error {
            FeedError::Source(error) => error.into(),
            FeedError::Gpu(error) => error,
        }
    }
}

/// Copies what an iterator yields to the device, in its order.
///
/// Each copy is under way before what was copied earlier is handed out, so that it goes on while that is computed with. Small sources
/// share a stage, until it holds a unit ([`StagerConfig::unit_bytes`]).
pub struct Feed<I, S: CopySource, E> {
    sources: I,
    stager: Stager<S>,
    /// What is collected for the next stage, and its bytes.
    group: Vec<S>,
    group_bytes: usize,
    /// Stages on their way, the oldest first.
    stages: VecDeque<vec::IntoIter<OnDevice<S>>>,
    /// Stages ahead of the one that is handed out.
    ahead: usize,
    /// How many were handed out.
    n_handed_out: u64,
    is_over: bool,
    /// What ended it, to be told once all before it has been handed out.
    failed: Option<FeedError<E>>,
}

impl<I, S: CopySource, E> Feed<I, S, E> {
    /// Feeds what `sources` yields through stages on `stream`, which is best a stream of its own.
    ///
    /// # Errors
    /// As [`Stager::new`].
    pub fn new(gpu: &Gpu, stream: &Stream, sources: I, config: StagerConfig) -> Result<Self, Error> {
        Ok(Self {
            sources,
            stager: Stager::new(gpu, stream, config)?,
            group: Vec::new(),
            group_bytes: 0,
            stages: VecDeque::with_capacity(config.n_stages),
            ahead: config.n_stages - 1,
            n_handed_out: 0,
            is_over: false,
            failed: None,
        })
    }

    /// What yields the sources, for its statistics.
    pub fn sources(&self) -> &I {
        &self.sources
    }

    /// Ends the feed, and what feeds it; waits for the copies that are under way.
    pub fn finish(self) -> CopyStats {
        drop((self.stages, self.group, self.sources));
        self.stager.finish()
    }

    /// What has been copied so far.
    pub fn stats(&self) -> CopyStats {
        self.stager.stats()
    }

    /// How many were handed out so far. The sources are ahead of it.
    pub(crate) fn n_handed_out(&self) -> u64 {
        self.n_handed_out
    }

    /// The next one. `next` asks the sources, and whether it may wait is what it is told: only while there is nothing to hand out.
    pub(crate) fn poll(
        &mut self,
        mut next: impl FnMut(&mut I, bool) -> Poll<Option<Result<S, E>>>,
    ) -> Poll<Option<Result<OnDevice<S>, FeedError<E>>>> {
        // One stage may be in the hands of the caller, whose last part has just been taken.
        while self.stages.front().is_some_and(|stage| stage.len() == 0) {
            self.stages.pop_front();
        }
        while !self.is_over && self.stages.len() < self.ahead {
            match self.fill(&mut next) {
                Ok(true) => {}
                // Nothing more is there at this moment.
                Ok(false) => break,
                Err(error) => {
                    self.is_over = true;
                    self.failed = Some(error);
                }
            }
        }
        if let Some(next) = self.stages.front_mut().and_then(Iterator::next) {
            self.n_handed_out += 1;
            return Poll::Ready(Some(Ok(next)));
        }
        match self.is_over {
            true => Poll::Ready(self.failed.take().map(Err)),
            false => Poll::Pending,
        }
    }

    /// Copies one more stage; false if the sources have too little for one now. An error ends the feed.
    fn fill(
        &mut self,
        next: &mut impl FnMut(&mut I, bool) -> Poll<Option<Result<S, E>>>,
    ) -> Result<bool, FeedError<E>> {
        let unit_bytes = self.stager.config().unit_bytes;
        let mut failed = None;
        while self.group_bytes < unit_bytes && (self.group.is_empty() || !S::IS_SCARCE) {
            // What has been collected is worth more than a whole unit to somebody who has nothing.
            let may_wait = self.stages.is_empty() && self.group.is_empty();
            match next(&mut self.sources, may_wait) {
                Poll::Ready(Some(Ok(source))) => {
                    let arrays = source.arrays();
                    let pieces = arrays.iter().flat_map(|(_, pieces)| pieces);
                    self.group_bytes += pieces.map(|piece| piece.len()).sum::<usize>();
                    drop(arrays);
                    self.group.push(source);
                }
                Poll::Ready(Some(Err(error))) => {
                    failed = Some(error);
                    break;
                }
                Poll::Ready(None) => {
                    self.is_over = true;
                    break;
                }
                Poll::Pending if self.group.is_empty() || !self.stages.is_empty() => return Ok(false),
                Poll::Pending => break,
            }
        }
        self.group_bytes = 0;
        let group = std::mem::take(&mut self.group);
        if !group.is_empty() {
            let copied = self.stager.copy(group).map_err(FeedError::Gpu)?;
            self.stages.push_back(copied.into_iter());
        }
        failed.map_or(Ok(true), |error| Err(FeedError::Source(error)))
    }
}

impl<I, S, E> Iterator for Feed<I, S, E>
where
    I: Iterator<Item = Result<S, E>>,
    S: CopySource,
{
    type Item = Result<OnDevice<S>, FeedError<E>>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.poll(|sources, _| Poll::Ready(sources.next())) {
            Poll::Ready(next) => next,
            // The sources are always ready.
            Poll::Pending => None,
        }
    }
}

impl<I, S: CopySource, E> fmt::Debug for Feed<I, S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed")
            .field("stager", &self.stager)
            .finish_non_exhaustive()
    }
}
